//! Reading requests back: for the life cycle, and for people.

use std::collections::HashMap;

use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::{OptionalExtension, QueryResult, RunQueryDsl, SqliteConnection};

use super::failure::Failure;
use super::statement::{json_list, statement};
use super::work::work;
use crate::domain::ids::{ActionId, RequestNumber, RunId, SystemId};
use crate::domain::push::action::{ActionVersion, CoveredAction, SystemWork};
use crate::domain::push::client::RunStart;
use crate::domain::push::request::{OpenRequest, PushRecord, RequestState, Wait};
use crate::domain::time::Timestamp;
use crate::ports::inventory::{Explanation, RequestTrace};
use crate::store::label;

/// Ended requests that an explanation shows.
const HISTORY_MAX: i64 = 20;

/// What is recorded and pending for those of these systems that exist, in this order.
pub(super) fn push_records(
    connection: &mut SqliteConnection,
    systems: &[SystemId],
) -> Result<Vec<(PushRecord, SystemWork)>, Failure> {
    let work = work(connection, systems)?;
    let wanted = json_list(work.iter().map(|work| work.system.0));
    let mut states = states(connection, &wanted)?;
    let mut open = open_requests(connection, &wanted)?;
    let mut covered = covered(connection, &wanted)?;
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
    Ok(records.collect())
}

type State = (RequestNumber, Option<Wait>);
type StateRow = (i64, i64, Option<i64>, Option<String>, Option<i64>);
type StateTypes = (BigInt, BigInt, Nullable<BigInt>, Nullable<Text>, Nullable<BigInt>);

fn states(connection: &mut SqliteConnection, wanted: &str) -> Result<HashMap<i64, State>, Failure> {
    let rows = statement::<StateTypes>(
        "SELECT p.server_id, p.last_number, p.wait_until, p.wait_reason, p.wait_step \
         FROM json_each(?) wanted JOIN osa_push p ON p.server_id = wanted.value",
    )
    .bind(wanted)
    .load::<StateRow>(connection)?;
    rows.into_iter()
        .map(|(system, last_number, until, reason, step)| {
            let wait = match (until, reason) {
                (Some(until), Some(reason)) => Some(Wait {
                    until: Timestamp::from_millis(until),
                    reason: label::wait(&reason).ok_or(Failure::Unreadable)?,
                    step: u16::try_from(step.unwrap_or_default()).map_err(|_| Failure::Unreadable)?,
                }),
                (Some(_) | None, _) => None,
            };
            Ok((system, (RequestNumber(last_number), wait)))
        })
        .collect()
}

type OpenRow = (i64, i64, String, i64, Option<Vec<u8>>, Option<i64>);
type OpenTypes = (BigInt, BigInt, Text, BigInt, Nullable<Binary>, Nullable<BigInt>);

fn open_requests(connection: &mut SqliteConnection, wanted: &str) -> Result<HashMap<i64, Vec<OpenRequest>>, Failure> {
    let rows = statement::<OpenTypes>(
        "SELECT r.server_id, r.number, r.state, coalesce(r.started_at, r.answered_at, r.sent_at, r.claimed_at), \
           r.run_id, r.run_covers \
         FROM json_each(?) wanted CROSS JOIN osa_request r INDEXED BY osa_request_open_idx \
           ON r.server_id = wanted.value AND r.ended_at IS NULL",
    )
    .bind(wanted)
    .load::<OpenRow>(connection)?;
    let mut covers = covers_of_open(connection, wanted)?;
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
    Ok(open)
}

fn request_state(state: &str, run: Option<Vec<u8>>, covers: Option<i64>) -> Result<RequestState, Failure> {
    match (state, run, covers) {
        ("claimed", _, _) => Ok(RequestState::Claimed),
        ("sent", _, _) => Ok(RequestState::Sent),
        ("answered", _, _) => Ok(RequestState::Answered),
        ("started", Some(run), Some(covers)) => Ok(RequestState::Started(RunStart {
            run: RunId(run.try_into().map_err(|_| Failure::Unreadable)?),
            covers: RequestNumber(covers),
        })),
        _ => Err(Failure::Unreadable),
    }
}

type CoverTypes = (BigInt, BigInt, BigInt, BigInt, BigInt);
type CoverRow = (i64, i64, i64, i64, i64);

