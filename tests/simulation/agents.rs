//! Agents: new ones run the real core and conversation, existing ones follow the compatibility page.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use minidom::Element;
use osa::domain::check::{CheckCore, CheckInput, CheckOutput, EndedRun, Recovered};
use osa::domain::ids::{RequestNumber, RunId};
use osa::domain::push::client::{Announcement, Client, ClientEvent, RunEnd, RunReport, RunStart};
use osa::domain::time::Timestamp;
use osa::protocol::agent::{Telling, VERSION};
use osa::protocol::osa::Serials;
use osa::protocol::osa::action::Action;
use osa::protocol::osa::agent_talk::{AgentTalk, Enrolment, Output, Request};
use osa::protocol::osa::payload::ELEMENTS_MAX;
use osa::protocol::osa::signed::{Content, Signed};

use crate::wire::{self, Stanza};
use crate::world::Kind;

/// What an agent wants of its world.
#[derive(Clone, Debug)]
pub enum Wish {
    Send(Element),
    StartRun(RunStart),
}

/// What survives an agent: supervising processes and their exit files.
#[derive(Debug, Default)]
pub struct Disk {
    pub live: BTreeMap<RunId, RunStart>,
    pub ended: Vec<RunReport>,
    pub promised: Option<RequestNumber>,
}

pub struct NewAgent {
    pub core: Option<CheckCore>,
    pub disk: Disk,
    /// The conversation of the registration; none before the first one of this process.
    pub talk: Option<AgentTalk>,
    unanswered: VecDeque<Request>,
    outputs: Vec<CheckOutput>,
}

impl NewAgent {
    pub fn new() -> Self {
        Self {
            core: None,
            disk: Disk::default(),
            talk: None,
            unanswered: VecDeque::new(),
            outputs: Vec::new(),
        }
    }

    pub fn start(&mut self, now: Timestamp, run: RunId) -> Vec<Wish> {
        self.core = Some(CheckCore::new(true));
        let recovered = Recovered {
            live: self.disk.live.values().next().copied(),
            ended: self.disk.ended.clone(),
            promised: self.disk.promised,
        };
        self.give(now, now, CheckInput::AgentStarted(recovered), run)
    }

    /// The process is gone, and with it what it knew of its registration.
    pub fn crash(&mut self) {
        (self.core, self.talk) = (None, None);
    }

    /// Registered: its own clock may be off, by what it measured.
    pub fn enrol(&mut self, client: &Client, drift_millis: i64, entropy: u64) {
        let enrolment = Enrolment {
            client: client.name.clone(),
            key: client.shared_key.clone(),
            dispatchers: vec![wire::DISPATCHER.into()],
            drift_millis,
        };
        self.talk = Some(AgentTalk::new(client.jid.clone(), enrolment, entropy));
    }

    /// Logged in on a new connection: the initial presence.
    pub fn log_in(&mut self, wall: Timestamp, jid: String) -> Option<Element> {
        let announcement = self
            .core
            .as_mut()
            .map_or_else(Announcement::default, CheckCore::announce);
        let talk = self.talk.as_mut()?;
        self.unanswered.clear();
        talk.reconnect(jid);
        Some(talk.presence(wall, VERSION, &announcement))
    }

    pub fn hear(&mut self, wall: Timestamp, stanza: &Element) -> Vec<Output> {
        self.talk
            .as_mut()
            .map_or_else(Vec::new, |talk| talk.handle_message(wall, stanza))
    }

    pub fn keep(&mut self, request: Request) {
        self.unanswered.push_back(request);
    }

    pub fn give(&mut self, now: Timestamp, wall: Timestamp, input: CheckInput, run: RunId) -> Vec<Wish> {
        let Some(core) = &mut self.core else { return vec![] };
        let mut outputs = std::mem::take(&mut self.outputs);
        core.handle(now, input, || run, &mut outputs);
        let telling = Telling::take_from(&mut outputs);
        let mut wishes = self.tell(wall, &telling);
        wishes.extend(outputs.drain(..).filter_map(|output| self.perform(output)));
        self.outputs = outputs;
        wishes
    }

