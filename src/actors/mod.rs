//! Who tells whom, when, and what happens if nobody answers. `docs/actors.md` draws the tree.

#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "agent")]
pub mod check_runner;
#[cfg(feature = "agent")]
pub mod connector;
#[cfg(feature = "dispatcher")]
pub mod endpoint;
#[cfg(feature = "agent")]
pub mod enroller;
#[cfg(feature = "dispatcher")]
pub mod poller;
#[cfg(feature = "dispatcher")]
pub mod router;
#[cfg(feature = "dispatcher")]
pub mod session;
pub mod supervision;
#[cfg(feature = "dispatcher")]
pub mod tls_supervisor;
#[cfg(feature = "dispatcher")]
pub mod upstream;
mod wire;
