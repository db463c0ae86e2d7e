//! The promises of the core, held against arbitrary histories with crashes of the agent in them.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::time::Timestamp;

#[derive(Clone, Debug)]
enum Step {
    Request,
    RequestAgain,
    LegacyRequest,
    LaunchSucceeds,
    LaunchFails,
    RunEnds(RunEnd),
    Acknowledge,
    LinkUp(Dispatcher),
    LinkDown,
    Wake,
    Switch(bool),
    AgentCrashes,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Request),
        1 => Just(Step::RequestAgain),
        1 => Just(Step::LegacyRequest),
        6 => Just(Step::LaunchSucceeds),
        1 => Just(Step::LaunchFails),
        4 => Just(Step::RunEnds(RunEnd::Exited(0))),
        2 => Just(Step::RunEnds(RunEnd::Exited(1))),
        1 => Just(Step::RunEnds(RunEnd::Lost)),
        3 => Just(Step::Acknowledge),
        2 => Just(Step::LinkUp(Dispatcher::Ours)),
        1 => Just(Step::LinkUp(Dispatcher::Original)),
        2 => Just(Step::LinkDown),
        3 => Just(Step::Wake),
        1 => any::<bool>().prop_map(Step::Switch),
        1 => Just(Step::AgentCrashes),
    ]
}

/// The world around a core: its disk, its launcher, and what a dispatcher may rely on.
struct World {
    core: CheckCore,
    now: Timestamp,
    enabled: bool,
    runs: u32,
    number: i64,
    starting: Option<RunStart>,
    live: Option<RunStart>,
    on_disk: Recovered,
    /// Accepted requests for which no run that covers them has started.
    owed: BTreeSet<RequestNumber>,
    /// Ended runs that are neither acknowledged nor forgotten.
    unreported: BTreeSet<RunId>,
    acknowledged: BTreeSet<RunId>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            core: CheckCore::new(true),
            now: Timestamp::from_secs(0),
            enabled: true,
            runs: 0,
            number: 0,
            starting: None,
            live: None,
            on_disk: Recovered::default(),
            owed: BTreeSet::new(),
            unreported: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
        };
        world.give(CheckInput::AgentStarted(Recovered::default()));
        world
    }

    fn give(&mut self, input: CheckInput) {
        let mut out = Vec::new();
        let runs = &mut self.runs;
        let new_run = || {
            *runs += 1;
            RunId(u128::from(*runs).to_be_bytes())
        };
        self.core.handle(self.now, input, new_run, &mut out);
        out.into_iter().for_each(|output| self.obey(output));
    }

    fn obey(&mut self, output: CheckOutput) {
        match output {
            CheckOutput::Start(start) => {
                assert!(self.starting.is_none() && self.live.is_none(), "two runs at once");
                self.starting = Some(start);
            }
            CheckOutput::Answer(Some(number), None) => {
                self.owed.insert(number);
            }
            CheckOutput::Answer(_, _) => {}
            CheckOutput::ReportStarted(start) => assert_eq!(self.live, Some(start)),
            CheckOutput::ReportFinished(report) => assert!(self.unreported.contains(&report.run)),
            CheckOutput::Remember(number) => self.on_disk.promised = Some(number),
            CheckOutput::Forget(run) => {
                self.on_disk.ended.retain(|report| report.run != run);
                self.unreported.remove(&run);
            }
            CheckOutput::ForgetNumbers => unreachable!("the identity never changes here"),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Request => {
                self.number += 1;
                self.give(CheckInput::RequestReceived(Some(RequestNumber(self.number))));
            }
            Step::RequestAgain => self.give(CheckInput::RequestReceived(Some(RequestNumber(self.number.max(1))))),
            Step::LegacyRequest => self.give(CheckInput::RequestReceived(None)),
            Step::LaunchSucceeds => self.launch(true),
            Step::LaunchFails => self.launch(false),
            Step::RunEnds(end) => self.end(end),
            Step::Acknowledge => self.acknowledge(),
            Step::LinkUp(dispatcher) => self.give(CheckInput::LinkUp(dispatcher)),
            Step::LinkDown => self.give(CheckInput::LinkDown),
            Step::Wake => self.wake(),
            Step::Switch(enabled) => {
                self.enabled = enabled;
                self.give(CheckInput::ChecksEnabled(enabled));
            }
            Step::AgentCrashes => self.crash(),
        }
    }

    fn launch(&mut self, succeeds: bool) {
        let Some(start) = self.starting.take() else { return };
        if succeeds {
            self.live = Some(start);
            self.owed.retain(|number| *number > start.covers);
            self.give(CheckInput::RunStarted(start.run));
        } else {
            self.give(CheckInput::StartFailed(start.run));
        }
    }

    fn end(&mut self, end: RunEnd) {
        let Some(start) = self.live.take() else { return };
        let run_time = Duration::from_secs(1);
        self.on_disk.ended.push(RunReport {
            run: start.run,
            covers: start.covers,
            end,
            run_time,
        });
        self.unreported.insert(start.run);
        self.give(CheckInput::RunEnded(EndedRun {
            run: start.run,
            end,
            run_time,
        }));
    }

    fn acknowledge(&mut self) {
        let Some(run) = self.unreported.first().copied() else {
            return;
        };
        self.acknowledged.insert(run);
        self.give(CheckInput::ReportAcknowledged(run));
        assert!(!self.unreported.contains(&run), "an acknowledged report is forgotten");
    }

    fn wake(&mut self) {
        let Some(at) = self.core.wake_at() else { return };
        self.now = self.now.max(at);
        self.give(CheckInput::TimerFired);
        assert!(self.core.wake_at().is_none_or(|at| at > self.now), "the core spins");
    }

    /// The agent dies and starts again; a run that was only asked for never began.
    fn crash(&mut self) {
        let lost = self.starting.take().map(|start| start.covers);
        // Between the decision to start and its record on disk a crash forgets the promise; the dispatcher then finds
        // its request in no announcement and asks again.
        self.owed.retain(|number| lost.is_none_or(|covers| *number > covers));
        if !self.enabled {
            self.owed.clear();
        }
        self.core = CheckCore::new(self.enabled);
        let recovered = Recovered {
            live: self.live,
            ..self.on_disk.clone()
        };
        self.give(CheckInput::AgentStarted(recovered));
    }

    fn check(&mut self) {
        let announcement = self.core.clone().announce();
        assert_eq!(announcement.running, self.live);
        let reported: BTreeSet<RunId> = announcement.reports.iter().map(|report| report.run).collect();
        assert_eq!(
            reported, self.unreported,
            "each ended run is reported until acknowledged"
        );
        let starting = self.starting.map(|start| start.covers).unwrap_or_default();
        let visible = announcement.pending.unwrap_or_default().max(starting);
        assert!(
            self.owed.iter().all(|number| *number <= visible),
            "{:?} are promised, {announcement:?} does not show it",
            self.owed
        );
    }

    /// From now on launches succeed, runs end and timers fire.
    fn settle(&mut self) {
        for _ in 0..8 {
            self.launch(true);
            self.end(RunEnd::Exited(0));
            if !self.owed.is_empty() {
                self.wake();
            }
        }
        assert!(self.owed.is_empty(), "{:?} were promised and never kept", self.owed);
    }
}

proptest! {
    #[test]
    fn promises_are_kept_and_runs_never_overlap(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
            world.check();
        }
        world.settle();
    }
}
