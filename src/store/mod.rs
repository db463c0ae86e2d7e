//! Databases behind the ports.
//!
//! One module per database, one contract for all: `tests/store` runs the same suite on each.

mod label;
pub mod postgres;
mod rows;
pub mod sqlite;
