//! Agents: new ones run the real core, existing ones follow the compatibility page.

use std::collections::{BTreeMap, VecDeque};

use osa::domain::check::{CheckCore, CheckInput, CheckOutput, Dispatcher, EndedRun, Recovered};
use osa::domain::ids::{RequestNumber, RunId};
use osa::domain::push::client::{Announcement, ClientEvent, RunEnd, RunReport, RunStart};
use osa::domain::time::Timestamp;

/// What crosses a connection, signed with the key of that number.
#[derive(Clone, Debug)]
pub enum ToAgent {
    Request(RequestNumber, u64),
    Ping(u64),
    Acknowledge(RunId),
}

#[derive(Clone, Debug)]
pub enum ToNode {
    Presence(Announcement),
    Event(ClientEvent, u64),
    /// An existing agent's answer: no number.
    Received(u64),
}

/// What an agent wants of its world.
#[derive(Clone, Debug)]
pub enum Wish {
    Send(ToNode),
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
    outputs: Vec<CheckOutput>,
}

impl NewAgent {
    pub fn new() -> Self {
        Self {
            core: None,
            disk: Disk::default(),
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
        self.give(now, CheckInput::AgentStarted(recovered), run, 0)
    }

    pub fn announce(&mut self) -> Announcement {
        self.core.as_mut().map(CheckCore::announce).unwrap_or_default()
    }

    pub fn linked(&mut self, now: Timestamp, run: RunId, key: u64) -> Vec<Wish> {
        self.give(now, CheckInput::LinkUp(Dispatcher::Ours), run, key)
    }

    pub fn give(&mut self, now: Timestamp, input: CheckInput, run: RunId, key: u64) -> Vec<Wish> {
        let Some(core) = &mut self.core else { return vec![] };
        let mut outputs = std::mem::take(&mut self.outputs);
        core.handle(now, input, || run, &mut outputs);
        let wishes = outputs
            .drain(..)
            .filter_map(|output| self.perform(output, key))
            .collect();
        self.outputs = outputs;
        wishes
    }

    fn perform(&mut self, output: CheckOutput, key: u64) -> Option<Wish> {
        let event = match output {
            CheckOutput::Start(start) => return Some(Wish::StartRun(start)),
            CheckOutput::Answer(number, None) => ClientEvent::Accepted(number?),
            CheckOutput::Answer(number, Some(refusal)) => ClientEvent::Refused(number?, refusal),
            CheckOutput::ReportStarted(start) => ClientEvent::Started(start),
            CheckOutput::ReportFinished(report) => ClientEvent::Finished(report),
            CheckOutput::Remember(number) => {
                self.disk.promised = Some(number);
                return None;
            }
            CheckOutput::Forget(run) => {
                self.disk.ended.retain(|report| report.run != run);
                return None;
            }
            CheckOutput::ForgetNumbers => {
                self.disk.promised = None;
                return None;
            }
        };
        Some(Wish::Send(ToNode::Event(event, key)))
    }

    /// A supervising process ended, whether or not an agent lives.
    pub fn run_ended(&mut self, now: Timestamp, ended: EndedRun, next: RunId, key: u64) -> Vec<Wish> {
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
        self.give(now, CheckInput::RunEnded(ended), next, key)
    }
}

/// The original agent: reads one record per pause, forgets requests during a check, retries failed checks itself.
#[derive(Debug, Default)]
pub struct ExistingAgent {
    pub up: bool,
    /// Records in the socket that were not read yet.
    pub inbox: VecDeque<ToAgent>,
    pub running: Option<RunId>,
    pub failed: bool,
    /// A wake-up of the loop is scheduled.
    pub awake: bool,
}

impl ExistingAgent {
    /// One turn of its loop: reads one record; what it answers, and whether it starts a check.
    pub fn turn(&mut self, key: u64) -> (Option<ToNode>, bool) {
        let (answer, wants_check) = match self.inbox.pop_front() {
            Some(ToAgent::Request(_, signed)) if signed == key => (Some(ToNode::Received(key)), true),
            Some(ToAgent::Ping(signed)) if signed == key => (Some(ToNode::Event(ClientEvent::Ponged, key)), false),
            Some(ToAgent::Request(..) | ToAgent::Ping(_) | ToAgent::Acknowledge(_)) | None => (None, false),
        };
        (answer, self.running.is_none() && (wants_check || self.failed))
    }
}

pub fn exit(code: i32, run: RunId, millis: i64) -> EndedRun {
    let run_time = std::time::Duration::from_millis(u64::try_from(millis).expect("runs take time"));
    EndedRun {
        run,
        end: RunEnd::Exited(code),
        run_time,
    }
}
