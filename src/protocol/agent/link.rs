//! One connection of an agent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Moment, Telling, VERSION};
use crate::domain::check::Dispatcher;
use crate::domain::ids::{RequestNumber, RunId};
use crate::domain::push::client::{Announcement, ClientEvent};
use crate::protocol::osa::agent_talk::{AgentTalk, Ignored, Output as TalkOutput, Request};
use crate::protocol::osa::payload::ELEMENTS_MAX;
use crate::protocol::sasl::TlsExporter;
use crate::protocol::stream::client::{ClientConfig, ClientEnd, ClientEvent as StreamEvent, ClientStream};
use crate::protocol::stream::{Output, Seed};

/// Requests that wait for their answers; a dispatcher has one outstanding, a ping beside it. What is dropped will be
/// asked again.
const UNANSWERED_MAX: usize = 32;

/// Shortest time between an announcement and its repetition because a dispatcher came. A server that shows a
/// dispatcher's presence does so right after our own; a dispatcher that answers within this time has heard us.
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(5);

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
    /// A dispatcher is there; the server told us its full JID.
    DispatcherCame(String),
    /// A dispatcher may not have heard the announcement; [`AgentLink::announce`] is wanted once more.
    AnnouncementWanted,
    /// The dispatcher under this full JID is gone; the connection is not.
    DispatcherLeft(String),
    /// Under this JID calls somebody who seems to be a dispatcher newer than the registration.
    DispatcherUnknown(String),
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
    now: Moment,
    announced_at: Option<Instant>,
    /// When to announce again, unless a dispatcher says that it knows us.
    repeat_at: Option<Instant>,
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
            now,
            announced_at: None,
            repeat_at: None,
            unanswered: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Takes bytes from the connection, in any split.
    pub fn receive(&mut self, bytes: &[u8], now: Moment) {
        self.now = now;
        self.stream.receive(bytes, now.steady);
    }

    /// The TLS handshake is done, chain and name are verified.
    pub fn tls_established(&mut self, exporter: Option<TlsExporter>, now: Moment) {
        self.now = now;
        self.stream.tls_established(exporter, now.steady);
    }

    /// Sends the initial presence, or the same again under a new drift.
    pub fn announce(&mut self, announcement: &Announcement, now: Moment) {
        (self.announced_at, self.repeat_at) = (Some(now.steady), None);
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

    /// Asks the server whether a dispatcher is there; if so, [`LinkEvent::DispatcherCame`] follows at once.
    pub fn probe(&mut self) {
        for probe in self.talk.probes() {
            self.stream.send(&probe);
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
                Output::Event(StreamEvent::Deliver(stanza)) => {
                    let outputs = if stanza.name() == "presence" {
                        self.talk.handle_presence(self.now.wall, &stanza)
                    } else {
                        self.talk.handle_message(self.now.wall, &stanza)
                    };
                    self.take(outputs);
                }
                Output::Event(StreamEvent::Roster(items)) => {
                    let asked = self.talk.handle_roster(self.now.wall, &items);
                    self.take(asked);
                }
                // Agents ping no one but their server.
                Output::Event(StreamEvent::Pong { .. }) => {}
                Output::Event(StreamEvent::RosterChanged(items)) => self.talk.handle_roster_change(&items),
            }
        }
    }

    /// When [`AgentLink::handle_deadline`] wants to be called, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.stream.next_deadline(), self.repeat_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due; harmless when nothing is.
    pub fn handle_deadline(&mut self, now: Moment) {
        self.now = now;
        self.stream.handle_deadline(now.steady);
        if self.repeat_at.is_some_and(|at| at <= now.steady) {
            self.want_announcement();
        }
    }

    /// Ends the connection, keeping the conversation: it lives as long as the registration.
    pub fn into_talk(self) -> AgentTalk {
        self.talk
    }

    fn take(&mut self, outputs: Vec<TalkOutput>) {
        for output in outputs {
            let event = match output {
                TalkOutput::Write(stanza) => {
                    self.stream.send(&stanza);
                    continue;
                }
                TalkOutput::RequestReceived(request) => {
                    self.keep_request(request);
                    continue;
                }
                TalkOutput::LinkUp(dispatcher) => {
                    self.repeat_at = None;
                    LinkEvent::LinkUp(dispatcher)
                }
                TalkOutput::Acknowledged(run) => LinkEvent::Acknowledged(run),
                TalkOutput::ClockOff => LinkEvent::ClockOff,
                TalkOutput::KeyVoid => LinkEvent::KeyVoid,
                TalkOutput::DispatcherCame(jid) => {
                    self.events.push_back(LinkEvent::DispatcherCame(jid));
                    self.greet();
                    continue;
                }
                TalkOutput::DispatcherLeft(jid) => LinkEvent::DispatcherLeft(jid),
                TalkOutput::DispatcherUnknown(jid) => LinkEvent::DispatcherUnknown(jid),
                TalkOutput::Ignored(why) => LinkEvent::Ignored(why),
            };
            self.events.push_back(event);
        }
    }

    /// A dispatcher came. Before the first announcement there is nothing to repeat.
    fn greet(&mut self) {
        let Some(announced_at) = self.announced_at else { return };
        let at = announced_at + ANNOUNCE_PAUSE;
        if at <= self.now.steady {
            self.want_announcement();
        } else {
            self.repeat_at = Some(at);
        }
    }

    fn want_announcement(&mut self) {
        (self.announced_at, self.repeat_at) = (Some(self.now.steady), None);
        self.events.push_back(LinkEvent::AnnouncementWanted);
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
