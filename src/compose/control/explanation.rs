//! The answer to `explain`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::answers::{Action, System, Trace};
use super::verdict;
use crate::compose::time::Time;
use crate::domain::push::client::AgentKind;
use crate::domain::push::request::OpenRequest;
use crate::domain::push::system::Snapshot;
use crate::ports::inventory::{ActionRow, Explanation, RequestTrace, SystemRow};

/// Why a system is being pushed, or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The system.
    pub system: System,
    /// The answer in one sentence.
    pub verdict: String,
    /// How the running dispatcher sees it; `null` if it is not connected, or none runs.
    pub session: Option<SessionView>,
    /// Agents that take the system from each other; `null` if none did within the last hour.
    pub rivals: Option<RivalsView>,
    /// The pause in force.
    pub wait: Option<WaitView>,
    /// Requests that have not ended, oldest first.
    pub open: Vec<OpenView>,
    /// The last requests, newest first.
    pub history: Vec<HistoryView>,
    /// Its pending actions.
    pub pending: Vec<Action>,
}

/// What an explanation is put together from.
type Parts = (Option<Snapshot>, Option<RivalsView>, Explanation, Vec<ActionRow>);

impl Explained {
    /// Puts it together.
    pub fn new(system: SystemRow, verdict: String, (session, rivals, records, pending): Parts) -> Self {
        let wait = session.as_ref().map_or(records.wait, |session| session.wait);
        Self {
            system: system.into(),
            verdict,
            session: session.map(|session| SessionView {
                agent: match session.kind {
                    AgentKind::New => "new".to_owned(),
                    AgentKind::Existing => "existing".to_owned(),
                },
                responsive: session.responsive,
                rebooting: session.rebooting,
                outstanding: session.outstanding.map(|number| number.0),
                awaited: session.awaited,
                next: session.next.map(Time),
            }),
            rivals,
            wait: wait.map(|wait| WaitView {
                until: wait.until.into(),
                reason: verdict::reason(&wait).to_owned(),
            }),
            open: records.open.iter().map(OpenView::from).collect(),
            history: records.history.iter().map(HistoryView::from).collect(),
            pending: pending.into_iter().map(Action::from).collect(),
        }
    }
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

/// Agents that are registered as one system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RivalsView {
    /// How often one took over from another.
    pub times: u32,
    /// When it last happened.
    pub last: Time,
    /// The last two, the older connection first.
    pub agents: Vec<RivalView>,
}

/// One of several agents of a system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RivalView {
    /// Its full JID.
    pub jid: String,
    /// Where it connects from.
    pub address: IpAddr,
}

impl RivalsView {
    /// In one sentence, with the remedy.
    pub fn sentence(&self) -> String {
        let agents: Vec<String> = self
            .agents
            .iter()
            .map(|agent| format!("{} ({})", agent.address, agent.jid))
            .collect();
        format!(
            "another agent is registered as this system, and they take it from each other: {}, {} times, last at {}; if \
             one is a clone, delete its systemid and osad-auth.conf, and register it as a system of its own",
            agents.join(" and "),
            self.times,
            self.last.local()
        )
    }
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
