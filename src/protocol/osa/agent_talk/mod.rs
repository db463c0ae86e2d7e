//! The agent's half of the conversation. It lives as long as a registration, over reconnects.
//!
//! ```text
//!                 valid <x/>                    valid element of ours
//!  unknown ─────────────────────▶ Original ────────────────────────────▶ Ours
//!     │                                                                   ▲
//!     └────────────────────── valid element of ours ──────────────────────┘
//! ```
//!
//! Each connection begins at *unknown*; [`Output::LinkUp`] tells the way it went. A dispatcher of ours answers the
//! announcement with a welcome, so *unknown* lasts a moment; to an original one nothing of ours is sent but the
//! announcement. After the first valid element of ours, `<x/>` is ignored until the next registration.
//! A dispatcher whose presence ends leads the connection back to *unknown*; a foreign server tells of it, ours never does.
//! What a request leads to is not decided here: see [`Output::RequestReceived`] and [`AgentTalk::answer`].

mod presence;
mod speaking;

use std::time::Duration;

use minidom::Element;

use super::Serials;
use super::action::Action;
use super::payload::{ELEMENTS_MAX, PayloadError, ToAgent};
use super::replay::{AGENT_DRIFT_MAX, LEGACY_DRIFT_MAX, Overflow, ReplayGuard, Stale};
use super::seal::{Direction, Parties, Stamp, is_sealed};
use super::signed::Signed;
use super::stanza::{bare, is_live_message};
use crate::domain::check::Dispatcher;
use crate::domain::ids::{ClientName, RequestNumber, RunId};
use crate::domain::push::client::{ClientEvent, Refusal};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::protocol::ns;

/// To how many dispatchers of the registration's list the agent announces itself. The list may hold dead JIDs of old host
/// names; a site has a handful of nodes.
pub const DISPATCHERS_MAX: usize = 8;

/// What a registration gave the agent, and what it measured with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// The name to sign with.
    pub client: ClientName,
    /// The key to sign with.
    pub key: Secret,
    /// The full JIDs of the dispatchers. Empty if none ever ran: then any sender with the key is believed.
    pub dispatchers: Vec<String>,
    /// The server's clock minus ours. Units: milliseconds.
    pub drift_millis: i64,
}

/// A request to check in; give it back with the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    sender: String,
    number: Option<RequestNumber>,
}

impl Request {
    /// The request's number; `None` from an original dispatcher.
    pub const fn number(&self) -> Option<RequestNumber> {
        self.number
    }
}

/// What the agent has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send this stanza.
    Write(Element),
    /// Decide what the request leads to, and call [`AgentTalk::answer`] at once.
    RequestReceived(Request),
    /// It is known which dispatcher this connection leads to; from now on [`AgentTalk::report`] works for ours.
    LinkUp(Dispatcher),
    /// The report of this run is recorded and may be forgotten.
    Acknowledged(RunId),
    /// The dispatcher's time and ours differ by more than the limit: measure the drift again, then send the
    /// [`presence`](AgentTalk::presence) again.
    ClockOff,
    /// The dispatcher signs with another name or key than ours, which are void then: register again.
    KeyVoid,
    /// A dispatcher is available under this full JID. It may have been restarted, and know nothing of us, or have an old
    /// copy of the announcement from its server: send the [`presence`](AgentTalk::presence) again.
    DispatcherCame(String),
    /// The dispatcher under this full JID is gone; the connection need not be.
    DispatcherLeft(String),
    /// What calls itself a dispatcher and is none of this registration wants to see our presence: the registration's
    /// list may be old.
    DispatcherUnknown(String),
    /// An element had no effect; for the log.
    Ignored(Ignored),
}

