//! Sockets and TLS.

#[cfg(feature = "agent")]
pub mod access;
#[cfg(feature = "dispatcher")]
pub mod ca;
mod client_socket;
mod connect;
#[cfg(feature = "dispatcher")]
pub mod control;
#[cfg(feature = "agent")]
pub mod dialer;
#[cfg(feature = "dispatcher")]
pub mod listener;
#[cfg(feature = "dispatcher")]
pub mod registration;
pub mod tls;
#[cfg(feature = "dispatcher")]
pub mod upstream;
