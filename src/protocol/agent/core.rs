//! A whole agent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{AgentLink, LinkEvent, LinkOutput, Moment, Telling};
use crate::domain::check::{CheckCore, CheckInput, CheckOutput, Dispatcher};
use crate::domain::ids::{RequestNumber, RunId};
use crate::domain::push::client::RunStart;
use crate::domain::time::Timestamp;
use crate::protocol::osa::agent_talk::AgentTalk;
use crate::protocol::sasl::TlsExporter;
use crate::protocol::stream::Seed;
use crate::protocol::stream::client::{ClientConfig, ClientEnd};

/// What an agent wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum CoreOutput {
    /// Send these bytes.
    Write(Vec<u8>),
    /// Begin the TLS handshake once all is sent.
    StartTls,
    /// Send what is queued and close.
    Close(ClientEnd),
    /// Logged in under this full JID, and announced.
    LoggedIn(String),
    /// It is known which dispatcher is at the other end.
    LinkUp(Dispatcher),
    /// Register again: the drift is wrong.
    ClockOff,
    /// Register again: name and key are void.
    KeyVoid,
    /// Start a run; answer with [`CheckInput::RunStarted`] or [`CheckInput::StartFailed`], and its end with
    /// [`CheckInput::RunEnded`].
    Start(RunStart),
    /// Remember on disk that this request was accepted although no run started yet.
    Remember(RequestNumber),
    /// Remove what is left of a run.
    Forget(RunId),
    /// Remove all request numbers from what is on disk.
    ForgetNumbers,
}

/// An agent: its runs, and its connection while there is one.
///
/// After every input take outputs until there are none, perform them in order, and arm one timer.
pub struct AgentCore {
    check: CheckCore,
    link: Option<Box<AgentLink>>,
    /// Makes run ids.
    seed: Seed,
    /// The origin of the check core's time.
    origin: Instant,
    now: Moment,
    outputs: VecDeque<CoreOutput>,
}

impl AgentCore {
    /// An agent that has not started. `enabled` is the setting `run_rhn_check`; `seed` names its runs.
    pub fn new(enabled: bool, seed: Seed, now: Moment) -> Self {
        Self {
            check: CheckCore::new(enabled),
            link: None,
            seed,
            origin: now.steady,
            now,
            outputs: VecDeque::new(),
        }
    }

    /// Takes what happened to runs, settings or the host.
    pub fn handle_check(&mut self, input: CheckInput, now: Moment) {
        self.now = now;
        let mut outputs = Vec::new();
        self.decide(input, &mut outputs);
        self.perform(outputs);
    }

    /// A connection was made; the last one, if any, is forgotten.
    pub fn connected(&mut self, config: ClientConfig, talk: AgentTalk, seed: Seed, now: Moment) {
        self.disconnected(now);
        self.link = Some(Box::new(AgentLink::new(config, talk, seed, now)));
        self.pump();
    }

    /// Takes bytes from the connection, in any split.
    pub fn receive(&mut self, bytes: &[u8], now: Moment) {
        self.on_link(now, |link| link.receive(bytes, now));
    }

    /// The TLS handshake is done, chain and name are verified.
    pub fn tls_established(&mut self, exporter: Option<TlsExporter>, now: Moment) {
        self.on_link(now, |link| link.tls_established(exporter, now));
    }

    /// Says goodbye.
    pub fn close(&mut self, now: Moment) {
        self.on_link(now, AgentLink::close);
    }

    /// The connection is gone. Gives back the conversation, which lives as long as the registration.
    pub fn disconnected(&mut self, now: Moment) -> Option<AgentTalk> {
        let link = self.link.take()?;
        self.handle_check(CheckInput::LinkDown, now);
        Some(link.into_talk())
    }

    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<CoreOutput> {
        let output = self.outputs.pop_front();
        if self.outputs.is_empty() {
            // An idle agent keeps no buffer.
            self.outputs = VecDeque::new();
        }
        output
    }

