//! Actors under paused time, in-memory pipes and loopback; sockets and TLS on loopback.
#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

mod crashes;
mod registrar;
mod registration;
mod sessions;
mod supervision;
mod support;
mod tls;
