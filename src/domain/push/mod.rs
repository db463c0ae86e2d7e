//! The push life cycle: what is due, what an answer means, who retries.

pub mod client;
