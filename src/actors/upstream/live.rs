//! One connection in use.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use xmpp_parsers::stream_error::DefinedCondition;

use super::UpstreamParts;
use super::clients::Clients;
use crate::actors::wire::Link;
use crate::domain::dispatcher_account::DispatcherAccount;
use crate::domain::dispatcher_rows::RESOURCE;
use crate::ports::transport::{Connection, LinkError, is_loopback};
use crate::protocol::codec::Limits;
use crate::protocol::contacts::Contacts;
use crate::protocol::stream::Seed;
use crate::protocol::stream::client::{ClientConfig, ClientEnd, ClientStream, Role};

/// Bytes that may wait for the server: some thousand requests.
const ROOM: usize = 4 * 1024 * 1024;
/// Contacts that a component says goodbye to: so many fit into that room.
const FAREWELLS_MAX: usize = 15_000;
/// Subscriptions and the like go at this pace, beside requests: jabberd2 lets one client send 1 000 stanzas a second.
const STANZAS_AT_ONCE: usize = 25;
/// The same for a component, whom no server takes for a flood, and who says more.
const COMPONENT_STANZAS_AT_ONCE: usize = 100;
/// See [`STANZAS_AT_ONCE`].
const STANZAS_EVERY: Duration = Duration::from_millis(100);
/// How often clients are looked for whose sessions have ended although their presence is there.
pub(super) const ABANDONED_EVERY: Duration = Duration::from_secs(60);

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ending {
    /// The stream ended, by either side.
    #[error(transparent)]
    Stream(ClientEnd),
    /// The network or TLS failed.
    #[error(transparent)]
    Link(LinkError),
    /// The server closed the connection without a word.
    #[error("the server hung up")]
    Gone,
    /// The server does not read.
    #[error("the server does not read what it is sent")]
    SlowReader,
    /// The server gave us another JID than clients are told.
    #[error(
        "the server gave us the JID {given}, but clients are told {wanted}: let it give the resource that is asked for"
    )]
    OtherJid {
        /// What the server gave.
        given: String,
        /// What was asked for.
        wanted: String,
    },
}

impl Ending {
    pub(super) const fn is_conflict(&self) -> bool {
        matches!(
            self,
            Self::Stream(ClientEnd::ServerEnded(DefinedCondition::Conflict, _))
        )
    }

    pub(super) const fn is_account_taken(&self) -> bool {
        matches!(self, Self::Stream(ClientEnd::CredentialsTaken))
    }
}

/// A connection and what is known on it.
pub(super) struct Live {
    pub(super) link: Link,
    pub(super) stream: ClientStream,
    /// Our full JID; empty before the login.
    pub(super) jid: Arc<str>,
    /// Begins with the login.
    pub(super) contacts: Option<Contacts>,
    pub(super) clients: Clients,
    /// Seen by sessions, which send no requests meanwhile; they end with it.
    pub(super) congested: watch::Sender<bool>,
    /// The server's domain, to a component.
    component_of: Option<Box<str>>,
    /// When the next stanzas of the contacts may go.
    pub(super) stanzas_at: Instant,
    pub(super) look_at: Instant,
    /// Whether a client found no room, which is said of the first one.
    pub(super) has_refused: bool,
    /// Why it is being closed.
    pub(super) ending: Option<Ending>,
    logged_in_at: Option<Instant>,
}

impl Live {
    pub(super) fn new(connection: Box<dyn Connection>, config: ClientConfig, seed: [u8; 32]) -> Self {
        let now = now();
        Self {
            component_of: match &config.role {
                Role::Client => None,
                Role::Component { server, .. } => Some(server.as_str().into()),
            },
            link: Link::with_room(connection, ROOM),
            stream: ClientStream::new(config, Seed::new(seed), now),
            jid: Arc::from(""),
            contacts: None,
            clients: Clients::default(),
            congested: watch::Sender::new(false),
            stanzas_at: now,
            look_at: now + ABANDONED_EVERY,
            has_refused: false,
            ending: None,
            logged_in_at: None,
        }
    }

    pub(super) fn log_in(&mut self, jid: &str) {
        self.jid = jid.into();
        self.contacts = Some(match &self.component_of {
            Some(server) => Contacts::of_component(jid, server, now()),
            None => Contacts::new(jid),
        });
        self.logged_in_at = Some(now());
    }

    /// How long the login lasted, if there was one.
    pub(super) fn lasted(&self) -> Option<Duration> {
        self.logged_in_at.map(|at| now().saturating_duration_since(at))
    }

    pub(super) fn registrations(&self) -> usize {
        self.contacts.as_ref().map_or(0, Contacts::registrations)
    }

    /// Says goodbye, for this reason.
    pub(super) fn close_for(&mut self, ending: Ending) {
        if self.ending.is_none() {
            self.ending = Some(ending);
            self.take_leave();
        }
    }

    /// Says goodbye to all who are to know, and ends the stream.
    pub(super) fn take_leave(&mut self) {
        for farewell in self.contacts.iter().flat_map(Contacts::farewells).take(FAREWELLS_MAX) {
            self.stream.send(&farewell);
        }
        self.stream.close();
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let contacts = self.contacts.as_ref();
        let stanzas = contacts.filter(|contacts| contacts.has_stanzas() && !self.link.outgoing.is_congested());
        [
            self.link.deadline(),
            self.link.turn_ends(),
            self.stream.next_deadline(),
            contacts.and_then(Contacts::next_deadline),
            stanzas.map(|_| self.stanzas_at),
            contacts.map(|_| self.look_at),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Tells the sessions when much begins to wait, and when nothing does any more: each time wakes all of them.
    pub(super) fn tell_congestion(&self) {
        let outgoing = &self.link.outgoing;
        self.congested.send_if_modified(|congested| {
            let before = *congested;
            *congested = outgoing.is_congested() || (before && !outgoing.is_empty());
            *congested != before
        });
    }

    /// Sends what the contacts wait to say, a few at a time.
    pub(super) fn send_stanzas(&mut self) {
        let now = now();
        let Some(contacts) = &mut self.contacts else { return };
        if self.stanzas_at > now || self.link.outgoing.is_congested() || !contacts.has_stanzas() {
            return;
        }
        let at_once = match self.component_of {
            Some(_) => COMPONENT_STANZAS_AT_ONCE,
            None => STANZAS_AT_ONCE,
        };
        for stanza in std::iter::from_fn(|| contacts.next_stanza()).take(at_once) {
            self.stream.send(&stanza);
        }
        self.stanzas_at = now + STANZAS_EVERY;
    }
}

/// How this account, or the component, logs in to the server at this address.
pub(super) fn stream_config(parts: &UpstreamParts, account: &DispatcherAccount, server: SocketAddr) -> ClientConfig {
    let (role, password) = match &parts.component {
        None => (Role::Client, &account.password),
        Some(component) => {
            let role = Role::Component {
                server: parts.dialer.domain().to_owned(),
                tls: !is_loopback(server),
            };
            (role, &component.secret)
        }
    };
    let usual = ClientConfig::new(parts.domain(), &account.username, password.clone());
    ClientConfig {
        role,
        resource: RESOURCE.to_owned(),
        // A login takes a few answers.
        login_timeout: usual.login_timeout.min(parts.silence_timeout),
        silence_timeout: parts.silence_timeout,
        limits: Limits::FROM_SERVER,
        ..usual
    }
}

/// The runtime's clock, as the machines take it.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
