//! The rows of the database in memory, and how requests move through their states.

use std::collections::BTreeMap;

use osa::domain::ids::{ActionId, RequestNumber, SystemId};
use osa::domain::push::action::{ActionKind, ActionVersion, CoveredAction};
use osa::domain::push::request::RequestState;
use osa::domain::time::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Queued,
    PickedUp(Timestamp),
    Completed,
    Failed,
    Cancelled,
}

#[derive(Clone, Debug)]
pub struct Action {
    pub system: SystemId,
    pub row: i64,
    pub earliest: Timestamp,
    pub kind: ActionKind,
    pub status: Status,
    pub tries: u32,
    /// When the present version became visible.
    pub committed: Timestamp,
    pub prerequisite: Option<ActionId>,
}

impl Action {
    pub fn version(&self) -> ActionVersion {
        ActionVersion {
            row: self.row,
            earliest: self.earliest,
        }
    }

    pub fn is_pending(&self) -> bool {
        matches!(self.status, Status::Queued | Status::PickedUp(_))
    }
}

#[derive(Clone, Debug)]
pub struct Request {
    pub state: Option<RequestState>,
    pub ended_by_loss: bool,
    pub claimed: Timestamp,
    pub since: Timestamp,
    pub lease_until: Timestamp,
    pub covers: Vec<CoveredAction>,
}

#[derive(Debug, Default)]
pub struct SystemRow {
    pub key: u64,
    pub announced: bool,
    pub online: bool,
    pub last_number: RequestNumber,
    pub requests: BTreeMap<RequestNumber, Request>,
    pub last_change: Option<Timestamp>,
    pub gone: bool,
}

impl SystemRow {
    pub(super) fn advance(&mut self, number: RequestNumber, state: RequestState, at: Timestamp) {
        if let Some(request) = self.requests.get_mut(&number).filter(|request| request.state.is_some()) {
            request.state = Some(state);
            request.since = at;
        }
    }

    pub(super) fn end(&mut self, number: RequestNumber, at: Timestamp) {
        if let Some(request) = self.requests.get_mut(&number) {
            request.state = None;
            request.since = at;
        }
    }

    pub(super) fn lose(&mut self, number: RequestNumber, at: Timestamp) {
        if let Some(request) = self.requests.get_mut(&number) {
            request.lose(at);
        }
    }
}

impl Request {
    pub(super) fn lose(&mut self, at: Timestamp) {
        if self.state.is_some() {
            self.state = None;
            self.ended_by_loss = true;
            self.since = at;
        }
    }
}
