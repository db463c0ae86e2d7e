//! The composition root of each program: here adapters meet actors.

#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "dispatcher")]
pub mod cli;
pub mod console;
#[cfg(feature = "dispatcher")]
pub mod control;
#[cfg(feature = "dispatcher")]
pub mod dispatcher;
pub mod process;
#[cfg(feature = "swarm")]
pub mod swarm;
pub mod time;
