//! Actions as the database shows them.

use crate::domain::ids::{ActionId, SystemId};
use crate::domain::time::Timestamp;

/// What of an action's row can change under the same id; compared for equality only, never by order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ActionVersion {
    /// SQLite: the row's version column. PostgreSQL: `xmin`.
    pub row: i64,
    /// `rhnAction.earliest_action`.
    pub earliest: Timestamp,
}

/// An action at one version: what a request covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CoveredAction {
    /// The action.
    pub action: ActionId,
    /// The version that was due when the request was claimed.
    pub version: ActionVersion,
}

/// How far a pending action has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Status 0.
    Queued,
    /// Status 1, since the given time.
    PickedUp(Timestamp),
}

/// What the life cycle must know about an action's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionKind {
    /// `reboot.reboot`: while it is picked up, hardly any request is sent.
    Reboot,
    /// Every other type.
    Ordinary,
}

/// A row of `rhnServerAction` in status 0 or 1 that nothing but time keeps from being due: its prerequisite is
/// absent, not assigned to this system, or completed; the system is not locked against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingAction {
    /// The action.
    pub id: ActionId,
    /// Its present version; `version.earliest` is the time before which it is not due.
    pub version: ActionVersion,
    /// Queued or picked up.
    pub progress: Progress,
    /// Reboot or not.
    pub kind: ActionKind,
}

/// Everything pending for one system, read in one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemWork {
    /// The system.
    pub system: SystemId,
    /// Its pending actions, ordered by `earliest_action`, then id.
    pub actions: Vec<PendingAction>,
    /// When an action of the system was last picked up, completed or failed.
    pub last_change: Option<Timestamp>,
}
