//! The dispatcher's half of the conversation with one session. Push life cycle, sections 2 to 4.
//!
//! ```text
//!            presence                 row                     presence (at most one read a second)
//!  Absent ──────────────▶ Asking ───────────────▶ Pushable ───────────────────┐
//!    ▲                    │   ▲                      │                        │
//!    │             no row │   │ 1 s, doubling to 60 s│                        ▼
//!    │                    ▼   │                      │              Asking / Waiting
//!    └─ unavailable ── Waiting ◀─────────────────────┘
//! ```
//!
//! No key is kept for a session's life: only the one of outstanding requests, pings and unacknowledged reports, and for
//! at most 30 minutes. A stanza under another name causes one rate-limited reading of that row.
//! The caller feeds stanzas, rows and commands in, and takes [`Output`]s until there is none.

mod hearing;
mod lookup;
mod registration;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use minidom::Element;

use self::hearing::Greeting;
use self::lookup::Lookups;
use self::registration::Registration;
use super::Serials;
use super::action::Action;
use super::payload::{PayloadError, ToAgent};
use super::replay::{ReplayGuard, Stale};
use super::seal::{Direction, Parties, Stamp, seal};
use super::signed::{Content, Signed};
use super::stanza;
use crate::domain::ids::{ClientName, RequestNumber, RunId, SystemId};
use crate::domain::push::client::{AgentKind, Announcement, Client, ClientEvent};
use crate::domain::time::Timestamp;
use crate::protocol::ns;

/// How soon an absent row is read again; doubles up to [`ABSENT_DELAY_MAX`]. Also the least time between two readings
/// that presences cause.
const ABSENT_DELAY_MIN: Duration = Duration::from_secs(1);
/// How late an absent row is read again.
const ABSENT_DELAY_MAX: Duration = Duration::from_secs(60);
/// How often an agent whose clock is off is told the time; its reports are repeated as often at most.
const TIME_TOLD_EVERY: Duration = Duration::from_secs(60);

/// A row that the talk wants to see; give it back with the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The row whose `jabber_id` is this full JID, the session's own.
    ClientByJid(String),
    /// The row of this client name.
    ClientByName(ClientName),
}

/// What the session has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send this stanza to the client.
    Write(Element),
    /// Read this row and call [`DispatcherTalk::handle_client`].
    Ask(Question),
    /// The session may be pushed. `client.announced` says whether a new agent announced itself under this name, and is to
    /// be stored; with [`AgentKind::New`], the announcement is handled before the system is due.
    Pushable {
        /// The row.
        client: Client,
        /// Which agent it is.
        kind: AgentKind,
        /// Its runs and reports; empty for an existing agent. `None` if a new agent announced nothing that counts: what it
        /// was asked before is not lost by that, since it will announce itself again.
        announcement: Option<Announcement>,
    },
    /// The client of this system said something. A valid stanza that answers nothing outstanding comes as
    /// [`ClientEvent::Ponged`]: it proves that the client lives.
    Event(SystemId, ClientEvent),
    /// An element had no effect; for the log.
    Ignored(Ignored),
}

/// Why an element had no effect. The sender is to blame, or a registration that just changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// There is no such client name, or it belongs to another JID.
    #[error("no client of this name has this JID")]
    UnknownClient,
    /// The signature is not valid under the client's key.
    #[error("bad signature")]
    BadSignature,
    /// A new agent announced itself under this name before, and this is an existing agent's signature.
    #[error("signature is weaker than the registration's earlier ones")]
    WeakSignature,
    /// Old or repeated.
    #[error("{0}")]
    Stale(#[from] Stale),
    /// It cannot be understood.
    #[error("{0}")]
    Payload(#[from] PayloadError),
    /// The action is not an answer that is known.
    #[error("unknown action")]
    UnknownAction,
    /// It names yet another client, or too many elements wait already.
    #[error("too many elements under names that are not known")]
    TooManyLookups,
}

/// Why nothing was sent. The caller's view of the session is out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// The session is not pushable, or no longer.
    #[error("the session is not pushable")]
    NotPushable,
    /// The registration's JID is not the session's.
    #[error("the registration's JID is not the session's")]
    OtherJid,
}

