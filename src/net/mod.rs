//! Sockets and TLS.

#[cfg(feature = "dispatcher")]
pub mod ca;
#[cfg(feature = "dispatcher")]
pub mod listener;
pub mod tls;
