//! The keeper of check runs: performs what [`CheckCore`] decides.
//!
//! ```text
//! Connector ── CheckEvent, Announce ──► CheckRunner ──► CheckLauncher ──► supervising process ──► check command
//!     ▲                                  │      ▲                              │
//!     └───────────── Tell ───────────────┘      └── end of a run ◄─────────────┘
//! ```
//!
//! A fresh generation reads the traces of runs and promises from disk, adopts a run that is in progress, and asks the
//! connector which dispatcher it is linked to; so a crash costs at most the requests that were in its mailbox, and for
//! those the dispatcher asks again.

pub mod messages;

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, SpawnHandle, WrapFuture};
use tokio::time::Instant;

use self::messages::{Announce, CheckEvent};
use crate::actors::connector::Connector;
use crate::actors::connector::messages::{ReportLink, Tell};
use crate::actors::supervision::{ExitGuard, ExitReason, LiveAddr, Shutdown};
use crate::domain::backoff::Backoff;
use crate::domain::check::{CheckCore, CheckInput, CheckOutput};
use crate::domain::ids::RunId;
use crate::domain::push::client::{Announcement, RunStart};
use crate::domain::time::Timestamp;
use crate::ports::agent_status::StatusBoard;
use crate::ports::check_launcher::{CheckLauncher, LaunchError, Recovery, RunEnding};
use crate::ports::clock::Entropy;
use crate::protocol::agent::Telling;

/// Waits before the state directory is read again, or a run is waited for again.
const STATE_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    limit: Duration::from_secs(60),
};
/// How long the connector may take to say what it is linked to; it asks nobody for that.
const LINK_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages that wait.
const MAILBOX: usize = 16;

/// What every generation is built from.
#[derive(Clone)]
pub struct CheckRunnerParts {
    /// Starts runs and keeps their traces.
    pub launcher: Arc<dyn CheckLauncher>,
    /// Names runs.
    pub entropy: Arc<dyn Entropy>,
    /// Who is told.
    pub connector: LiveAddr<Connector>,
    /// The setting `run_rhn_check`.
    pub enabled: bool,
    /// Where it is shown how things are.
    pub status: Arc<dyn StatusBoard>,
}

/// The actor; see the [module](self).
pub struct CheckRunner {
    parts: CheckRunnerParts,
    core: CheckCore,
    /// The origin of the core's time.
    origin: Instant,
    /// Whether the traces of earlier runs are read; nothing may start before.
    recovered: bool,
    failures: u32,
    timer: Option<(Timestamp, SpawnHandle)>,
    guard: ExitGuard,
}

impl CheckRunner {
    /// A generation.
    pub fn new(parts: CheckRunnerParts, guard: ExitGuard) -> Self {
        Self {
            core: CheckCore::new(parts.enabled),
            parts,
            origin: Instant::now(),
            recovered: false,
            failures: 0,
            timer: None,
            guard,
        }
    }