/// The dispatcher's half of one session's conversation.
#[derive(Debug)]
pub struct DispatcherTalk {
    own: Arc<str>,
    peer: Box<str>,
    serials: Serials,
    presence: Presence,
    /// When a presence last caused a reading.
    asked: Timestamp,
    /// When the agent was last told the time, because its clock is off.
    time_told: Timestamp,
    registration: Option<Box<Registration>>,
    /// The name that a new agent last announced itself under. The row may not say so yet.
    announced: Option<ClientName>,
    lookups: Lookups,
    replay: ReplayGuard,
    /// How far an existing agent's clock may be off; `None` is any.
    existing_drift_max: Option<Duration>,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
enum Presence {
    Absent,
    Asking {
        greeting: Greeting,
        delay: Duration,
    },
    Waiting {
        greeting: Greeting,
        delay: Duration,
        until: Timestamp,
    },
    Pushable(AgentKind),
}

impl DispatcherTalk {
    /// Starts with a session that sent no presence yet. `own` is the dispatcher's full JID, `peer` the session's as the
    /// server stamps it; `entropy` starts the serials.
    pub fn new(own: Arc<str>, peer: &str, entropy: u64) -> Self {
        Self {
            own,
            peer: peer.into(),
            serials: Serials::new(entropy),
            presence: Presence::Absent,
            asked: Timestamp::default(),
            time_told: Timestamp::default(),
            registration: None,
            announced: None,
            lookups: Lookups::default(),
            replay: ReplayGuard::strict(),
            existing_drift_max: None,
            outputs: VecDeque::new(),
        }
    }

    /// Ignores existing agents whose clock is off by more than this; they never enforced a limit themselves
    /// (compatibility contract, section 1.13).
    #[must_use]
    pub fn with_existing_drift_max(self, existing_drift_max: Option<Duration>) -> Self {
        Self {
            existing_drift_max,
            ..self
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if self.outputs.is_empty() {
            // An idle session keeps no buffer.
            self.outputs = VecDeque::new();
        }
        output
    }

    /// When [`handle_deadline`](Self::handle_deadline) wants to be called.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let read = match &self.presence {
            Presence::Waiting { until, .. } => Some(*until),
            Presence::Absent | Presence::Asking { .. } | Presence::Pushable(_) => None,
        };
        let expiry = self.registration.as_ref().map(|registration| registration.expires);
        read.into_iter().chain(expiry).min()
    }

    /// Reads an absent row again, and forgets a key that was kept too long.
    pub fn handle_deadline(&mut self, now: Timestamp) {
        if self.registration.as_ref().is_some_and(|it| it.expires <= now) {
            self.registration = None;
        }
        match std::mem::replace(&mut self.presence, Presence::Absent) {
            Presence::Waiting { greeting, delay, until } if until <= now => self.ask(now, greeting, delay),
            other => self.presence = other,
        }
    }

    /// Takes a presence of the session: of no type, it is available; others than `unavailable` have no meaning here.
    pub fn handle_presence(&mut self, now: Timestamp, presence: &Element) {
        match presence.attr("type") {
            None => self.handle_available(now, Greeting::in_presence(presence, &self.own)),
            Some("unavailable") => {
                self.presence = Presence::Absent;
                self.registration = None;
            }
            Some(_) => {}
        }
    }

    fn handle_available(&mut self, now: Timestamp, greeting: Greeting) {
        let earliest = self.asked + ABSENT_DELAY_MIN;
        self.presence = match std::mem::replace(&mut self.presence, Presence::Absent) {
            Presence::Asking { delay, .. } => Presence::Asking { greeting, delay },
            Presence::Absent | Presence::Waiting { .. } | Presence::Pushable(_) if now < earliest => {
                Presence::Waiting {
                    greeting,
                    delay: ABSENT_DELAY_MIN,
                    until: earliest,
                }
            }
            Presence::Absent | Presence::Waiting { .. } | Presence::Pushable(_) => {
                return self.ask(now, greeting, ABSENT_DELAY_MIN);
            }
        };
    }

    fn ask(&mut self, now: Timestamp, greeting: Greeting, delay: Duration) {
        self.asked = now;
        self.presence = Presence::Asking { greeting, delay };
        let question = Question::ClientByJid(self.peer.to_string());
        self.outputs.push_back(Output::Ask(question));
    }

    /// Takes the answer to a question. A failed reading counts as an absent row.
    pub fn handle_client(&mut self, now: Timestamp, question: &Question, client: Option<Client>) {
        let client = client.filter(|client| client.jid == *self.peer);
        match question {
            Question::ClientByJid(_) => self.handle_row(now, client),
            Question::ClientByName(name) => self.handle_named(now, name, client.filter(|client| client.name == *name)),
        }
    }

    fn handle_row(&mut self, now: Timestamp, client: Option<Client>) {
        match (std::mem::replace(&mut self.presence, Presence::Absent), client) {
            (Presence::Asking { greeting, .. }, Some(client)) => self.become_pushable(now, &greeting, client),
            (Presence::Asking { greeting, delay }, None) => {
                self.presence = Presence::Waiting {
                    greeting,
                    delay: (delay * 2).min(ABSENT_DELAY_MAX),
                    until: now + delay,
                };
            }
            (other, _) => self.presence = other,
        }
    }

