//! What a connection amounted to: its one closing line.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use super::EndCause;
use crate::domain::ids::SystemId;
use crate::ports::transport::{LinkError, TlsFailure};
use crate::protocol::stream::StreamFault;
use crate::protocol::stream::server::ServerEnd;

/// Why a session ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// By the rules of the protocol.
    Stream(ServerEnd),
    /// The client closed the connection without a word, as most do.
    Gone,
    /// The connection broke, or TLS failed.
    Link(LinkError),
    /// The client did not read what it was sent.
    SlowReader,
    /// What the client said could not be handed on; it will say it again at its next connection.
    Undelivered,
    /// Told to, without a word to the client.
    Ordered(EndCause),
    /// The connection to the client's server is gone.
    UpstreamLost,
}

impl fmt::Display for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(ServerEnd::ClosedByClient) => formatter.write_str("closed by client"),
            Self::Stream(ServerEnd::ClientFault(condition)) => write!(formatter, "client reported {condition:?}"),
            Self::Stream(ServerEnd::Fault(fault)) => fault.fmt(formatter),
            Self::Gone => formatter.write_str("connection closed by client"),
            Self::Link(error) => error.fmt(formatter),
            Self::SlowReader => formatter.write_str("client does not read"),
            Self::Undelivered => formatter.write_str("dispatcher could not take what the client reported"),
            Self::Ordered(cause) => formatter.write_str(words(*cause)),
            Self::UpstreamLost => formatter.write_str("upstream connection lost"),
        }
    }
}

fn words(cause: EndCause) -> &'static str {
    match cause {
        EndCause::Conflict => "replaced by a newer session of its JID",
        EndCause::AccountReset => "account reset",
        EndCause::Displaced => "another agent registered as its system",
        EndCause::Shutdown => "dispatcher stopping",
        EndCause::Unavailable => "client unavailable",
    }
}

/// Counts of one connection.
#[derive(Debug)]
pub(super) struct Totals {
    began: Instant,
    ending: Option<Box<Ending>>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub stanzas_in: u32,
    pub stanzas_out: u32,
}

impl Totals {
    pub fn new(began: Instant) -> Self {
        Self {
            began,
            ending: None,
            bytes_in: 0,
            bytes_out: 0,
            stanzas_in: 0,
            stanzas_out: 0,
        }
    }

    /// Notes why the session ends; the first reason stands.
    pub fn ended(&mut self, ending: Ending) {
        self.ending.get_or_insert_with(|| Box::new(ending));
    }

    /// Why the session ended, in few words: what strangers are counted by.
    pub fn cause(&self) -> &'static str {
        match self.ending.as_deref() {
            None => "stopped",
            Some(Ending::Stream(ServerEnd::ClosedByClient) | Ending::Gone) => "closed by the client",
            Some(Ending::Stream(ServerEnd::ClientFault(_))) => "fault reported by the client",
            Some(Ending::Stream(ServerEnd::Fault(StreamFault::LoginTimeout))) => "no login in time",
            Some(Ending::Stream(ServerEnd::Fault(_))) => "refused by the rules of the protocol",
            Some(Ending::Link(LinkError::Tls(_))) => "TLS failed",
            Some(Ending::Link(_)) => "connection broke",
            Some(Ending::SlowReader) => "client does not read",
            Some(Ending::Undelivered) => "dispatcher too busy",
            Some(Ending::Ordered(cause)) => words(*cause),
            Some(Ending::UpstreamLost) => "upstream connection lost",
        }
    }

    /// What TLS said, if the client knows none that is served.
    pub fn legacy_tls(&self) -> Option<&str> {
        match self.ending.as_deref() {
            Some(Ending::Link(LinkError::Tls(TlsFailure::LegacyPeer(error)))) => Some(error),
            Some(_) | None => None,
        }
    }

    pub fn log(&self, peer: SocketAddr, jid: Option<&str>, system: Option<SystemId>, now: Instant) {
        let reason = self
            .ending
            .as_ref()
            .map_or_else(|| "stopped".to_owned(), ToString::to_string);
        let elapsed_ms = u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX);
        // Whoever never logs in can come at any rate; its parent counts it.
        if jid.is_none() {
            tracing::debug!(event = "session_closed", peer_addr = %peer, elapsed_ms, bytes_in = self.bytes_in, reason);
            return;
        }
        tracing::info!(
            event = "session_closed",
            peer_addr = %peer,
            jid,
            system_id = system.map(|system| system.0),
            elapsed_ms,
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            stanzas_in = self.stanzas_in,
            stanzas_out = self.stanzas_out,
            reason,
        );
    }
}
