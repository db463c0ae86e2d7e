//! The rules, one sentence each.

use super::*;
use crate::domain::{push::client::Announcement, time::Timestamp};
use std::time::Duration;

/// A core with a clock, run ids counted up, and a launcher that confirms each start unless told otherwise.
struct Bench {
    core: CheckCore,
    now: Timestamp,
    runs: u8,
    starts_succeed: bool,
}

impl Bench {
    fn new() -> Self {
        Self::enabled(true)
    }

    fn enabled(enabled: bool) -> Self {
        Self {
            core: CheckCore::new(enabled),
            now: Timestamp::from_secs(1_000),
            runs: 0,
            starts_succeed: true,
        }
    }

    /// A bench whose run after the agent start is over and recorded.
    fn idle(dispatcher: Dispatcher) -> Self {
        let mut bench = Self::new();
        bench.give(CheckInput::LinkUp(dispatcher));
        bench.give(CheckInput::AgentStarted(Recovered::default()));
        bench.end(1, 0);
        bench.give(CheckInput::ReportAcknowledged(run(1)));
        bench
    }

    fn give(&mut self, input: CheckInput) -> Vec<CheckOutput> {
        let mut out = Vec::new();
        let runs = &mut self.runs;
        self.core.handle(self.now, input, || count_up(runs), &mut out);
        let start = out.iter().find_map(|output| match output {
            CheckOutput::Start(start) => Some(start.run),
            _ => None,
        });
        if let Some(run) = start {
            let outcome = if self.starts_succeed {
                CheckInput::RunStarted(run)
            } else {
                CheckInput::StartFailed(run)
            };
            out.extend(self.give(outcome));
        }
        out
    }

    fn request(&mut self, number: i64) -> Vec<CheckOutput> {
        self.give(CheckInput::RequestReceived(Some(RequestNumber(number))))
    }

    fn end(&mut self, number: u8, status: i32) -> Vec<CheckOutput> {
        self.give(CheckInput::RunEnded(ended(number, status)))
    }

    /// Lets time pass to the next timer; gives the seconds waited and what followed.
    fn wake(&mut self) -> (u64, Vec<CheckOutput>) {
        let at = self.core.wake_at().expect("a timer is set");
        let waited = at.saturating_since(self.now).as_secs();
        self.now = at;
        (waited, self.give(CheckInput::TimerFired))
    }
}

fn count_up(runs: &mut u8) -> RunId {
    *runs += 1;
    run(*runs)
}

fn run(number: u8) -> RunId {
    RunId([number; 16])
}

fn start(number: u8, covers: i64) -> RunStart {
    RunStart {
        run: run(number),
        covers: RequestNumber(covers),
    }
}

fn ended(number: u8, status: i32) -> EndedRun {
    EndedRun {
        run: run(number),
        end: RunEnd::Exited(status),
        run_time: Duration::from_secs(3),
    }
}

fn report(number: u8, covers: i64, status: i32) -> RunReport {
    RunReport {
        run: run(number),
        covers: RequestNumber(covers),
        end: RunEnd::Exited(status),
        run_time: Duration::from_secs(3),
    }
}

fn accepted(number: i64) -> CheckOutput {
    CheckOutput::Answer(Some(RequestNumber(number)), None)
}

#[test]
fn one_run_starts_after_agent_start() {
    let mut bench = Bench::new();

    let out = bench.give(CheckInput::AgentStarted(Recovered::default()));

    assert_eq!(out, [CheckOutput::Start(start(1, 0))]);
    assert_eq!(bench.end(1, 0), []);
}

#[test]
fn request_starts_a_run_before_it_is_answered() {
    let mut bench = Bench::idle(Dispatcher::Ours);

    let out = bench.request(7);

    let start = start(2, 7);
    assert_eq!(
        out,
        [
            CheckOutput::Start(start),
            accepted(7),
            CheckOutput::ReportStarted(start)
        ]
    );
}

#[test]
fn requests_during_a_run_are_merged_into_one_more_run() {
    let mut bench = Bench::idle(Dispatcher::Ours);
    bench.request(7);

    let merged = [8, 9].map(|number| bench.request(number));
    let after = bench.end(2, 0);

    assert_eq!(merged[1], [CheckOutput::Remember(RequestNumber(9)), accepted(9)]);
    let second = start(3, 9);
    assert_eq!(
        after,
        [
            CheckOutput::ReportFinished(report(2, 7, 0)),
            CheckOutput::Start(second),
            CheckOutput::ReportStarted(second)
        ]
    );
    assert_eq!(bench.end(3, 0), [CheckOutput::ReportFinished(report(3, 9, 0))]);
}

