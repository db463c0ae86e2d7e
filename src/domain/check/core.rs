//! The state machine.

use super::reports::Reports;
use super::{
    CheckInput, CheckOutput, Dispatcher, EndedRun, FAILED_RUN_BACKOFF, FAILED_START_BACKOFF, REPEATED_REPORT_BACKOFF,
    Recovered,
};
use crate::domain::ids::{RequestNumber, RunId};
use crate::domain::push::client::{Announcement, Refusal, RunReport, RunStart};
use crate::domain::time::Timestamp;

/// What the one run is doing.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// No run.
    Idle,
    /// A start was asked for; what was promised before it stays promised until it succeeds.
    Starting {
        start: RunStart,
        promised: Option<RequestNumber>,
    },
    /// A run is in progress; `told` once our dispatcher knows of it on this connection.
    Running { start: RunStart, told: bool },
}

/// What is known of the other end.
#[derive(Clone, Copy, Debug)]
struct Link {
    up: bool,
    /// The dispatcher of this connection, or of the last one while there is none.
    dispatcher: Option<Dispatcher>,
}

/// Decides about the runs of one agent. See the module for its states and rules.
///
/// Time is the caller's monotonic clock. Cheap: in the steady state nothing is allocated.
#[derive(Clone, Debug)]
pub struct CheckCore {
    enabled: bool,
    draining: bool,
    phase: Phase,
    /// A run has to start as soon as it may.
    owed: bool,
    /// The highest accepted number that no start has been asked for.
    promised: Option<RequestNumber>,
    /// The highest number ever received; zero if none.
    highest: RequestNumber,
    link: Link,
    failed_runs: u32,
    retry_at: Option<Timestamp>,
    failed_starts: u32,
    start_at: Option<Timestamp>,
    reports: Reports,
    repeats: u32,
    repeat_at: Option<Timestamp>,
}

impl CheckCore {
    /// A core that has not been told yet that the agent started. `enabled` is the setting `run_rhn_check`.
    pub const fn new(enabled: bool) -> Self {
        Self {
            enabled,
            draining: false,
            phase: Phase::Idle,
            owed: false,
            promised: None,
            highest: RequestNumber(0),
            link: Link {
                up: false,
                dispatcher: None,
            },
            failed_runs: 0,
            retry_at: None,
            failed_starts: 0,
            start_at: None,
            reports: Reports::new(),
            repeats: 0,
            repeat_at: None,
        }
    }

    /// Takes what happened at `now` and appends to `out` what is to be done about it. `new_run` gives a random run id
    /// and is called at most once.
    pub fn handle(
        &mut self,
        now: Timestamp,
        input: CheckInput,
        new_run: impl FnOnce() -> RunId,
        out: &mut Vec<CheckOutput>,
    ) {
        match input {
            CheckInput::AgentStarted(recovered) => self.recover(recovered, out),
            CheckInput::RequestReceived(number) => return self.receive(now, number, new_run, out),
            CheckInput::RunStarted(run) => self.run_started(run, out),
            CheckInput::StartFailed(run) => self.start_failed(now, run, out),
            CheckInput::RunEnded(ended) => self.run_ended(now, ended, out),
            CheckInput::ReportAcknowledged(run) => self.acknowledge(run, out),
            CheckInput::LinkUp(dispatcher) => self.link_up(now, dispatcher, out),
            CheckInput::LinkDown => self.link_down(),
            CheckInput::TimerFired => self.fire_timers(now, out),
            CheckInput::DrainRequested => self.draining = true,
            CheckInput::ChecksEnabled(enabled) => self.switch(enabled),
            CheckInput::IdentityChanged => self.forget_numbers(out),
        }
        self.start_if_owed(now, new_run, out);
    }