/// Why an element had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// It did not come from a dispatcher that the registration named.
    #[error("sender is no dispatcher of this registration")]
    UnknownSender,
    /// It is meant for another registration of ours.
    #[error("client-id is not ours")]
    UnknownClient,
    /// The signature is not valid under our key.
    #[error("bad signature")]
    BadSignature,
    /// The dispatcher signed more strongly before, in this registration.
    #[error("signature is weaker than the dispatcher's earlier ones")]
    WeakSignature,
    /// Old or repeated.
    #[error("{0}")]
    Stale(#[from] Stale),
    /// It cannot be understood.
    #[error("{0}")]
    Payload(#[from] PayloadError),
    /// An `<x/>` whose timestamp is no integer.
    #[error("timestamp is no integer")]
    Timestamp,
    /// An `<x/>` whose action is no request that is known.
    #[error("unknown action")]
    UnknownAction,
}

/// The agent's half of the conversation under one registration.
#[derive(Debug)]
pub struct AgentTalk {
    own: String,
    enrolment: Enrolment,
    serials: Serials,
    /// Whether a dispatcher signed strongly in this registration.
    strong: bool,
    /// What this connection leads to, and the full JID of the dispatcher of ours that spoke last on it.
    link: Link,
    /// The bare JIDs of dispatchers whose presence the server says we see.
    seen: Vec<String>,
    replay: ReplayGuard,
    legacy_replay: ReplayGuard,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Link {
    Unknown,
    Original,
    Ours(String),
}

impl AgentTalk {
    /// Starts with a new registration. `own` is the agent's full JID; `entropy` starts the serials.
    pub fn new(own: String, enrolment: Enrolment, entropy: u64) -> Self {
        Self {
            own,
            enrolment,
            serials: Serials::new(entropy),
            strong: false,
            link: Link::Unknown,
            seen: Vec::new(),
            replay: ReplayGuard::new(AGENT_DRIFT_MAX, Overflow::Refuse),
            legacy_replay: ReplayGuard::new(LEGACY_DRIFT_MAX, Overflow::ForgetOldest),
        }
    }

    /// A new connection begins, under this full JID.
    pub fn reconnect(&mut self, own: String) {
        self.own = own;
        self.link = Link::Unknown;
        self.seen = Vec::new();
    }

    /// The registration it signs with.
    pub const fn enrolment(&self) -> &Enrolment {
        &self.enrolment
    }

    /// Takes a message from the server. What is not signed, or of another type than `normal`, has no effect.
    pub fn handle_message(&mut self, now: Timestamp, stanza: &Element) -> Vec<Output> {
        let mut outputs = Vec::new();
        if !is_live_message(stanza) {
            return outputs;
        }
        let sender = stanza.attr("from").unwrap_or_default();
        let mut payloads = stanza.children().filter(|child| child.has_ns(ns::PUSH)).peekable();
        if payloads.peek().is_some() {
            for payload in payloads.take(ELEMENTS_MAX) {
                if let Err(why) = self.handle_payload(now, sender, payload, &mut outputs) {
                    outputs.push(Output::Ignored(why));
                }
            }
        } else if let Some(signed) = Signed::in_message(stanza)
            && let Err(why) = self.handle_signed(now, sender, &signed, &mut outputs)
        {
            outputs.push(Output::Ignored(why));
        }
        outputs
    }

    fn handle_payload(
        &mut self,
        now: Timestamp,
        sender: &str,
        element: &Element,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Ignored> {
        let (payload, stamp) = match self.open(sender, element) {
            Err(Ignored::UnknownClient) => {
                outputs.push(Output::KeyVoid);
                return Err(Ignored::UnknownClient);
            }
            opened => opened?,
        };
        self.heard_ours(sender, outputs);
        let signature = element.attr("signature").unwrap_or_default();
        match self.replay.admit(self.server_time(now), stamp.time, signature) {
            Ok(()) => {}
            Err(stale @ Stale::Clock { .. }) => {
                outputs.extend(self.complain_of_clock(now, sender, payload));
                return Err(stale.into());
            }
            Err(stale @ (Stale::Replayed | Stale::TooMany)) => return Err(stale.into()),
        }
        match payload {
            ToAgent::Welcome => {}
            ToAgent::Request(number) => {
                let request = Request {
                    sender: sender.to_owned(),
                    number: Some(number),
                };
                outputs.push(Output::RequestReceived(request));
            }
            ToAgent::Ping => outputs.push(Output::Write(self.events(now, sender, &[ClientEvent::Ponged]))),
            ToAgent::Received(run) => outputs.push(Output::Acknowledged(run)),
        }
        Ok(())
    }

    fn heard_ours(&mut self, sender: &str, outputs: &mut Vec<Output>) {
        self.strong = true;
        match &self.link {
            Link::Ours(last) if last == sender => return,
            Link::Ours(_) => {}
            Link::Unknown | Link::Original => outputs.push(Output::LinkUp(Dispatcher::Ours)),
        }
        self.link = Link::Ours(sender.to_owned());
    }

    /// Verifies an element of ours.
    fn open(&self, sender: &str, element: &Element) -> Result<(ToAgent, Stamp), Ignored> {
        if !self.is_dispatcher(sender) {
            return Err(Ignored::UnknownSender);
        }
        let stamp = Stamp::of(element)?;
        let payload = ToAgent::parse(element)?;
        if stamp.client != self.enrolment.client {
            return Err(Ignored::UnknownClient);
        }
        let parties = Parties {
            direction: Direction::ToAgent,
            sender,
            recipient: &self.own,
        };
        if !is_sealed(element, parties, &self.enrolment.key) {
            return Err(Ignored::BadSignature);
        }
        Ok((payload, stamp))
    }

    /// The dispatcher has to know why its request leads to nothing, and our drift has to be measured again.
    fn complain_of_clock(&mut self, now: Timestamp, sender: &str, payload: ToAgent) -> Vec<Output> {
        match payload {
            ToAgent::Request(number) => {
                let refused = ClientEvent::Refused(number, Refusal::Clock);
                vec![Output::Write(self.events(now, sender, &[refused])), Output::ClockOff]
            }
            ToAgent::Welcome | ToAgent::Ping | ToAgent::Received(_) => vec![Output::ClockOff],
        }
    }

    /// Takes an `<x/>`: from a dispatcher that never signed more strongly, and held to generous limits.
    fn handle_signed(
        &mut self,
        now: Timestamp,
        sender: &str,
        signed: &Signed,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Ignored> {
        let time = self.verify_signed(sender, signed, outputs)?;
        let action = signed.requested().ok_or(Ignored::UnknownAction)?;
        let signature = signed.signature.as_deref().unwrap_or_default();
        let fresh = self
            .legacy_replay
            .admit(self.server_time(now), Timestamp::from_secs(time), signature);
        if let Err(stale) = fresh {
            if matches!(stale, Stale::Clock { .. }) {
                outputs.push(Output::ClockOff);
            }
            return Err(stale.into());
        }
        if self.link == Link::Unknown {
            self.link = Link::Original;
            outputs.push(Output::LinkUp(Dispatcher::Original));
        }
        match action {
            Action::Ping => outputs.push(Output::Write(self.respond(now, sender, Action::Ping))),
            Action::CheckIn => {
                let request = Request {
                    sender: sender.to_owned(),
                    number: None,
                };
                outputs.push(Output::RequestReceived(request));
            }
        }
        Ok(())
    }

    /// The time in an `<x/>` that this registration's dispatcher signed.
    fn verify_signed(&self, sender: &str, signed: &Signed, outputs: &mut Vec<Output>) -> Result<i64, Ignored> {
        if !self.enrolment.dispatchers.is_empty() && !self.is_dispatcher(sender) {
            return Err(Ignored::UnknownSender);
        }
        let time = signed.unix_seconds().ok_or(Ignored::Timestamp)?;
        let is_valid = signed.is_valid_request(&self.enrolment.key, &self.own);
        if self.strong {
            return Err(if is_valid {
                Ignored::WeakSignature
            } else {
                Ignored::BadSignature
            });
        }
        if !is_valid {
            // It names no key; but the server stamped the sender, which is a dispatcher of this registration.
            if self.is_dispatcher(sender) {
                outputs.push(Output::KeyVoid);
            }
            return Err(Ignored::BadSignature);
        }
        Ok(time)
    }

    /// Whether the registration named this dispatcher; resources are not compared.
    fn is_dispatcher(&self, jid: &str) -> bool {
        let named = &self.enrolment.dispatchers;
        named.iter().any(|dispatcher| bare(dispatcher) == bare(jid))
    }

    fn server_time(&self, now: Timestamp) -> Timestamp {
        let drift = Duration::from_millis(self.enrolment.drift_millis.unsigned_abs());
        if self.enrolment.drift_millis < 0 {
            now - drift
        } else {
            now + drift
        }
    }
}
