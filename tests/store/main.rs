//! The contract of `ports::store::Store`, run on every database, and what only an embedded database can suffer.
#![cfg(feature = "dispatcher")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "helpers of tests, which clippy.toml excepts only inside test functions"
)]

mod contract;
mod postgres;
mod sqlite;
mod sqlite_faults;
mod sqlite_killed;
mod sqlite_neighbours;
mod sqlite_timings;