#[test]
fn request_without_number_is_answered_without_number() {
    let mut bench = Bench::idle(Dispatcher::Original);

    let out = bench.give(CheckInput::RequestReceived(None));

    assert_eq!(out, [CheckOutput::Start(start(2, 0)), CheckOutput::Answer(None, None)]);
}

#[test]
fn disabled_or_draining_agent_refuses_and_starts_nothing() {
    let mut disabled = Bench::enabled(false);
    assert_eq!(disabled.give(CheckInput::AgentStarted(Recovered::default())), []);
    let mut draining = Bench::idle(Dispatcher::Ours);
    draining.give(CheckInput::DrainRequested);

    for (bench, reason) in [(&mut disabled, Refusal::Disabled), (&mut draining, Refusal::Draining)] {
        let refused = CheckOutput::Answer(Some(RequestNumber(1)), Some(reason));
        assert_eq!(bench.request(1), [refused]);
    }
}

#[test]
fn draining_agent_leaves_its_promise_to_the_next_one() {
    let mut bench = Bench::idle(Dispatcher::Ours);
    bench.request(7);
    bench.request(8);
    bench.give(CheckInput::DrainRequested);

    let after = bench.end(2, 0);

    assert_eq!(after, [CheckOutput::ReportFinished(report(2, 7, 0))]);
    assert_eq!(bench.core.announce().pending, Some(RequestNumber(8)));
}

#[test]
fn enabling_checks_starts_a_run() {
    let mut bench = Bench::enabled(false);

    let [first, second] = [true, true].map(|enabled| bench.give(CheckInput::ChecksEnabled(enabled)));

    assert_eq!((first, second), (vec![CheckOutput::Start(start(1, 0))], vec![]));
}

#[test]
fn restarted_agent_adopts_the_live_run_and_keeps_promise_and_reports() {
    let mut bench = Bench::new();
    let recovered = Recovered {
        live: Some(start(50, 4)),
        ended: vec![report(49, 3, 1)],
        promised: Some(RequestNumber(6)),
    };

    let at_start = bench.give(CheckInput::AgentStarted(recovered));
    let announced = bench.core.announce();
    bench.give(CheckInput::LinkUp(Dispatcher::Ours));
    let after = bench.end(50, 0);

    assert_eq!(at_start, []);
    assert_eq!(
        announced,
        Announcement {
            running: Some(start(50, 4)),
            pending: Some(RequestNumber(6)),
            reports: vec![report(49, 3, 1)],
        }
    );
    assert_eq!(
        after,
        [
            CheckOutput::ReportFinished(report(50, 4, 0)),
            CheckOutput::Start(start(1, 6)),
            CheckOutput::ReportStarted(start(1, 6))
        ]
    );
}

#[test]
fn what_ends_without_a_link_is_announced_and_kept_until_acknowledged() {
    let mut bench = Bench::idle(Dispatcher::Ours);
    bench.request(7);
    bench.give(CheckInput::LinkDown);

    assert_eq!(bench.end(2, 0), []);
    assert_eq!(bench.core.announce().reports, [report(2, 7, 0)]);
    bench.give(CheckInput::LinkDown);
    assert_eq!(bench.core.announce().reports, [report(2, 7, 0)]);
    assert_eq!(bench.give(CheckInput::LinkUp(Dispatcher::Ours)), []);
    bench.give(CheckInput::LinkDown);
    let unannounced = bench.give(CheckInput::LinkUp(Dispatcher::Ours));
    let acknowledged = bench.give(CheckInput::ReportAcknowledged(run(2)));
    assert_eq!(unannounced, [CheckOutput::ReportFinished(report(2, 7, 0))]);
    assert_eq!(acknowledged, [CheckOutput::Forget(run(2))]);
    assert_eq!(bench.core.announce().reports, []);
    assert_eq!(bench.core.wake_at(), None);
}

#[test]
fn what_ends_between_announcement_and_link_up_is_reported_at_link_up() {
    let mut bench = Bench::new();
    bench.give(CheckInput::AgentStarted(Recovered::default()));
    bench.core.announce();
    bench.end(1, 0);

    let expected = [CheckOutput::ReportFinished(report(1, 0, 0))];
    assert_eq!(bench.give(CheckInput::LinkUp(Dispatcher::Ours)), expected);
}