    fn recover(&mut self, ctx: &mut Context<Self>) {
        match self.parts.launcher.recover() {
            Ok(recovery) => self.begin(recovery, ctx),
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                tracing::error!(event = "check_records_unreadable", %error, attempt = self.failures);
                ctx.run_later(STATE_BACKOFF.after(self.failures), Self::recover);
            }
        }
    }

    fn begin(&mut self, recovery: Recovery, ctx: &mut Context<Self>) {
        for path in recovery.moved_aside {
            tracing::warn!(event = "check_record_moved_aside", path = %path.display());
        }
        let live = recovery.recovered.live.map(|start| start.run);
        self.recovered = true;
        self.decide(CheckInput::AgentStarted(recovery.recovered), ctx);
        if let Some(run) = live {
            tracing::info!(event = "check_adopted", run_id = %run);
            self.watch(run, 0, ctx);
        }
        self.ask_for_link(ctx);
    }

    /// A connector that lived through our predecessor's end will not say it again by itself.
    fn ask_for_link(&mut self, ctx: &mut Context<Self>) {
        let connector = self.parts.connector.clone();
        let asked = async move { tokio::time::timeout(LINK_TIMEOUT, connector.send(ReportLink)).await };
        ctx.spawn(asked.into_actor(self).map(|answer, runner, ctx| {
            if let Ok(Ok(Some(dispatcher))) = answer {
                runner.decide(CheckInput::LinkUp(dispatcher), ctx);
            }
        }));
    }

    /// Lets the core decide, and does what it wants done, until it wants nothing more.
    fn decide(&mut self, input: CheckInput, ctx: &mut Context<Self>) {
        let mut telling = Telling::default();
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let mut outputs = Vec::new();
            let entropy = &self.parts.entropy;
            let new_run = || {
                let mut bytes = [0; 16];
                entropy.fill(&mut bytes);
                RunId(bytes)
            };
            self.core.handle(self.now(), input, new_run, &mut outputs);
            telling.append(Telling::take_from(&mut outputs));
            for output in outputs {
                next = self.perform(output, ctx).or(next);
            }
        }
        self.tell(telling);
        self.arm_timer(ctx);
    }

    /// Does one thing; gives the core's next input if there is one.
    fn perform(&mut self, output: CheckOutput, ctx: &mut Context<Self>) -> Option<CheckInput> {
        let launcher = &self.parts.launcher;
        let recorded = match output {
            CheckOutput::Start(start) => return Some(self.start(start, ctx)),
            CheckOutput::Remember(number) => launcher.remember(number),
            CheckOutput::Forget(run) => launcher.forget(run),
            CheckOutput::ForgetNumbers => launcher.forget_numbers(),
            // Taken out before; see `decide`.
            CheckOutput::Answer(..) | CheckOutput::ReportStarted(_) | CheckOutput::ReportFinished(_) => Ok(()),
        };
        if let Err(error) = recorded {
            // What this costs is said at each method of the port: a repetition, nothing else.
            tracing::warn!(event = "check_record_failed", %error);
        }
        None
    }

    fn start(&mut self, start: RunStart, ctx: &mut Context<Self>) -> CheckInput {
        match self.parts.launcher.start(start) {
            Ok(()) => {
                tracing::debug!(event = "check_started", run_id = %start.run, request = %start.covers);
                self.watch(start.run, 0, ctx);
                CheckInput::RunStarted(start.run)
            }
            Err(error) => {
                tracing::error!(event = "check_start_failed", %error);
                CheckInput::StartFailed(start.run)
            }
        }
    }

    /// Waits for the end of a run, however often that takes.
    fn watch(&mut self, run: RunId, failures: u32, ctx: &mut Context<Self>) {
        match self.parts.launcher.wait(run) {
            Ok(wait) => {
                let ended = wait.into_actor(self);
                ctx.spawn(ended.map(move |ending, runner, ctx| match ending {
                    Ok(ending) => runner.end(ending, ctx),
                    Err(error) => runner.watch_later(run, &error, failures, ctx),
                }));
            }
            Err(error) => self.watch_later(run, &error, failures, ctx),
        }
    }

    fn watch_later(&mut self, run: RunId, error: &LaunchError, failures: u32, ctx: &mut Context<Self>) {
        tracing::error!(event = "check_wait_failed", run_id = %run, %error);
        let failures = failures.saturating_add(1);
        ctx.run_later(STATE_BACKOFF.after(failures), move |runner, ctx| {
            runner.watch(run, failures, ctx)
        });
    }

    fn end(&mut self, ending: RunEnding, ctx: &mut Context<Self>) {
        let ended = ending.ended;
        if let Some(error) = ending.trouble {
            tracing::error!(event = "check_command_failed", run_id = %ended.run, %error);
        }
        let elapsed_ms = u64::try_from(ended.run_time.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(event = "check_ended", run_id = %ended.run, end = ?ended.end, elapsed_ms);
        self.decide(CheckInput::RunEnded(ended), ctx);
        self.parts.status.run_ended(ended);
    }

    fn tell(&self, telling: Telling) {
        // A connector that is gone or drowning loses this; then reports are repeated, and requests are made again.
        if !telling.is_empty() && self.parts.connector.try_send(Tell(telling)).is_err() {
            tracing::debug!(event = "check_news_lost");
        }
    }

    fn arm_timer(&mut self, ctx: &mut Context<Self>) {
        let wanted = self.core.wake_at();
        if self.timer.map(|(at, _)| at) == wanted {
            return;
        }
        if let Some((_, handle)) = self.timer.take() {
            ctx.cancel_future(handle);
        }
        self.timer = wanted.map(|at| {
            let wait = at.saturating_since(self.now());
            let handle = ctx.run_later(wait, |runner, ctx| {
                runner.timer = None;
                runner.decide(CheckInput::TimerFired, ctx);
            });
            (at, handle)
        });
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0) + self.origin.elapsed()
    }
}

impl Actor for CheckRunner {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.recover(ctx);
    }
}

impl Handler<CheckEvent> for CheckRunner {
    type Result = ();

    fn handle(&mut self, CheckEvent(input): CheckEvent, ctx: &mut Self::Context) {
        // Before the traces are read nobody can say whether a run is in progress; the dispatcher asks again.
        if !self.recovered {
            return;
        }
        self.decide(input.clone(), ctx);
        // After the check was started, which is more urgent.
        if let CheckInput::RequestReceived(number) = input {
            self.parts.status.request(number);
        }
    }
}

impl Handler<Announce> for CheckRunner {
    type Result = Option<Announcement>;

    fn handle(&mut self, _: Announce, _: &mut Self::Context) -> Self::Result {
        self.recovered.then(|| self.core.announce())
    }
}

impl Handler<Shutdown> for CheckRunner {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.guard.end_as(ExitReason::Shutdown);
        self.decide(CheckInput::DrainRequested, ctx);
        ctx.stop();
    }
}

#[cfg(debug_assertions)]
impl Handler<crate::actors::supervision::Crash> for CheckRunner {
    type Result = ();

    fn handle(&mut self, _: crate::actors::supervision::Crash, _: &mut Self::Context) {
        panic!("crashed by a test");
    }
}