    /// When [`CheckInput::TimerFired`] is wanted; once it was given, the next time is later.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let may_start = !self.draining && matches!(self.phase, Phase::Idle);
        let start_at = self.start_at.filter(|_| may_start && self.owed);
        let retry_at = self.retry_at.filter(|_| may_start && !self.owed);
        [start_at, retry_at, self.repeat_at].into_iter().flatten().min()
    }

    /// What to tell a dispatcher in the initial presence of a new connection; counts as told.
    pub fn announce(&mut self) -> Announcement {
        let (running, starting) = match &mut self.phase {
            Phase::Idle => (None, None),
            Phase::Starting { promised, .. } => (None, *promised),
            Phase::Running { start, told } => {
                *told = true;
                (Some(*start), None)
            }
        };
        Announcement {
            running,
            pending: self.promised.max(starting),
            reports: self.reports.tell_all().collect(),
        }
    }

    /// Whether a run is starting or in progress.
    pub const fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. } | Phase::Running { .. })
    }

    fn recover(&mut self, recovered: Recovered, out: &mut Vec<CheckOutput>) {
        for report in recovered.ended {
            out.extend(self.reports.keep(report).map(CheckOutput::Forget));
        }
        let running = recovered.live.map_or(RequestNumber(0), |start| start.covers);
        let promised = recovered.promised.unwrap_or_default();
        self.highest = self.reports.highest().max(running).max(promised);
        if let Some(start) = recovered.live {
            self.phase = Phase::Running { start, told: false };
        }
        // Once after each start, as a reboot may have ended what no dispatcher sees end (compatibility contract, 4.7).
        // It also keeps the promises of the agent's earlier life.
        if self.enabled {
            self.owed = true;
            self.promised = recovered.promised;
        }
    }

    fn receive(
        &mut self,
        now: Timestamp,
        number: Option<RequestNumber>,
        new_run: impl FnOnce() -> RunId,
        out: &mut Vec<CheckOutput>,
    ) {
        self.highest = self.highest.max(number.unwrap_or_default());
        let refusal = match (self.enabled, self.draining) {
            (false, _) => Some(Refusal::Disabled),
            (true, true) => Some(Refusal::Draining),
            (true, false) => None,
        };
        if refusal.is_none() {
            self.owed = true;
            self.promised = self.promised.max(number);
            self.start_if_owed(now, new_run, out);
            out.extend(self.promised.filter(|_| number.is_some()).map(CheckOutput::Remember));
        }
        out.push(CheckOutput::Answer(number, refusal));
    }

    /// Asks for a start before anything else that waits, so that the check begins as early as possible.
    fn start_if_owed(&mut self, now: Timestamp, new_run: impl FnOnce() -> RunId, out: &mut Vec<CheckOutput>) {
        let waits = self.start_at.is_some_and(|at| at > now);
        if !self.owed || self.draining || waits || self.is_busy() {
            return;
        }
        let start = RunStart {
            run: new_run(),
            covers: self.highest,
        };
        self.phase = Phase::Starting {
            start,
            promised: self.promised.take(),
        };
        self.owed = false;
        self.start_at = None;
        self.retry_at = None;
        out.push(CheckOutput::Start(start));
    }

    fn run_started(&mut self, run: RunId, out: &mut Vec<CheckOutput>) {
        let Phase::Starting { start, .. } = self.phase else {
            return;
        };
        if start.run != run {
            return;
        }
        self.failed_starts = 0;
        self.phase = Phase::Running { start, told: false };
        self.tell_running(out);
    }

    fn start_failed(&mut self, now: Timestamp, run: RunId, out: &mut Vec<CheckOutput>) {
        let Phase::Starting { start, promised } = self.phase else {
            return;
        };
        if start.run != run {
            return;
        }
        self.failed_starts = self.failed_starts.saturating_add(1);
        self.start_at = Some(now + FAILED_START_BACKOFF.after(self.failed_starts));
        self.phase = Phase::Idle;
        self.owed = true;
        self.promised = self.promised.max(promised);
        out.extend(self.promised.map(CheckOutput::Remember));
    }

    fn run_ended(&mut self, now: Timestamp, ended: EndedRun, out: &mut Vec<CheckOutput>) {
        let start = match self.phase {
            Phase::Idle => return,
            Phase::Starting { start, .. } | Phase::Running { start, .. } => start,
        };
        if start.run != ended.run {
            return;
        }
        self.phase = Phase::Idle;
        self.failed_runs = if ended.end.is_success() {
            0
        } else {
            self.failed_runs.saturating_add(1)
        };
        self.schedule_retry(now);
        if self.link.dispatcher == Some(Dispatcher::Original) {
            out.push(CheckOutput::Forget(ended.run));
            return;
        }
        let report = RunReport {
            run: ended.run,
            covers: start.covers,
            end: ended.end,
            run_time: ended.run_time,
        };
        out.extend(self.reports.keep(report).map(CheckOutput::Forget));
        self.tell_untold(now, out);
    }

    fn acknowledge(&mut self, run: RunId, out: &mut Vec<CheckOutput>) {
        if !self.reports.acknowledge(run) {
            return;
        }
        out.push(CheckOutput::Forget(run));
        self.repeats = 0;
        if self.reports.is_empty() {
            self.repeat_at = None;
        }
    }

    fn link_up(&mut self, now: Timestamp, dispatcher: Dispatcher, out: &mut Vec<CheckOutput>) {
        self.link = Link {
            up: true,
            dispatcher: Some(dispatcher),
        };
        match dispatcher {
            Dispatcher::Ours => {
                self.retry_at = None;
                self.tell_running(out);
                self.tell_untold(now, out);
            }
            Dispatcher::Original => {
                out.extend(self.reports.drain().map(CheckOutput::Forget));
                self.repeat_at = None;
                if self.retry_at.is_none() && !self.is_busy() {
                    self.schedule_retry(now);
                }
            }
        }
    }

    fn link_down(&mut self) {
        self.link.up = false;
        self.reports.untell();
        self.repeats = 0;
        self.repeat_at = None;
        if let Phase::Running { told, .. } = &mut self.phase {
            *told = false;
        }
    }

    fn fire_timers(&mut self, now: Timestamp, out: &mut Vec<CheckOutput>) {
        if self.retry_at.is_some_and(|at| at <= now) && !self.draining {
            self.retry_at = None;
            self.owed = true;
        }
        if self.repeat_at.is_some_and(|at| at <= now) {
            self.repeats = self.repeats.saturating_add(1);
            out.extend(self.reports.tell_all().map(CheckOutput::ReportFinished));
            self.expect_acknowledgement(now);
        }
    }

    fn switch(&mut self, enabled: bool) {
        if enabled && !self.enabled {
            // Whatever was refused meanwhile is fetched at once, as after an agent start.
            self.owed = true;
        }
        if !enabled {
            self.retry_at = None;
        }
        self.enabled = enabled;
    }

    fn forget_numbers(&mut self, out: &mut Vec<CheckOutput>) {
        self.highest = RequestNumber(0);
        self.promised = None;
        self.repeat_at = None;
        match &mut self.phase {
            Phase::Idle => {}
            Phase::Starting { start, promised } => {
                start.covers = RequestNumber(0);
                *promised = None;
            }
            Phase::Running { start, .. } => start.covers = RequestNumber(0),
        }
        out.extend(self.reports.drain().map(CheckOutput::Forget));
        out.push(CheckOutput::ForgetNumbers);
    }

    fn schedule_retry(&mut self, now: Timestamp) {
        let retries = self.enabled && self.link.dispatcher == Some(Dispatcher::Original) && self.failed_runs > 0;
        self.retry_at = retries.then(|| now + FAILED_RUN_BACKOFF.after(self.failed_runs));
    }

    const fn is_linked_to_ours(&self) -> bool {
        self.link.up && matches!(self.link.dispatcher, Some(Dispatcher::Ours))
    }

    fn tell_running(&mut self, out: &mut Vec<CheckOutput>) {
        let linked = self.is_linked_to_ours();
        if let Phase::Running { start, told } = &mut self.phase
            && linked
            && !*told
        {
            *told = true;
            out.push(CheckOutput::ReportStarted(*start));
        }
    }

    fn tell_untold(&mut self, now: Timestamp, out: &mut Vec<CheckOutput>) {
        if self.is_linked_to_ours() {
            out.extend(self.reports.tell_untold().map(CheckOutput::ReportFinished));
            self.expect_acknowledgement(now);
        }
    }

    /// Sets when unacknowledged reports are repeated: first after a minute, then less and less often.
    fn expect_acknowledgement(&mut self, now: Timestamp) {
        let wait = REPEATED_REPORT_BACKOFF.after(self.repeats.saturating_add(1));
        self.repeat_at = (!self.reports.is_empty()).then(|| now + wait);
    }
}
