//! The composition root of each program: here adapters meet actors.

#[cfg(feature = "dispatcher")]
pub mod cli;
#[cfg(feature = "dispatcher")]
pub mod control;
#[cfg(feature = "dispatcher")]
pub mod dispatcher;
