//! What the actors need from outside, as traits by use case.

pub mod accounts;
pub mod inventory;
pub mod push;
pub mod registrations;
pub mod store;
