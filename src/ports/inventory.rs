//! Systems and actions of a standalone deployment, as its administrator handles them.

use std::time::Instant;

use async_trait::async_trait;

use crate::domain::ids::{ActionId, SystemId};
use crate::domain::push::request::{OpenRequest, Wait};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::ports::store::StoreError;

/// A system, for lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemRow {
    /// `rhnServer.id`.
    pub id: SystemId,
    /// `rhnServer.name`.
    pub name: String,
    /// The JID its agent registered, if any did.
    pub jid: Option<String>,
    /// The name of another system, whose client has signed over connections of this JID: it is that one's.
    pub jid_owner: Option<String>,
    /// `rhnPushClient.state_id` is online.
    pub online: bool,
    /// When its client last sent a validly signed stanza.
    pub last_message: Option<Timestamp>,
    /// How many actions are pending.
    pub pending: i64,
}

/// `rhnServerAction.status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActionStatus {
    /// 0
    Queued,
    /// 1
    PickedUp,
    /// 2
    Completed,
    /// 3
    Failed,
}

/// An action of one system, for lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionRow {
    /// `rhnAction.id`.
    pub id: ActionId,
    /// The system.
    pub system: SystemId,
    /// The system's name.
    pub system_name: String,
    /// `rhnAction.name`.
    pub name: String,
    /// Its status.
    pub status: ActionStatus,
    /// When it was scheduled.
    pub created: Timestamp,
    /// When it may run.
    pub earliest: Timestamp,
    /// When it was picked up.
    pub picked_up: Option<Timestamp>,
    /// When it was completed or failed.
    pub completed: Option<Timestamp>,
    /// Tries left.
    pub remaining_tries: i64,
    /// The result in words.
    pub result: Option<String>,
    /// Times of the request that ended it, or else of the last that covered it.
    pub trace: RequestTrace,
}

/// When a request went through its states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestTrace {
    /// Its number.
    pub number: Option<i64>,
    /// Claimed.
    pub claimed: Option<Timestamp>,
    /// Sent.
    pub sent: Option<Timestamp>,
    /// Answered.
    pub answered: Option<Timestamp>,
    /// Run started.
    pub started: Option<Timestamp>,
    /// Ended.
    pub ended: Option<Timestamp>,
}

/// What an administrator schedules: one action for one or many systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAction {
    /// `rhnAction.name`.
    pub name: String,
    /// The systems it is for.
    pub systems: Vec<SystemId>,
    /// When it may run.
    pub earliest: Timestamp,
    /// An action that must be completed on the same system first.
    pub prerequisite: Option<ActionId>,
}

/// Which actions to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActionFilter {
    /// Only of this system.
    pub system: Option<SystemId>,
    /// Only these statuses; empty means all.
    pub statuses: Vec<ActionStatus>,
    /// Only these actions; empty means all.
    pub ids: Vec<ActionId>,
    /// At most so many, newest first.
    pub limit: usize,
}

/// Why a system is not being pushed, or when it will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Requests that have not ended, oldest first.
    pub open: Vec<OpenRequest>,
    /// The pause in force.
    pub wait: Option<Wait>,
    /// The last requests, open ones included, newest first, with what became of them in words.
    pub history: Vec<(RequestTrace, String)>,
}

/// Use cases of the command line.
#[async_trait]
pub trait Inventory: Send + Sync + 'static {
    /// Makes a system; its id.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if the name is taken.
    async fn add_system(&self, name: &str, secret: &Secret, now: Timestamp) -> Result<SystemId, StoreError>;

    /// The system of this name.
    async fn system_by_name(&self, name: &str) -> Result<Option<SystemRow>, StoreError>;

    /// All systems, by name.
    async fn systems(&self) -> Result<Vec<SystemRow>, StoreError>;

    /// Removes a system with its actions, registration and requests; whether there was one.
    async fn remove_system(&self, system: SystemId) -> Result<bool, StoreError>;

    /// Schedules an action.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if a system or the prerequisite does not exist, or no system is named; nothing is
    /// scheduled then. Behind a prerequisite that has failed, the action fails at once.
    async fn schedule(&self, action: &NewAction, now: Timestamp) -> Result<ActionId, StoreError>;

    /// The same, and when it was committed, as nearly as the database can say: from then on others see it.
    ///
    /// # Errors
    /// As there.
    async fn schedule_timed(&self, action: &NewAction, now: Timestamp) -> Result<(ActionId, Instant), StoreError> {
        let id = self.schedule(action, now).await?;
        Ok((id, Instant::now()))
    }

    /// Queues a failed or completed action again under its id, at a new version; whether it was one. `earliest` is a
    /// column of the action, not of its system: it holds for every system that has the action pending.
    async fn reschedule(&self, action: ActionId, system: SystemId, earliest: Timestamp) -> Result<bool, StoreError>;

    /// Takes a pending action, and what waits for it, from a system; whether it was pending.
    async fn cancel(&self, action: ActionId, system: SystemId) -> Result<bool, StoreError>;

    /// Lists actions, newest first.
    async fn actions(&self, filter: &ActionFilter) -> Result<Vec<ActionRow>, StoreError>;

    /// What the records say about a system's requests.
    async fn explain(&self, system: SystemId) -> Result<Explanation, StoreError>;
}