    /// When [`AgentCore::handle_deadline`] wants to be called, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        let check = self.check.wake_at().map(|at| {
            let millis = u64::try_from(at.as_millis()).unwrap_or(0);
            self.origin + Duration::from_millis(millis)
        });
        let link = self.link.as_ref().and_then(|link| link.next_deadline());
        [check, link].into_iter().flatten().min()
    }

    /// Does what is due; harmless when nothing is.
    pub fn handle_deadline(&mut self, now: Moment) {
        self.on_link(now, |link| link.handle_deadline(now));
        if self.check.wake_at().is_some_and(|at| at <= self.check_time()) {
            self.handle_check(CheckInput::TimerFired, now);
        }
    }

    fn on_link(&mut self, now: Moment, act: impl FnOnce(&mut AgentLink)) {
        self.now = now;
        if let Some(link) = &mut self.link {
            act(link);
            self.pump();
        }
    }

    /// Takes what the connection wants done, until it wants nothing. Its events come before its bytes, so that what
    /// they lead to travels in the same record.
    fn pump(&mut self) {
        while let Some(output) = self.link.as_mut().and_then(|link| link.poll_output()) {
            match output {
                LinkOutput::Write(bytes) => self.outputs.push_back(CoreOutput::Write(bytes)),
                LinkOutput::StartTls => self.outputs.push_back(CoreOutput::StartTls),
                LinkOutput::Close(end) => self.outputs.push_back(CoreOutput::Close(end)),
                LinkOutput::Event(event) => self.handle_event(event),
            }
        }
    }

    fn handle_event(&mut self, event: LinkEvent) {
        let mut outputs = Vec::new();
        match event {
            LinkEvent::LoggedIn { jid, .. } => {
                self.announce();
                self.outputs.push_back(CoreOutput::LoggedIn(jid));
            }
            LinkEvent::AnnouncementWanted => self.announce(),
            LinkEvent::DispatcherLeft(_) => self.decide(CheckInput::LinkDown, &mut outputs),
            LinkEvent::RequestReceived(number) => self.decide(CheckInput::RequestReceived(number), &mut outputs),
            LinkEvent::Acknowledged(run) => self.decide(CheckInput::ReportAcknowledged(run), &mut outputs),
            LinkEvent::LinkUp(dispatcher) => {
                self.outputs.push_back(CoreOutput::LinkUp(dispatcher));
                self.decide(CheckInput::LinkUp(dispatcher), &mut outputs);
            }
            LinkEvent::ClockOff => self.outputs.push_back(CoreOutput::ClockOff),
            LinkEvent::KeyVoid => self.outputs.push_back(CoreOutput::KeyVoid),
            // Who registers, or wants to log it, uses the link itself.
            LinkEvent::DispatcherCame(_) | LinkEvent::DispatcherUnknown(_) | LinkEvent::Ignored(_) => {}
        }
        self.perform_quietly(outputs);
    }

    fn announce(&mut self) {
        let announcement = self.check.announce();
        if let Some(link) = &mut self.link {
            link.announce(&announcement, self.now);
        }
    }

    fn decide(&mut self, input: CheckInput, outputs: &mut Vec<CheckOutput>) {
        let time = self.check_time();
        let seed = &mut self.seed;
        self.check.handle(time, input, || RunId(seed.draw_id()), outputs);
    }

    fn check_time(&self) -> Timestamp {
        let since = self.now.steady.saturating_duration_since(self.origin);
        Timestamp::from_millis(0) + since
    }

    fn perform(&mut self, outputs: Vec<CheckOutput>) {
        self.perform_quietly(outputs);
        self.pump();
    }

    fn perform_quietly(&mut self, mut outputs: Vec<CheckOutput>) {
        let telling = Telling::take_from(&mut outputs);
        if let Some(link) = &mut self.link
            && !telling.is_empty()
        {
            link.tell(&telling, self.now);
        }
        self.outputs
            .extend(outputs.into_iter().filter_map(|output| match output {
                CheckOutput::Start(start) => Some(CoreOutput::Start(start)),
                CheckOutput::Remember(number) => Some(CoreOutput::Remember(number)),
                CheckOutput::Forget(run) => Some(CoreOutput::Forget(run)),
                CheckOutput::ForgetNumbers => Some(CoreOutput::ForgetNumbers),
                CheckOutput::Answer(..) | CheckOutput::ReportStarted(_) | CheckOutput::ReportFinished(_) => None,
            }));
    }
}