#[test]
fn unacknowledged_report_is_repeated_less_and_less_often() {
    let mut bench = Bench::idle(Dispatcher::Ours);
    bench.request(7);
    bench.end(2, 1);

    let waits: Vec<u64> = (0..6)
        .map(|_| {
            let (waited, out) = bench.wake();
            assert_eq!(out, [CheckOutput::ReportFinished(report(2, 7, 1))]);
            waited
        })
        .collect();

    assert_eq!(waits, [60, 120, 240, 480, 900, 900]);
}

#[test]
fn oldest_report_goes_when_too_many_wait() {
    let mut bench = Bench::idle(Dispatcher::Ours);
    bench.give(CheckInput::LinkDown);

    let forgotten: Vec<CheckOutput> = (2..=34)
        .flat_map(|number| {
            bench.request(i64::from(number));
            bench.end(number, 0)
        })
        .collect();

    assert_eq!(forgotten, [CheckOutput::Forget(run(2))]);
    assert_eq!(bench.core.announce().reports.len(), REPORTS_MAX);
}

#[test]
fn failed_run_is_retried_by_the_agent_under_an_original_dispatcher_only() {
    let mut ours = Bench::idle(Dispatcher::Ours);
    ours.request(7);
    ours.end(2, 1);
    ours.give(CheckInput::ReportAcknowledged(run(2)));
    let mut original = Bench::idle(Dispatcher::Original);
    original.give(CheckInput::RequestReceived(None));
    let forgotten = original.end(2, 1);

    let waits: Vec<u64> = (3..9)
        .map(|number| {
            let (waited, out) = original.wake();
            assert_eq!(out, [CheckOutput::Start(start(number, 0))]);
            original.end(number, 1);
            waited
        })
        .collect();
    original.wake();
    original.end(9, 0);

    assert_eq!(ours.core.wake_at(), None);
    assert_eq!(forgotten, [CheckOutput::Forget(run(2))]);
    assert_eq!(waits, [15, 30, 60, 120, 240, 300]);
    assert_eq!(original.core.wake_at(), None);
}

#[test]
fn failure_before_the_link_is_retried_once_the_dispatcher_proves_original() {
    let mut bench = Bench::new();
    bench.give(CheckInput::AgentStarted(Recovered::default()));
    bench.end(1, 1);

    let out = bench.give(CheckInput::LinkUp(Dispatcher::Original));

    assert_eq!(out, [CheckOutput::Forget(run(1))]);
    assert_eq!(bench.wake(), (15, vec![CheckOutput::Start(start(2, 0))]));
}

#[test]
fn failed_start_is_tried_again_and_the_promise_stays() {
    let mut bench = Bench::idle(Dispatcher::Ours);
    bench.starts_succeed = false;

    let out = bench.request(7);
    let announced = bench.core.announce();
    let second = bench.request(8);
    let (waited, _) = bench.wake();
    bench.starts_succeed = true;
    let (longer, started) = bench.wake();

    assert_eq!(
        out,
        [
            CheckOutput::Start(start(2, 7)),
            accepted(7),
            CheckOutput::Remember(RequestNumber(7))
        ]
    );
    assert_eq!(announced.pending, Some(RequestNumber(7)));
    assert_eq!(second, [CheckOutput::Remember(RequestNumber(8)), accepted(8)]);
    assert_eq!((waited, longer), (1, 2));
    assert_eq!(
        started,
        [CheckOutput::Start(start(4, 8)), CheckOutput::ReportStarted(start(4, 8))]
    );
}

#[test]
fn numbers_of_another_system_cover_nothing() {
    let mut bench = Bench::idle(Dispatcher::Ours);
    bench.request(500);
    bench.request(501);
    bench.give(CheckInput::LinkDown);

    let out = bench.give(CheckInput::IdentityChanged);
    let announced = bench.core.announce();
    let after = bench.end(2, 0);

    assert_eq!(out, [CheckOutput::ForgetNumbers]);
    assert_eq!((announced.running, announced.pending), (Some(start(2, 0)), None));
    assert_eq!(after, [CheckOutput::Start(start(3, 0))]);
}

#[test]
fn words_about_other_runs_change_nothing() {
    let mut bench = Bench::idle(Dispatcher::Ours);
    bench.request(7);

    for input in [
        CheckInput::RunStarted(run(9)),
        CheckInput::StartFailed(run(9)),
        CheckInput::RunEnded(ended(9, 0)),
        CheckInput::ReportAcknowledged(run(9)),
    ] {
        assert_eq!(bench.give(input), []);
    }
    assert!(bench.core.is_busy());
}
