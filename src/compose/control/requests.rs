//! What can be asked.

use serde::{Deserialize, Serialize};

use super::answers::ActionState;
use crate::compose::time::Time;

/// One request of a subcommand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How the dispatcher is.
    Status,
    /// Add a system.
    AddSystem {
        /// Its name.
        name: String,
    },
    /// All systems.
    ListSystems,
    /// Remove a system with everything it had.
    RemoveSystem {
        /// Its name.
        name: String,
    },
    /// All accounts of the embedded XMPP server.
    ListAccounts,
    /// Remove an account, so that its agent registers a new one.
    ResetAccount {
        /// Its name.
        username: String,
    },
    /// Schedule an action.
    Schedule(Schedule),
    /// Actions, newest first.
    ListActions(ActionQuery),
    /// Ask a system for a sign of life.
    Ping {
        /// Its name.
        system: String,
    },
    /// Why a system is being pushed, or not.
    Explain {
        /// Its name.
        system: String,
    },
    /// Make an actor panic, so that tests can show what that costs the real program. Not in release builds.
    #[cfg(debug_assertions)]
    Crash {
        /// Which.
        actor: Crashable,
    },
}

/// Actors whose crash costs no connection.
#[cfg(debug_assertions)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crashable {
    /// Who pushes.
    Poller,
    /// Who knows the sessions.
    Router,
    /// Who owns TLS.
    TlsSupervisor,
}

impl Request {
    /// Whether it only looks. Health checks ask so all the time.
    pub const fn only_looks(&self) -> bool {
        match self {
            Self::Status | Self::ListSystems | Self::ListAccounts | Self::ListActions(_) | Self::Explain { .. } => true,
            Self::AddSystem { .. }
            | Self::RemoveSystem { .. }
            | Self::ResetAccount { .. }
            | Self::Schedule(_)
            | Self::Ping { .. } => false,
            #[cfg(debug_assertions)]
            Self::Crash { .. } => false,
        }
    }

    /// Its name, for logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::AddSystem { .. } => "add_system",
            Self::ListSystems => "list_systems",
            Self::RemoveSystem { .. } => "remove_system",
            Self::ListAccounts => "list_accounts",
            Self::ResetAccount { .. } => "reset_account",
            Self::Schedule(_) => "schedule",
            Self::ListActions(_) => "list_actions",
            Self::Ping { .. } => "ping",
            Self::Explain { .. } => "explain",
            #[cfg(debug_assertions)]
            Self::Crash { .. } => "crash",
        }
    }
}

/// An action for one or many systems.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// For whom.
    pub systems: Selection,
    /// When it may run; at once if absent.
    pub at: Option<Time>,
    /// An action that must be completed on the same system before.
    pub after: Option<i64>,
}

/// For whom an action is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// Every system.
    All,
    /// The systems of these names.
    Named(Vec<String>),
}

/// Which actions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionQuery {
    /// Only those of this system.
    pub system: Option<String>,
    /// Only those in these states; empty means all.
    pub states: Vec<ActionState>,
    /// Only these; empty means all.
    pub ids: Vec<i64>,
    /// At most so many.
    pub limit: usize,
}
