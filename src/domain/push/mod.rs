//! The push life cycle: what is due, what an answer means, who retries.

pub mod action;
pub mod client;
pub mod request;
