//! One connection of an agent.

use std::collections::VecDeque;
use std::time::Instant;

use minidom::Element;

use super::{Moment, Telling, VERSION};
use crate::domain::check::Dispatcher;
use crate::domain::ids::{RequestNumber, RunId};
use crate::domain::push::client::{Announcement, ClientEvent};
use crate::domain::time::Timestamp;
use crate::protocol::osa::agent_talk::{AgentTalk, Ignored, Output as TalkOutput, Request};
use crate::protocol::osa::payload::ELEMENTS_MAX;
use crate::protocol::sasl::TlsExporter;
use crate::protocol::stream::client::{ClientConfig, ClientEnd, ClientEvent as StreamEvent, ClientStream};
use crate::protocol::stream::{Output, Seed};

/// Requests that wait for their answers; a dispatcher has one outstanding, a ping beside it. What is dropped will be
/// asked again.
const UNANSWERED_MAX: usize = 32;

/// What happened on a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkEvent {
    /// Logged in under this full JID; [`AgentLink::announce`] is wanted.
    LoggedIn {
        /// The full JID the server gave.
        jid: String,
        /// Whether the account was made on this connection.
        registered: bool,
    },
    /// A request arrived; an answer in [`AgentLink::tell`] is wanted.
    RequestReceived(Option<RequestNumber>),
    /// It is known which dispatcher is at the other end.
    LinkUp(Dispatcher),
    /// The dispatcher has recorded the report of this run.
    Acknowledged(RunId),
    /// Our clock, corrected by the drift, is too far from the dispatcher's: register again.
    ClockOff,
    /// Our name and key are void: register again.
    KeyVoid,
    /// Something had no effect; for the log.
    Ignored(Ignored),
}

/// What a connection wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkOutput {
    /// Send these bytes.
    Write(Vec<u8>),
    /// Begin the TLS handshake once all is sent, and report it by [`AgentLink::tls_established`].
    StartTls,
    /// Something happened.
    Event(LinkEvent),
    /// Send what is queued and close; the last output there is.
    Close(ClientEnd),
}

/// A stream and the conversation on it.
pub struct AgentLink {
    stream: ClientStream,
    talk: AgentTalk,
    /// The time of the last input.
    now: Timestamp,
    unanswered: VecDeque<Request>,
    events: VecDeque<LinkEvent>,
}

impl AgentLink {
    /// Begins with a connection just made; speaks first. `talk` is the conversation of the registration, given back by
    /// [`AgentLink::into_talk`].
    pub fn new(config: ClientConfig, talk: AgentTalk, seed: Seed, now: Moment) -> Self {
        Self {
            stream: ClientStream::new(config, seed, now.steady),
            talk,
            now: now.wall,
            unanswered: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Takes bytes from the connection, in any split.
    pub fn receive(&mut self, bytes: &[u8], now: Moment) {
        self.now = now.wall;
        self.stream.receive(bytes, now.steady);
    }

    /// The TLS handshake is done, chain and name are verified.
    pub fn tls_established(&mut self, exporter: Option<TlsExporter>, now: Moment) {
        self.now = now.wall;
        self.stream.tls_established(exporter, now.steady);
    }

    /// Sends the initial presence, or the same again under a new drift.
    pub fn announce(&mut self, announcement: &Announcement, now: Moment) {
        let presence = self.talk.presence(now.wall, VERSION, announcement);
        self.stream.send(&presence);
    }

    /// Answers requests and reports what happened, in as few messages as it takes. An answer to a request of an earlier
    /// connection is left out: there the dispatcher has learned that it is gone.
    pub fn tell(&mut self, telling: &Telling, now: Moment) {
        let mut events = telling.events.as_slice();
        for (number, refusal) in &telling.answers {
            let Some(request) = self.take_request(*number) else {
                continue;
            };
            let decision = refusal.map_or(Ok(()), Err);
            let also = events.get(..events.len().min(ELEMENTS_MAX - 1)).unwrap_or_default();
            let also: &[ClientEvent] = if number.is_some() { also } else { &[] };
            events = events.get(also.len()..).unwrap_or_default();
            if let Some(answer) = self.talk.answer(now.wall, &request, decision, also) {
                self.stream.send(&answer);
            }
        }
        for report in self.talk.report(now.wall, events) {
            self.stream.send(&report);
        }
    }

    /// Says goodbye.
    pub fn close(&mut self) {
        self.stream.close();
    }

    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<LinkOutput> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(LinkOutput::Event(event));
            }
            match self.stream.poll_output()? {
                Output::Write(bytes) => return Some(LinkOutput::Write(bytes)),
                Output::StartTls => return Some(LinkOutput::StartTls),
                Output::Close(end) => return Some(LinkOutput::Close(end)),
                Output::Event(StreamEvent::LoggedIn { jid, registered }) => {
                    self.talk.reconnect(jid.clone());
                    return Some(LinkOutput::Event(LinkEvent::LoggedIn { jid, registered }));
                }
                Output::Event(StreamEvent::Deliver(stanza)) => self.hear(&stanza),
                // The embedded server keeps none, and requests are believed for their signature only.
                Output::Event(StreamEvent::Roster(_) | StreamEvent::RosterChanged(_)) => {}
            }
        }
    }

    /// When [`AgentLink::handle_deadline`] wants to be called, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.stream.next_deadline()
    }

    /// Does what is due; harmless when nothing is.
    pub fn handle_deadline(&mut self, now: Moment) {
        self.now = now.wall;
        self.stream.handle_deadline(now.steady);
    }

    /// Ends the connection, keeping the conversation: it lives as long as the registration.
    pub fn into_talk(self) -> AgentTalk {
        self.talk
    }

    fn hear(&mut self, stanza: &Element) {
        for output in self.talk.handle_message(self.now, stanza) {
            match output {
                TalkOutput::Write(answer) => self.stream.send(&answer),
                TalkOutput::RequestReceived(request) => self.keep_request(request),
                TalkOutput::LinkUp(dispatcher) => self.events.push_back(LinkEvent::LinkUp(dispatcher)),
                TalkOutput::Acknowledged(run) => self.events.push_back(LinkEvent::Acknowledged(run)),
                TalkOutput::ClockOff => self.events.push_back(LinkEvent::ClockOff),
                TalkOutput::KeyVoid => self.events.push_back(LinkEvent::KeyVoid),
                TalkOutput::Ignored(why) => self.events.push_back(LinkEvent::Ignored(why)),
            }
        }
    }

    fn keep_request(&mut self, request: Request) {
        if self.unanswered.len() == UNANSWERED_MAX {
            self.unanswered.pop_front();
        }
        self.events.push_back(LinkEvent::RequestReceived(request.number()));
        self.unanswered.push_back(request);
    }

    fn take_request(&mut self, number: Option<RequestNumber>) -> Option<Request> {
        let position = self.unanswered.iter().position(|request| request.number() == number)?;
        let request = self.unanswered.remove(position);
        if self.unanswered.is_empty() {
            // An idle agent keeps no buffer.
            self.unanswered = VecDeque::new();
        }
        request
    }
}