fn covers_of_open(
    connection: &mut SqliteConnection,
    wanted: &str,
) -> QueryResult<HashMap<(i64, i64), Vec<CoveredAction>>> {
    let rows = statement::<CoverTypes>(
        "SELECT c.server_id, c.number, c.action_id, c.version, c.earliest_action \
         FROM json_each(?) wanted CROSS JOIN osa_request r INDEXED BY osa_request_open_idx \
           ON r.server_id = wanted.value AND r.ended_at IS NULL \
         CROSS JOIN osa_request_action c ON c.server_id = r.server_id AND c.number = r.number",
    )
    .bind(wanted)
    .load::<CoverRow>(connection)?;
    let mut covers: HashMap<(i64, i64), Vec<CoveredAction>> = HashMap::new();
    for row in rows {
        covers.entry((row.0, row.1)).or_default().push(covered_action(&row));
    }
    Ok(covers)
}

/// A refusal is an answer, too: what it was given for is not asked for at once again.
fn covered(connection: &mut SqliteConnection, wanted: &str) -> QueryResult<HashMap<i64, Vec<CoveredAction>>> {
    let rows = statement::<CoverTypes>(
        "SELECT DISTINCT c.server_id, 0, c.action_id, c.version, c.earliest_action \
         FROM json_each(?) wanted CROSS JOIN rhnServerAction sa INDEXED BY osa_server_action_pending_idx \
           ON sa.server_id = wanted.value AND sa.status < 2 \
         CROSS JOIN osa_request_action c ON c.server_id = sa.server_id AND c.action_id = sa.action_id \
         CROSS JOIN osa_request r ON r.server_id = c.server_id AND r.number = c.number \
         WHERE r.ended_at IS NOT NULL AND r.answered_at IS NOT NULL",
    )
    .bind(wanted)
    .load::<CoverRow>(connection)?;
    let mut covered: HashMap<i64, Vec<CoveredAction>> = HashMap::new();
    for row in rows {
        covered.entry(row.0).or_default().push(covered_action(&row));
    }
    Ok(covered)
}

fn covered_action(&(_, _, action, row, earliest): &CoverRow) -> CoveredAction {
    CoveredAction {
        action: ActionId(action),
        version: ActionVersion {
            row,
            earliest: Timestamp::from_millis(earliest),
        },
    }
}

/// What the records say about one system.
pub(super) fn explain(connection: &mut SqliteConnection, system: SystemId) -> Result<Explanation, Failure> {
    let record = push_records(connection, &[system])?.pop().map(|(record, _)| record);
    let record = record.ok_or_else(|| Failure::not_found(format!("system {system}")))?;
    Ok(Explanation {
        open: record.open,
        wait: record.wait,
        history: history(connection, system)?,
    })
}

pub(super) type Times = (i64, i64, Option<i64>, Option<i64>, Option<i64>, Option<i64>);
type TimeTypes = (
    BigInt,
    BigInt,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<BigInt>,
);

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

/// The request that ended an action, or else the last that covered it: the one that ended with it comes first. What was sent
/// again while the report of an earlier run was on its way ends later.
pub(super) fn last_trace(
    connection: &mut SqliteConnection,
    system: SystemId,
    action: ActionId,
    ended: Option<i64>,
) -> QueryResult<RequestTrace> {
    let times = statement::<TimeTypes>(
        "SELECT r.number, r.claimed_at, r.sent_at, r.answered_at, r.started_at, r.ended_at \
         FROM osa_request_action c JOIN osa_request r ON r.server_id = c.server_id AND r.number = c.number \
         WHERE c.server_id = ? AND c.action_id = ? \
         ORDER BY ifnull(r.ended_at = ?, 0) DESC, c.number DESC LIMIT 1",
    )
    .bind(system)
    .bind(action)
    .bind(ended)
    .get_result::<Times>(connection)
    .optional()?;
    Ok(times.map(trace).unwrap_or_default())
}

type HistoryRow = (Times, String, Option<String>, Option<i64>, Option<i64>);
type HistoryTypes = (TimeTypes, Text, Nullable<Text>, Nullable<BigInt>, Nullable<BigInt>);

fn history(connection: &mut SqliteConnection, system: SystemId) -> QueryResult<Vec<(RequestTrace, String)>> {
    let rows = statement::<HistoryTypes>(
        "SELECT r.number, r.claimed_at, r.sent_at, r.answered_at, r.started_at, r.ended_at, r.state, r.reason, \
           run.exit_status, run.run_time_ms \
         FROM osa_request r LEFT JOIN osa_run run ON run.server_id = r.server_id AND run.run_id = r.run_id \
         WHERE r.server_id = ? ORDER BY r.number DESC LIMIT ?",
    )
    .bind(system)
    .bind(HISTORY_MAX)
    .load::<HistoryRow>(connection)?;
    let told = rows.into_iter().map(|(times, state, reason, exit_status, run_time)| {
        let words = label::in_words(&state, reason.as_deref(), exit_status, run_time);
        (trace(times), words)
    });
    Ok(told.collect())
}
