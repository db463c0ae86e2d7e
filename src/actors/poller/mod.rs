//! The poller: asks the store what is due and has it sent.

pub mod messages;
