//! A connection as the actor at its end uses it: bytes in, bytes out, TLS in between. The same for both ends.

mod link;
mod outgoing;

pub(super) use link::{Link, Progress};
