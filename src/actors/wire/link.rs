//! The connection, and what it is being used for.
//!
//! ```text
//! Talking ──► StartingTls ──► AwaitingTurn ──► Handshaking ──► Talking
//!    └────────────┴────────────────┴────────────────┴──► Closing ──► closed
//! ```

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::outgoing::Outgoing;
use crate::ports::transport::{Connection, HANDSHAKE_TURN, Handshake, LinkError};

/// How long the last words to a peer may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What came of polling the link.
#[derive(Debug)]
pub(in crate::actors) enum Progress {
    /// So many bytes are in the buffer.
    Read(usize),
    /// TLS is established.
    Secured(Handshake),
    /// The peer closed the connection.
    Gone,
    /// We said goodbye.
    Closed,
}

type Turn = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

enum Phase {
    Talking,
    StartingTls,
    AwaitingTurn(Turn),
    /// With its turn, and when that ends.
    Handshaking(Option<(OwnedSemaphorePermit, Instant)>),
    Closing(Instant),
}

/// A connection with its outgoing bytes.
pub(in crate::actors) struct Link {
    connection: Box<dyn Connection>,
    phase: Phase,
    unflushed: bool,
    pub outgoing: Outgoing,
}

impl Link {
    pub fn new(connection: Box<dyn Connection>) -> Self {
        Self {
            connection,
            phase: Phase::Talking,
            unflushed: false,
            outgoing: Outgoing::default(),
        }
    }

    /// The same, for a peer that many wait for: so many bytes may.
    #[cfg(feature = "dispatcher")]
    pub fn with_room(connection: Box<dyn Connection>, bytes_max: usize) -> Self {
        Self {
            outgoing: Outgoing::with_room(bytes_max),
            ..Self::new(connection)
        }
    }

    pub fn peer_addr(&self) -> SocketAddr {
        self.connection.peer_addr()
    }

    /// Shakes hands under this name.
    #[cfg(feature = "dispatcher")]
    pub fn present(&mut self, name: &str) {
        self.connection.present(name);
    }

    /// Becomes TLS once everything queued is written.
    pub fn start_tls(&mut self) {
        self.phase = Phase::StartingTls;
    }

    /// Closes once everything queued is written; at once if that cannot be.
    pub fn close(&mut self, now: Instant) {
        let can_write = matches!(self.phase, Phase::Talking | Phase::StartingTls);
        if !can_write {
            self.outgoing.clear();
        }
        self.phase = Phase::Closing(if can_write { now + CLOSE_TIMEOUT } else { now });
    }

    /// When writing has taken too long.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Closing(until) => Some(*until),
            Phase::Talking | Phase::StartingTls => self.outgoing.deadline(),
            Phase::AwaitingTurn(_) | Phase::Handshaking(_) => None,
        }
    }

    /// When the handshake's turn ends; to be polled then.
    pub fn turn_ends(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Handshaking(turn) => turn.as_ref().map(|(_, ends)| *ends),
            Phase::Talking | Phase::StartingTls | Phase::AwaitingTurn(_) | Phase::Closing(_) => None,
        }
    }

    /// Goes on as far as the network lets it. Bytes are read only if `may_read`.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        buffer: Option<&mut [u8]>,
        handshakes: &Arc<Semaphore>,
        now: Instant,
    ) -> Poll<Result<Progress, LinkError>> {
        loop {
            match &mut self.phase {
                Phase::Talking => {
                    let written = self.poll_write_out(cx, now);
                    if let Poll::Ready(Err(error)) = written {
                        return Poll::Ready(Err(error));
                    }
                    return match buffer {
                        Some(buffer) => self.poll_read(cx, buffer),
                        None => Poll::Pending,
                    };
                }
                Phase::StartingTls => {
                    ready!(self.poll_write_out(cx, now))?;
                    let turn = Arc::clone(handshakes).acquire_owned();
                    self.phase = Phase::AwaitingTurn(Box::pin(turn));
                }
                Phase::AwaitingTurn(turn) => {
                    // The semaphore is never closed; if it were, nobody would need a turn.
                    let Ok(permit) = ready!(turn.as_mut().poll(cx)) else {
                        return Poll::Ready(Ok(Progress::Gone));
                    };
                    self.phase = Phase::Handshaking(Some((permit, now + HANDSHAKE_TURN)));
                }
                Phase::Handshaking(turn) => {
                    if turn.as_ref().is_some_and(|(_, ends)| *ends <= now) {
                        *turn = None;
                    }
                    let handshake = ready!(self.connection.poll_handshake(cx))?;
                    self.phase = Phase::Talking;
                    return Poll::Ready(Ok(Progress::Secured(handshake)));
                }
                Phase::Closing(until) if *until <= now => return Poll::Ready(Ok(Progress::Closed)),
                Phase::Closing(_) => {
                    ready!(self.poll_write_out(cx, now))?;
                    ready!(self.connection.poll_close(cx))?;
                    return Poll::Ready(Ok(Progress::Closed));
                }
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<Progress, LinkError>> {
        let count = ready!(self.connection.poll_read(cx, buffer))?;
        Poll::Ready(Ok(match count {
            0 => Progress::Gone,
            count => Progress::Read(count),
        }))
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<(), LinkError>> {
        while !self.outgoing.is_empty() {
            let count = ready!(self.connection.poll_write(cx, self.outgoing.front()))?;
            self.outgoing.advance(count, now);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(self.connection.poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
