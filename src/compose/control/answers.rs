//! What is answered; the shapes of `--json`.

use serde::{Deserialize, Serialize};

use super::explanation::Explained;
use crate::compose::time::Time;
use crate::domain::time::Timestamp;
use crate::ports::inventory::{ActionRow, ActionStatus, RequestTrace, SystemRow};

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To `Status`.
    Status(Box<Status>),
    /// To `AddSystem`.
    SystemAdded(Box<SystemAdded>),
    /// To `ListSystems`.
    Systems(Vec<System>),
    /// To `RemoveSystem`.
    SystemRemoved(SystemName),
    /// To `ListAccounts`.
    Accounts(Vec<AccountEntry>),
    /// To `ResetAccount`.
    AccountReset {
        /// Its name.
        username: String,
    },
    /// To `Schedule`.
    Scheduled(Scheduled),
    /// To `ListActions`.
    Actions(Vec<Action>),
    /// To `Ping`.
    Pong(Pong),
    /// To `Explain`.
    Explained(Box<Explained>),
    /// To `Crash`: the actor was there to hear it.
    #[cfg(debug_assertions)]
    Crashed,
}

/// How a dispatcher is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// The server's name.
    pub hostname: String,
    /// The running dispatcher; `null` if none runs.
    pub running: Option<RunningStatus>,
    /// How many systems there are; `null` while the database does not answer.
    pub systems: Option<usize>,
    /// How many of them are online.
    pub online: Option<usize>,
    /// How many actions of systems are pending.
    pub pending: Option<i64>,
}

/// How the running dispatcher's database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseState {
    /// It answers.
    Ok,
    /// It does not answer: its disk or its server hangs.
    Stalled,
    /// It is not there, or does not do what it is asked.
    Failing,
    /// Its file is no longer at its path.
    Deleted,
}

/// What only a running dispatcher knows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningStatus {
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started: Time,
    /// The number of this start.
    pub incarnation: i64,
    /// Where agents connect.
    pub xmpp: Vec<String>,
    /// Where agents register.
    pub registration: Vec<String>,
    /// Connections, logged in or not.
    pub connections: usize,
    /// Those that have not logged in.
    pub logging_in: usize,
    /// The end of the certificate in use; `null` where agents connect to another server.
    pub certificate_expires: Option<Time>,
    /// The site's own XMPP server, where agents are reached through one.
    #[serde(default)]
    pub upstream: Option<UpstreamStatus>,
    /// How the database is.
    pub database: DatabaseState,
    /// What is wrong with it, if anything is.
    #[serde(default)]
    pub database_error: Option<String>,
    /// Requests are sent within so many milliseconds of what the poller cannot be told: `push.reconcile_interval`.
    pub reconcile_interval_ms: u64,
}

/// The login to the site's own XMPP server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// The server's domain.
    pub server: String,
    /// The JID of the dispatcher, while it is logged in.
    pub jid: Option<String>,
    /// Why it is not, if that is known.
    pub error: Option<String>,
    /// Registered agents, as they were read last; `null` while it is not logged in.
    pub registered: Option<usize>,
    /// Those of them whose presence is there.
    pub available: Option<usize>,
}

impl UpstreamStatus {
    /// That no agent is there, and why; `None` while the dispatcher is logged in.
    pub fn outage(self) -> Option<String> {
        if self.jid.is_some() {
            return None;
        }
        let Self { server, error, .. } = self;
        let reason = error.unwrap_or_else(|| format!("{server} is being connected to"));
        Some(format!(
            "no agent can be reached: {reason}; see `osa-dispatcher status`"
        ))
    }
}

/// A new system, with all that its client needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemAdded {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its identity: the text of the systemid file. Secret.
    pub systemid: Private,
    /// The server's name.
    pub hostname: String,
    /// Port for agents.
    pub xmpp_port: u16,
    /// Port of the registration endpoint.
    pub registration_port: u16,
}

/// A text that must not be shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Private(pub String);

impl std::fmt::Debug for Private {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

/// Which system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemName {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
}

/// A system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Whether its agent is connected and answers.
    pub online: bool,
    /// Its agent's address, once it has registered.
    pub jid: Option<String>,
    /// The name of another system whose agent has proved that this address is its own.
    pub jid_owner: Option<String>,
    /// When its agent last said something.
    pub last_message: Option<Time>,
    /// How many of its actions are pending.
    pub pending: i64,
}

impl From<SystemRow> for System {
    fn from(row: SystemRow) -> Self {
        Self {
            id: row.id.0,
            name: row.name,
            online: row.online,
            jid: row.jid,
            jid_owner: row.jid_owner,
            last_message: row.last_message.map(Time),
            pending: row.pending,
        }
    }
}