    /// Sends a request to check in, in the form the agent understands, signed with exactly what the claim returned.
    ///
    /// # Errors
    /// [`NotSent`]; nothing was sent.
    pub fn request(&mut self, now: Timestamp, number: RequestNumber, client: &Client) -> Result<(), NotSent> {
        let (kind, mut registration) = self.addressee(now, client)?;
        match kind {
            AgentKind::New => self.write_payload(now, &registration, ToAgent::Request(number)),
            AgentKind::Existing => self.write_signed(now, &registration, Action::CheckIn),
        }
        registration.requested(number, now);
        self.registration = Some(registration);
        Ok(())
    }

    /// Forgets a request that was written and could not be sent after all, so that no answer is credited to it.
    pub fn withdraw(&mut self, number: RequestNumber) {
        if let Some(mut registration) = self.registration.take() {
            registration.refused(number);
            self.keep(registration);
        }
    }

    /// Sends a ping.
    ///
    /// # Errors
    /// [`NotSent`]; nothing was sent.
    pub fn ping(&mut self, now: Timestamp, client: &Client) -> Result<(), NotSent> {
        let (kind, mut registration) = self.addressee(now, client)?;
        match kind {
            AgentKind::New => self.write_payload(now, &registration, ToAgent::Ping),
            AgentKind::Existing => self.write_signed(now, &registration, Action::Ping),
        }
        registration.pinged(now);
        self.registration = Some(registration);
        Ok(())
    }

    /// Tells the agent that the report of this run is recorded. A report whose key is no longer kept is not acknowledged:
    /// the agent reports it again at its next connection, and it is known then.
    pub fn acknowledge(&mut self, now: Timestamp, run: RunId) {
        let Some(mut registration) = self.registration.take() else {
            return;
        };
        if registration.acknowledged(run) {
            self.write_payload(now, &registration, ToAgent::Received(run));
        }
        self.keep(registration);
    }

    fn addressee(&mut self, now: Timestamp, client: &Client) -> Result<(AgentKind, Box<Registration>), NotSent> {
        let Presence::Pushable(kind) = self.presence else {
            return Err(NotSent::NotPushable);
        };
        if client.jid != *self.peer {
            return Err(NotSent::OtherJid);
        }
        let kind = if client.announced { AgentKind::New } else { kind };
        Ok((kind, self.adopt(now, client)))
    }

    /// Takes the registration of this name; another one, and what was outstanding under it, is forgotten.
    fn adopt(&mut self, now: Timestamp, client: &Client) -> Box<Registration> {
        let current = self.registration.take().filter(|it| it.name == client.name);
        let mut registration = current.unwrap_or_else(|| Box::new(Registration::new(client, now)));
        registration.announced |= client.announced || self.announced.as_ref() == Some(&client.name);
        registration
    }

    fn keep(&mut self, registration: Box<Registration>) {
        self.registration = (!registration.is_settled()).then_some(registration);
    }

    fn write_payload(&mut self, now: Timestamp, registration: &Registration, payload: ToAgent) {
        let stamp = Stamp {
            client: registration.name.clone(),
            time: now,
            serial: self.serials.take(),
        };
        let parties = Parties {
            direction: Direction::ToAgent,
            sender: &self.own,
            recipient: &self.peer,
        };
        let mut message = stanza::message(&self.peer);
        message.append_child(seal(payload.to_element(), stamp, parties, &registration.key));
        self.outputs.push_back(Output::Write(message));
    }

    /// A welcome shows an agent the server's time. Without one an agent whose clock is off would repeat its reports in
    /// vain for as long as nothing is asked of it.
    fn tell_time(&mut self, now: Timestamp, registration: &Registration) {
        if now >= self.time_told + TIME_TOLD_EVERY {
            self.time_told = now;
            self.write_payload(now, registration, ToAgent::Welcome);
        }
    }

    fn write_signed(&mut self, now: Timestamp, registration: &Registration, action: Action) {
        let content = Content {
            timestamp: now.as_secs(),
            serial: &self.serials.take(),
            action: action.request(),
        };
        let mut message = stanza::message(&self.peer);
        message.append_child(Signed::request(&registration.key, &self.peer, &self.own, content).to_element());
        self.outputs.push_back(Output::Write(message));
    }

    fn ignore(&mut self, why: impl Into<Ignored>) {
        self.outputs.push_back(Output::Ignored(why.into()));
    }
}

/// Whether a message has elements of ours.
fn has_payload(message: &Element) -> bool {
    message.children().any(|child| child.has_ns(ns::PUSH))
}
