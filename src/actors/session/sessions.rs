//! Starting sessions, for both of their parents.

use std::net::SocketAddr;
use std::sync::Arc;

use actix::{Actor, Addr, ArbiterHandle, Context, Recipient};
use tokio::sync::watch;

use super::{SendStanza, Session, SessionParts};
use crate::actors::tls_supervisor::{Roster, Ticket};
use crate::domain::admission::{Origin, Refusal};
use crate::ports::transport::Connection;

/// Where sessions are started, and what they are built from.
#[derive(Clone)]
pub struct Sessions {
    /// What they share.
    pub parts: Arc<SessionParts>,
    /// Those that live.
    pub roster: Arc<Roster>,
    /// What they are spread over; if empty, they run where they are started.
    pub arbiters: Vec<ArbiterHandle>,
}

/// A client of the site's own server, as it became available there.
pub struct Relay {
    /// Its full JID, which that server vouches for.
    pub jid: Arc<str>,
    /// The dispatcher's own full JID there.
    pub dispatcher: Arc<str>,
    /// That server's address.
    pub address: SocketAddr,
    /// Takes stanzas for the client. What it cannot take at once is not sent.
    pub out: Recipient<SendStanza>,
    /// Whether so much waits for that server that nothing more should be added without need. The session ends when the
    /// other end of this is dropped.
    pub congested: watch::Receiver<bool>,
}

impl Sessions {
    /// Starts a session for a connection accepted now, or drops it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn accept(&self, connection: Box<dyn Connection>) -> Result<(), Refusal> {
        let ticket = self.roster.admit(Origin::from(connection.peer_addr().ip()))?;
        let parts = Arc::clone(&self.parts);
        self.start(ticket, move |ticket| Session::accepted(parts, connection, ticket));
        Ok(())
    }

    /// Starts a session for a client of another server. It is logged in from its first moment.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn relay(&self, relay: Relay) -> Result<Addr<Session>, Refusal> {
        let mut ticket = self.roster.admit(Origin::from(relay.address.ip()))?;
        ticket.log_in();
        let parts = Arc::clone(&self.parts);
        Ok(self.start(ticket, move |ticket| Session::relayed(parts, relay, ticket)))
    }

    fn start(&self, ticket: Ticket, build: impl FnOnce(Ticket) -> Session + Send + 'static) -> Addr<Session> {
        let id = ticket.connection();
        let build = move |_: &mut Context<Session>| build(ticket);
        let turn = usize::try_from(id.0).unwrap_or_default();
        let session = match self.arbiters.get(turn % self.arbiters.len().max(1)) {
            Some(arbiter) => Session::start_in_arbiter(arbiter, build),
            None => Session::create(build),
        };
        self.roster.enrol(id, session.downgrade().recipient());
        session
    }
}
