//! The agent's decisions about its check command: when a run starts, what a request is answered, what is reported.
//!
//! ```text
//!          a run is owed: request, agent start, retry
//!   Idle ──────────────────────────────────────────────► Starting ──RunStarted──► Running
//!    ▲ ▲                                                     │                       │
//!    │ └──────────── StartFailed (owed again, later) ────────┘                       │
//!    └──────────────── RunEnded (what is owed meanwhile starts at once) ─────────────┘
//! ```
//!
//! The rules, from the push life cycle: at most one run at a time, never killed; a request during a run is merged into
//! one more run after it; an accepted answer promises that a check starts after the receipt; a run covers the highest
//! request number received before its start; reports are kept until they are acknowledged. Only under an original
//! dispatcher, which does not learn of failures, does the agent itself retry a failed run.

mod core;
#[cfg(test)]
mod properties;
mod reports;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::core::CheckCore;
pub use self::reports::REPORTS_MAX;
use crate::domain::backoff::Backoff;
use crate::domain::ids::{RequestNumber, RunId};
use crate::domain::push::client::{Refusal, RunEnd, RunReport, RunStart};

/// Waits between runs that failed under an original dispatcher.
pub const FAILED_RUN_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(15),
    limit: Duration::from_secs(5 * 60),
};

/// Waits between attempts to start a run at all: a full disk or process table may heal at any time.
pub const FAILED_START_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    limit: Duration::from_secs(60),
};

/// Waits between repeats of a report that is not acknowledged on a live connection.
pub const REPEATED_REPORT_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(60),
    limit: Duration::from_secs(15 * 60),
};

/// Which dispatcher is at the other end of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dispatcher {
    /// Ours: numbers its requests, takes reports, retries failed runs itself.
    Ours,
    /// The original one: learns nothing but that a request was received.
    Original,
}

/// What an agent that starts finds of its earlier life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// A run still in progress under its supervising process.
    pub live: Option<RunStart>,
    /// Ended runs whose reports were not acknowledged, oldest first.
    pub ended: Vec<RunReport>,
    /// The highest request number that was answered as accepted without a run having started.
    pub promised: Option<RequestNumber>,
}

/// How a run ended, as its supervising process recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedRun {
    /// The run.
    pub run: RunId,
    /// How it ended.
    pub end: RunEnd,
    /// How long it ran.
    pub run_time: Duration,
}

/// What can happen to the agent's check runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckInput {
    /// The agent has started.
    AgentStarted(Recovered),
    /// A validly signed request arrived; without a number from an original dispatcher.
    RequestReceived(Option<RequestNumber>),
    /// The run asked for by [`CheckOutput::Start`] is under way.
    RunStarted(RunId),
    /// The run asked for by [`CheckOutput::Start`] could not be started.
    StartFailed(RunId),
    /// A run ended.
    RunEnded(EndedRun),
    /// The dispatcher has recorded the report of this run.
    ReportAcknowledged(RunId),
    /// It is known which dispatcher the new connection leads to.
    LinkUp(Dispatcher),
    /// The connection is gone.
    LinkDown,
    /// The time of [`CheckCore::wake_at`] has come.
    TimerFired,
    /// The agent shuts down: nothing is started any more.
    DrainRequested,
    /// The setting `run_rhn_check` was read anew.
    ChecksEnabled(bool),
    /// The host was registered as another system: request numbers known so far mean nothing any more.
    IdentityChanged,
}

/// What is to be done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckOutput {
    /// Start a run; answer with [`CheckInput::RunStarted`] or [`CheckInput::StartFailed`].
    Start(RunStart),
    /// Answer a request: accepted, or refused for the given reason.
    Answer(Option<RequestNumber>, Option<Refusal>),
    /// Tell our dispatcher that a run started.
    ReportStarted(RunStart),
    /// Tell our dispatcher that a run ended.
    ReportFinished(RunReport),
    /// Remember on disk that this request was accepted although no run started yet.
    Remember(RequestNumber),
    /// Remove what is left of a run: its report is acknowledged or not wanted.
    Forget(RunId),
    /// Remove all request numbers from what is on disk.
    ForgetNumbers,
}
