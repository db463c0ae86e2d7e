//! A connection as the actor at its end uses it: bytes in, bytes out, TLS in between; and how to come back to a server.

mod link;
mod outgoing;
mod reconnect;
mod timer;

pub(super) use link::{Link, Progress};
pub(super) use reconnect::Reconnect;
pub use reconnect::ReconnectPolicy;
pub(super) use timer::Timer;