    /// As the agent's link does it: reports travel with an answer where there is one.
    fn tell(&mut self, wall: Timestamp, telling: &Telling) -> Vec<Wish> {
        let Some(talk) = &mut self.talk else { return vec![] };
        let mut events: &[ClientEvent] = &telling.events;
        let mut wishes = Vec::new();
        for (number, refusal) in &telling.answers {
            let waiting = self.unanswered.iter().position(|request| request.number() == *number);
            let Some(request) = waiting.and_then(|position| self.unanswered.remove(position)) else {
                continue;
            };
            let also = events.len().min(if number.is_some() { ELEMENTS_MAX - 1 } else { 0 });
            let (also, rest) = events.split_at(also);
            events = rest;
            let answer = talk.answer(wall, &request, refusal.map_or(Ok(()), Err), also);
            wishes.extend(answer.map(Wish::Send));
        }
        wishes.extend(talk.report(wall, events).into_iter().map(Wish::Send));
        wishes
    }

    fn perform(&mut self, output: CheckOutput) -> Option<Wish> {
        match output {
            CheckOutput::Start(start) => return Some(Wish::StartRun(start)),
            CheckOutput::Remember(number) => self.disk.promised = Some(number),
            CheckOutput::Forget(run) => self.disk.ended.retain(|report| report.run != run),
            CheckOutput::ForgetNumbers => self.disk.promised = None,
            // All that is told was taken out.
            CheckOutput::Answer(..) | CheckOutput::ReportStarted(_) | CheckOutput::ReportFinished(_) => {}
        }
        None
    }

    /// A supervising process ended, whether or not an agent lives.
    pub fn run_ended(&mut self, now: Timestamp, wall: Timestamp, ended: EndedRun, next: RunId) -> Vec<Wish> {
        let Some(start) = self.disk.live.remove(&ended.run) else {
            return vec![];
        };
        let EndedRun { run, end, run_time } = ended;
        self.disk.ended.push(RunReport {
            run,
            covers: start.covers,
            end,
            run_time,
        });
        self.give(now, wall, CheckInput::RunEnded(ended), next)
    }
}

/// The original agent: reads one record per pause, forgets requests during a check, retries failed checks itself.
#[derive(Debug, Default)]
pub struct ExistingAgent {
    pub up: bool,
    /// What its last registration gave it, and its JID.
    pub client: Option<Client>,
    pub serials: Option<Serials>,
    /// Records in the socket that were not read yet, and whether somebody in between put them there.
    pub inbox: VecDeque<(Stanza, Option<Kind>)>,
    pub running: Option<RunId>,
    pub failed: bool,
    /// A wake-up of the loop is scheduled.
    pub awake: bool,
}

/// What one turn of an existing agent's loop came to.
pub struct Turn {
    /// The record it read and believed.
    pub believed: Option<(Stanza, Option<Kind>)>,
    pub answer: Option<Element>,
    pub starts: bool,
}

impl ExistingAgent {
    /// One turn of its loop: reads one record; what it answers, and whether it starts a check.
    pub fn turn(&mut self, wall: Timestamp) -> Turn {
        let read = self.inbox.pop_front();
        let valid = read.as_ref().and_then(|(stanza, _)| self.verify(stanza));
        let answer = valid.and_then(|action| self.answer(wall, action, read.as_ref()?.0.attr("from")?));
        Turn {
            believed: read.filter(|_| valid.is_some()),
            answer,
            starts: self.running.is_none() && (valid == Some(Action::CheckIn) || self.failed),
        }
    }

    /// Compatibility page, sections 1.11 to 1.13: no replay cache, no limit of time, and any sender who has the key.
    fn verify(&self, stanza: &Element) -> Option<Action> {
        let client = self.client.as_ref()?;
        let signed = Signed::in_message(stanza)?;
        signed.unix_seconds()?;
        let valid = signed.is_valid_request(&client.shared_key, &client.jid);
        signed.requested().filter(|_| valid)
    }

    fn answer(&mut self, wall: Timestamp, action: Action, dispatcher: &str) -> Option<Element> {
        let client = self.client.as_ref()?;
        let content = Content {
            timestamp: wall.as_secs(),
            serial: &self.serials.as_mut()?.take(),
            action: action.response(),
        };
        let signed = Signed::response(&client.shared_key, dispatcher, &client.name.0, &client.jid, content);
        Some(wire::message(dispatcher, signed.to_element()))
    }
}

pub fn exit(code: i32, run: RunId, millis: i64) -> EndedRun {
    EndedRun {
        run,
        end: RunEnd::Exited(code),
        run_time: Duration::from_millis(u64::try_from(millis).expect("runs take time")),
    }
}
