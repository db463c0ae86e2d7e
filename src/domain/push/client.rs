//! What a client is to the dispatcher, and what it tells about requests and runs.

use std::time::Duration;

use crate::domain::ids::{ClientName, RequestNumber, RunId, SystemId};
use crate::domain::secret::Secret;

/// Which agent is at the other end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgentKind {
    /// Our `osad`: announces itself, numbers its answers and reports its runs.
    New,
    /// The original `osad`: an answer means only that the request was received.
    Existing,
}

/// A row of `rhnPushClient` with what own tables know beside it: all that signing and verifying need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The system the row belongs to.
    pub system: SystemId,
    /// The name the client signs with.
    pub name: ClientName,
    /// The key both sides sign with.
    pub shared_key: Secret,
    /// The full JID the client registered, verbatim.
    pub jid: String,
    /// Whether a new agent announced itself under this very name; weaker signatures are refused from then on.
    pub announced: bool,
}

/// How a run of the check command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunEnd {
    /// The command ended with this exit status (128 + n when signal n ended it).
    Exited(i32),
    /// Neither a live supervising process nor an exit file is left; counts as non-zero.
    Lost,
}

impl RunEnd {
    /// Whether the command ended with status 0.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Exited(0))
    }
}

/// A run that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RunStart {
    /// The run's random name.
    pub run: RunId,
    /// The highest request number that had been received before the start; zero if none.
    pub covers: RequestNumber,
}

/// A run that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RunReport {
    /// The run's random name.
    pub run: RunId,
    /// The highest request number that had been received before the start; zero if none.
    pub covers: RequestNumber,
    /// How it ended.
    pub end: RunEnd,
    /// How long it ran.
    pub run_time: Duration,
}

/// Why an agent will not run the check for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Checks are switched off in the agent's configuration.
    Disabled,
    /// The request's time is too far from the agent's.
    Clock,
    /// The signature is not valid under the agent's key, or is weaker than this dispatcher's earlier ones.
    Signature,
    /// The agent is shutting down.
    Draining,
}

/// What a new agent says about itself at each connection, in its initial presence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// The run in progress, if any.
    pub running: Option<RunStart>,
    /// The highest request number answered as accepted for which no run has started yet; such a run will follow.
    pub pending: Option<RequestNumber>,
    /// Ended runs whose reports the dispatcher has not acknowledged yet, oldest first.
    pub reports: Vec<RunReport>,
}

/// What a client tells its dispatcher during a session; each one came in a validly signed stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// It received a request and, if new, will start a check after this receipt.
    Accepted(RequestNumber),
    /// It received a request and will not start a check.
    Refused(RequestNumber, Refusal),
    /// It started a run.
    Started(RunStart),
    /// A run ended; to be acknowledged once it is recorded.
    Finished(RunReport),
    /// It answered a ping.
    Ponged,
}
