//! The answer to `explain`.

use serde::{Deserialize, Serialize};

use super::answers::{Action, System, Trace};
use super::time::Time;
use super::verdict;
use crate::domain::push::request::OpenRequest;
use crate::ports::inventory::RequestTrace;

/// Why a system is being pushed, or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The system.
    pub system: System,
    /// The answer in one sentence.
    pub verdict: String,
    /// How the running dispatcher sees it; `null` if it is not connected, or none runs.
    pub session: Option<SessionView>,
    /// The pause in force.
    pub wait: Option<WaitView>,
    /// Requests that have not ended, oldest first.
    pub open: Vec<OpenView>,
    /// The last requests, newest first.
    pub history: Vec<HistoryView>,
    /// Its pending actions.
    pub pending: Vec<Action>,
}

/// A connected system as the poller sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// `new` or `existing`.
    pub agent: String,
    /// Whether it answers.
    pub responsive: bool,
    /// Whether a reboot is picked up.
    pub rebooting: bool,
    /// The request on its way.
    pub outstanding: Option<i64>,
    /// How many answered requests wait for the report of their check.
    pub awaited: usize,
    /// When the next request is due.
    pub next: Option<Time>,
}

/// A pause between two requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitView {
    /// Its end.
    pub until: Time,
    /// What it is for.
    pub reason: String,
}

/// A request that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenView {
    /// Its number within the system.
    pub number: i64,
    /// `claimed`, `sent`, `answered` or `started`.
    pub state: String,
    /// Since when.
    pub since: Time,
    /// The actions it covers.
    pub actions: Vec<i64>,
}

/// A request and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryView {
    /// Its times.
    pub request: Trace,
    /// What became of it.
    pub outcome: String,
}

impl From<&OpenRequest> for OpenView {
    fn from(request: &OpenRequest) -> Self {
        Self {
            number: request.number.0,
            state: verdict::state(request.state).to_owned(),
            since: request.since.into(),
            actions: request.covers.iter().map(|covered| covered.action.0).collect(),
        }
    }
}

impl From<&(RequestTrace, String)> for HistoryView {
    fn from((trace, outcome): &(RequestTrace, String)) -> Self {
        Self {
            request: trace.into(),
            outcome: outcome.clone(),
        }
    }
}
