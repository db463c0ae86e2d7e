//! The words and rules of server push: pure values and functions, without I/O, clock, randomness or async.

pub mod admission;
pub mod backoff;
pub mod check;
pub mod dispatcher_account;
pub mod dispatcher_rows;
pub mod file_access;
pub mod ids;
pub mod push;
pub mod secret;
pub mod tally;
pub mod time;
