//! The push life cycle: what is due, what an answer means, who retries.

pub mod action;
pub mod agenda;
pub mod changes;
pub mod client;
pub mod planner;
pub mod policy;
pub mod request;
pub mod system;