/// An account of the embedded XMPP server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountEntry {
    /// Its name.
    pub username: String,
    /// When its agent registered it.
    pub created: Time,
    /// Whether it belongs to a registered system; others expire.
    pub linked: bool,
}

/// An action that was scheduled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// When it may run.
    pub at: Time,
    /// When the database had committed it. Units: microseconds since 1970, by the dispatcher's clock.
    pub committed_us: i64,
    /// For whom.
    pub systems: Vec<SystemName>,
}

/// The state of an action on one system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum ActionState {
    /// Waits to be pushed, or to be answered.
    Queued,
    /// The agent runs its check, or will.
    PickedUp,
    /// The check ended with exit status 0.
    Completed,
    /// The check failed too often, or what it waits for failed.
    Failed,
}

impl ActionState {
    /// As in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::PickedUp => "picked up",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

impl From<ActionStatus> for ActionState {
    fn from(status: ActionStatus) -> Self {
        match status {
            ActionStatus::Queued => Self::Queued,
            ActionStatus::PickedUp => Self::PickedUp,
            ActionStatus::Completed => Self::Completed,
            ActionStatus::Failed => Self::Failed,
        }
    }
}

impl From<ActionState> for ActionStatus {
    fn from(state: ActionState) -> Self {
        match state {
            ActionState::Queued => Self::Queued,
            ActionState::PickedUp => Self::PickedUp,
            ActionState::Completed => Self::Completed,
            ActionState::Failed => Self::Failed,
        }
    }
}

/// An action on one system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// The system.
    pub system: SystemName,
    /// Its state there.
    pub state: ActionState,
    /// When it was scheduled.
    pub created: Time,
    /// When it may run.
    pub at: Time,
    /// When it was picked up.
    pub picked_up: Option<Time>,
    /// When it was completed or failed.
    pub completed: Option<Time>,
    /// How often it may still fail.
    pub remaining_tries: i64,
    /// The result in words.
    pub result: Option<String>,
    /// The last request that covered it.
    pub request: Trace,
    /// How long each step took.
    pub milliseconds: Steps,
}

impl From<ActionRow> for Action {
    fn from(row: ActionRow) -> Self {
        let trace = Trace::from(&row.trace);
        Self {
            id: row.id.0,
            name: row.name,
            system: SystemName {
                id: row.system.0,
                name: row.system_name,
            },
            state: row.status.into(),
            created: row.created.into(),
            at: row.earliest.into(),
            picked_up: row.picked_up.map(Time),
            completed: row.completed.map(Time),
            remaining_tries: row.remaining_tries,
            result: row.result,
            milliseconds: Steps::of(row.created.max(row.earliest), &row.trace),
            request: trace,
        }
    }
}

/// When a request went through its states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Its number within the system.
    pub number: Option<i64>,
    /// Recorded.
    pub claimed: Option<Time>,
    /// Written to the connection.
    pub sent: Option<Time>,
    /// Received by the agent.
    pub answered: Option<Time>,
    /// The check started.
    pub started: Option<Time>,
    /// The check ended, or the request did without one.
    pub ended: Option<Time>,
}

impl From<&RequestTrace> for Trace {
    fn from(trace: &RequestTrace) -> Self {
        Self {
            number: trace.number,
            claimed: trace.claimed.map(Time),
            sent: trace.sent.map(Time),
            answered: trace.answered.map(Time),
            started: trace.started.map(Time),
            ended: trace.ended.map(Time),
        }
    }
}

/// How long each step took since the one before. Units: milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steps {
    /// From queued (or the time from which it could run, if that is later) to sent.
    pub sent: Option<u64>,
    /// To the agent's answer.
    pub answered: Option<u64>,
    /// To the start of the check.
    pub started: Option<u64>,
    /// To the end of the check.
    pub finished: Option<u64>,
    /// From queued to the start of the check.
    pub queued_to_started: Option<u64>,
}

impl Steps {
    fn of(queued: Timestamp, trace: &RequestTrace) -> Self {
        let between = |from: Option<Timestamp>, to: Option<Timestamp>| {
            let elapsed = to?.saturating_since(from?);
            u64::try_from(elapsed.as_millis()).ok()
        };
        let queued = Some(queued);
        Self {
            sent: between(queued, trace.sent),
            answered: between(trace.sent, trace.answered),
            started: between(trace.answered, trace.started),
            finished: between(trace.started, trace.ended),
            queued_to_started: between(queued, trace.started),
        }
    }
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// Who answered.
    pub system: SystemName,
    /// After how long. Units: microseconds.
    pub elapsed_us: u64,
}
