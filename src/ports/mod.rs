//! What the actors need from outside, as traits by use case.

pub mod account_file;
pub mod accounts;
pub mod agent_status;
pub mod check_launcher;
pub mod clock;
pub mod file_error;
pub mod inventory;
pub mod push;
pub mod registrar;
pub mod registrations;
pub mod service;
pub mod store;
pub mod systemid;
pub mod tls;
pub mod transport;
pub mod upstream;
pub mod vault;
