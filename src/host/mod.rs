//! Files, clocks and processes of the machine.

#[cfg(feature = "agent")]
pub mod auth_file;
#[cfg(feature = "agent")]
pub mod check_runs;
pub mod clock;
#[cfg(feature = "agent")]
mod content_encoding;
#[cfg(feature = "agent")]
pub mod https;
#[cfg(feature = "agent")]
mod process_identity;
#[cfg(feature = "agent")]
mod run_record;
#[cfg(feature = "agent")]
pub mod start_checks;
#[cfg(feature = "agent")]
pub mod state_dir;
#[cfg(feature = "agent")]
pub mod status_file;
#[cfg(feature = "agent")]
pub mod supervise;
#[cfg(feature = "agent")]
pub mod systemid_file;
#[cfg(feature = "dispatcher")]
pub mod vault;
#[cfg(feature = "agent")]
pub mod xmlrpc_client;
