//! osa: server push for managed hosts.
//!
//! `osa-dispatcher` watches a database for actions that are due and wakes the `osad` agent on the client over TLS;
//! the agent runs its check command at once. Both programs are built from this library.
//!
//! | Room | Holds | May import |
//! |---|---|---|
//! | [`domain`] | the push life cycle and its words; pure | nothing |
//! | [`protocol`] | bytes to meaning: XMPP, SASL, signatures, XML-RPC; pure | `domain` |
//! | `ports` | what the actors need from outside, as traits | `domain`, `protocol` |
//! | `actors` | who tells whom, when, and what happens if nobody answers | `domain`, `protocol`, `ports` |
//! | `store`, `net`, `host` | databases; sockets and TLS; files, clocks and processes | all but `actors`, `compose` |
//! | `settings`, `telemetry` | configuration; logs | `domain` |
//! | `compose` | the composition root of each program | everything |
//!
//! `tests/architecture.rs` enforces the table.

#[cfg(feature = "host")]
pub mod actors;
#[cfg(feature = "host")]
pub mod compose;
pub mod domain;
#[cfg(feature = "host")]
pub mod host;
#[cfg(feature = "host")]
pub mod net;
#[cfg(feature = "host")]
pub mod ports;
pub mod protocol;
#[cfg(feature = "host")]
pub mod settings;
#[cfg(feature = "dispatcher")]
pub mod store;
#[cfg(feature = "host")]
pub mod telemetry;
