//! Actors under paused time, in-memory pipes and loopback; sockets and TLS on loopback.
#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

mod agent;
mod certificate_files;
#[cfg(feature = "dispatcher")]
mod certificates;
mod contested;
mod crashes;
mod dialer;
mod failover;
mod foreign_server;
mod http_proxy;
#[cfg(feature = "dispatcher")]
mod poller;
mod recorded_calls;
mod registrar;
mod registrar_refused;
mod registration;
mod relayed;
mod sessions;
/// The database of the simulation, for the poller's tests.
#[path = "../simulation/store.rs"]
#[allow(dead_code, reason = "the simulation uses more of it")]
mod simulated_store;
mod supervision;
mod support;
mod tls;
#[cfg(feature = "dispatcher")]
mod tls_names;
#[cfg(feature = "dispatcher")]
mod upstream;
#[cfg(feature = "dispatcher")]
mod upstream_component;
#[cfg(feature = "dispatcher")]
mod upstream_dialer;
