//! Rows that mean the same in every database. `None` is what no version of ours writes.

use std::collections::HashMap;

use diesel::sql_types::{BigInt, Binary, Nullable, Text};

use super::label;
use crate::domain::ids::{ActionId, RequestNumber, RunId};
use crate::domain::push::action::{ActionVersion, CoveredAction, SystemWork};
use crate::domain::push::client::RunStart;
use crate::domain::push::request::{OpenRequest, PushRecord, RequestState, Wait};
use crate::domain::time::Timestamp;
use crate::ports::inventory::{ActionStatus, RequestTrace};

/// `osa_push`: system; last number; pause until, reason, step.
pub(super) type StateRow = (i64, i64, Option<i64>, Option<String>, Option<i64>);
pub(super) type StateTypes = (BigInt, BigInt, Nullable<BigInt>, Nullable<Text>, Nullable<BigInt>);
/// `osa_request`: system, number; state, since; run, the number it covers.
pub(super) type OpenRow = (i64, i64, String, i64, Option<Vec<u8>>, Option<i64>);
pub(super) type OpenTypes = (BigInt, BigInt, Text, BigInt, Nullable<Binary>, Nullable<BigInt>);
/// `osa_request_action`: system, number; action, version, earliest.
pub(super) type CoverRow = (i64, i64, i64, i64, i64);
pub(super) type CoverTypes = (BigInt, BigInt, BigInt, BigInt, BigInt);
/// `osa_request`: number; claimed, sent, answered, started, ended.
pub(super) type Times = (i64, i64, Option<i64>, Option<i64>, Option<i64>, Option<i64>);
pub(super) type TimeTypes = (
    BigInt,
    BigInt,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<BigInt>,
);

/// What is recorded of systems, as it was read.
pub(super) struct Found {
    pub(super) states: Vec<StateRow>,
    pub(super) open: Vec<OpenRow>,
    pub(super) covers_of_open: Vec<CoverRow>,
    /// What answered requests have covered of what is still pending. A refusal is an answer, too: what it was given for
    /// is not asked for at once again.
    pub(super) covered: Vec<CoverRow>,
}

impl Found {
    /// The records of the systems that have this work, in its order.
    pub(super) fn records(self, work: Vec<SystemWork>) -> Option<Vec<(PushRecord, SystemWork)>> {
        let states: Option<HashMap<_, _>> = self.states.into_iter().map(state).collect();
        let mut states = states?;
        let mut open = open_requests(self.open, grouped(&self.covers_of_open, |row| (row.0, row.1)))?;
        let mut covered = grouped(&self.covered, |row| row.0);
        let records = work.into_iter().map(|work| {
            let system = work.system.0;
            let (last_number, wait) = states.remove(&system).unwrap_or_default();
            let record = PushRecord {
                last_number,
                open: open.remove(&system).unwrap_or_default(),
                covered: covered.remove(&system).unwrap_or_default(),
                wait,
            };
            (record, work)
        });
        Some(records.collect())
    }
}

fn state((system, last_number, until, reason, step): StateRow) -> Option<(i64, (RequestNumber, Option<Wait>))> {
    let wait = match (until, reason) {
        (Some(until), Some(reason)) => Some(Wait {
            until: Timestamp::from_millis(until),
            reason: label::wait(&reason)?,
            step: u16::try_from(step.unwrap_or_default()).ok()?,
        }),
        (Some(_) | None, _) => None,
    };
    Some((system, (RequestNumber(last_number), wait)))
}

fn open_requests(
    rows: Vec<OpenRow>,
    mut covers: HashMap<(i64, i64), Vec<CoveredAction>>,
) -> Option<HashMap<i64, Vec<OpenRequest>>> {
    let mut open: HashMap<i64, Vec<OpenRequest>> = HashMap::with_capacity(rows.len());
    for (system, number, state, since, run, run_covers) in rows {
        let request = OpenRequest {
            number: RequestNumber(number),
            state: request_state(&state, run, run_covers)?,
            since: Timestamp::from_millis(since),
            covers: covers.remove(&(system, number)).unwrap_or_default(),
        };
        open.entry(system).or_default().push(request);
    }
    for requests in open.values_mut() {
        requests.sort_unstable_by_key(|request| request.number);
    }
    Some(open)
}

fn request_state(state: &str, run: Option<Vec<u8>>, covers: Option<i64>) -> Option<RequestState> {
    match (state, run, covers) {
        ("claimed", _, _) => Some(RequestState::Claimed),
        ("sent", _, _) => Some(RequestState::Sent),
        ("answered", _, _) => Some(RequestState::Answered),
        ("started", Some(run), Some(covers)) => Some(RequestState::Started(RunStart {
            run: RunId(run.try_into().ok()?),
            covers: RequestNumber(covers),
        })),
        _ => None,
    }
}

fn grouped<K: Eq + std::hash::Hash>(rows: &[CoverRow], key: impl Fn(&CoverRow) -> K) -> HashMap<K, Vec<CoveredAction>> {
    let mut groups: HashMap<K, Vec<CoveredAction>> = HashMap::new();
    for row in rows {
        let &(_, _, action, version, earliest) = row;
        groups.entry(key(row)).or_default().push(CoveredAction {
            action: ActionId(action),
            version: ActionVersion {
                row: version,
                earliest: Timestamp::from_millis(earliest),
            },
        });
    }
    groups
}

/// The steps of a request.
pub(super) fn trace((number, claimed, sent, answered, started, ended): Times) -> RequestTrace {
    RequestTrace {
        number: Some(number),
        claimed: Some(Timestamp::from_millis(claimed)),
        sent: sent.map(Timestamp::from_millis),
        answered: answered.map(Timestamp::from_millis),
        started: started.map(Timestamp::from_millis),
        ended: ended.map(Timestamp::from_millis),
    }
}

/// The status as `rhnActionStatus` numbers it; compatibility contract, section 3.2.
pub(super) const fn status_id(status: ActionStatus) -> i64 {
    match status {
        ActionStatus::Queued => 0,
        ActionStatus::PickedUp => 1,
        ActionStatus::Completed => 2,
        ActionStatus::Failed => 3,
    }
}

/// The status with this number.
pub(super) const fn status_of(id: i64) -> Option<ActionStatus> {
    match id {
        0 => Some(ActionStatus::Queued),
        1 => Some(ActionStatus::PickedUp),
        2 => Some(ActionStatus::Completed),
        3 => Some(ActionStatus::Failed),
        _ => None,
    }
}
