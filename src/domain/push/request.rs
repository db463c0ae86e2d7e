//! A request and the states it goes through.
//!
//! ```text
//! Claimed ──► Sent ──► Answered ──► Started ──► Finished
//!    │          ├────► Refused(reason)
//!    └──────────┴────► Lost(reason) ◄── Answered, Started
//! ```
//!
//! Source: push life cycle, section 2.

use crate::domain::ids::{RequestNumber, SystemId};
use crate::domain::push::action::CoveredAction;
use crate::domain::push::client::{Client, Refusal, RunReport, RunStart};
use crate::domain::time::Timestamp;

/// Why a request is taken for lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LossReason {
    /// Its lease ended without an answer.
    Unanswered,
    /// The client connected anew, or its name, key or JID changed.
    Reconnected,
    /// The dispatcher that sent it ended.
    NodeRestarted,
    /// It was answered, but after a reconnect the agent neither announced nor reported it.
    Forgotten,
    /// The session was gone, or too slow, before it could be sent.
    NotSent,
}

/// Why a system waits between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitReason {
    /// An existing agent answered; its action is still queued.
    StillQueued,
    /// A new agent runs its check, or is about to.
    CheckRunning,
    /// The check ended with status 0, yet actions are left: locked, disabled, or another check held the lock.
    LeftBehind,
    /// The check ended with another status.
    CheckFailed,
    /// The agent refused the request.
    Refused(Refusal),
    /// Requests stay unanswered.
    Unanswered,
    /// Requests and a ping stayed unanswered; one request each quarter of an hour.
    Unresponsive,
    /// A reboot is picked up.
    Rebooting,
    /// An action was picked up and nothing more was heard.
    Stuck,
}

/// The pause before a system's next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When it ends.
    pub until: Timestamp,
    /// What it is for.
    pub reason: WaitReason,
    /// How many pauses for this reason came before; each doubles the pause.
    pub step: u16,
}

/// How far an open request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestState {
    /// Recorded, with a lease, and not yet handed to the client's session.
    Claimed,
    /// Written to the client's connection.
    Sent,
    /// The agent received it and will start a check after it.
    Answered,
    /// The run that covers it has begun.
    Started(RunStart),
}

/// A request that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    /// Its number within the system.
    pub number: RequestNumber,
    /// How far it has come.
    pub state: RequestState,
    /// When it entered that state.
    pub since: Timestamp,
    /// The actions due when it was claimed.
    pub covers: Vec<CoveredAction>,
}

/// What the store keeps of a system's life cycle, read back when the system becomes pushable on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushRecord {
    /// The number given last.
    pub last_number: RequestNumber,
    /// Requests that have not ended, oldest first.
    pub open: Vec<OpenRequest>,
    /// Actions, with versions, of answered requests that have ended; rows that are no longer pending are left out.
    pub covered: Vec<CoveredAction>,
    /// The pause in force.
    pub wait: Option<Wait>,
}

/// A request to be recorded before it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The system to wake.
    pub system: SystemId,
    /// The request's number; the claim fails if the database gave it out already.
    pub number: RequestNumber,
    /// The actions due now.
    pub covers: Vec<CoveredAction>,
}

/// What became of a [`Claim`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// Recorded: sign with exactly this.
    Granted(Client),
    /// A request of this system has a live lease, or the number is taken: read the record anew.
    Refused,
    /// The system, or its registration, is gone.
    Gone,
}

/// One step of a request or a system, to be recorded with its time.
///
/// The store applies a batch in order, in one transaction. What moves action rows, it does only in standalone
/// deployments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The request was written to the connection.
    Sent(RequestNumber),
    /// The agent received it, and starts a check after this receipt. Standalone: covered actions that are queued
    /// become picked up.
    Answered(RequestNumber),
    /// An existing agent received it, which promises nothing; the request has ended. Actions stay as they are.
    Received(RequestNumber),
    /// The agent will not run the check for it.
    Refused(RequestNumber, Refusal),
    /// The request ended without effect.
    Lost(RequestNumber, LossReason),
    /// A run began that covers every answered request up to `covers`.
    Started(RunStart),
    /// A run ended. A run id that is known already changes nothing. Every request up to `covers` that was neither
    /// finished nor refused is finished, those taken for lost included: the run began after their receipt.
    /// Standalone, per covered action whose version is unchanged: success completes it, failure takes one of its
    /// tries and fails it with the last one; a failed action fails those that depend on it.
    Finished(RunReport),
    /// Standalone with an existing agent: answered requests, the last one this, have covered these actions for long
    /// enough; they are completed with "delivered, result unknown", and the request is finished.
    Delivered(RequestNumber, Vec<CoveredAction>),
    /// The system waits; `None` ends the pause.
    Waiting(Option<Wait>),
    /// A new agent announced itself under the client's present name.
    AgentAnnounced,
    /// `rhnPushClient.state_id` becomes online or offline.
    Online(bool),
    /// A validly signed stanza came: `last_message_time`.
    Heard,
}

/// A [`Step`] of one system at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The system.
    pub system: SystemId,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub step: Step,
}
