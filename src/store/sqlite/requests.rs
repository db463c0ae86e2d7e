//! Reading requests back: for the life cycle, and for people.

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::{OptionalExtension, QueryResult, RunQueryDsl, SqliteConnection};

use super::failure::Failure;
use super::statement::{json_list, statement};
use super::work::work;
use crate::domain::ids::{ActionId, SystemId};
use crate::domain::push::action::SystemWork;
use crate::domain::push::request::PushRecord;
use crate::ports::inventory::{Explanation, RequestTrace};
use crate::store::label;
use crate::store::rows::{
    CoverRow, CoverTypes, Found, OpenRow, OpenTypes, StateRow, StateTypes, TimeTypes, Times, trace,
};

/// Ended requests that an explanation shows.
const HISTORY_MAX: i64 = 20;

/// What is recorded and pending for those of these systems that exist, in this order.
pub(super) fn push_records(
    connection: &mut SqliteConnection,
    systems: &[SystemId],
) -> Result<Vec<(PushRecord, SystemWork)>, Failure> {
    let work = work(connection, systems)?;
    let wanted = json_list(work.iter().map(|work| work.system.0));
    let found = Found {
        states: states(connection, &wanted)?,
        open: open_requests(connection, &wanted)?,
        covers_of_open: covers_of_open(connection, &wanted)?,
        covered: covered(connection, &wanted)?,
    };
    found.records(work).ok_or(Failure::Unreadable)
}

fn states(connection: &mut SqliteConnection, wanted: &str) -> QueryResult<Vec<StateRow>> {
    statement::<StateTypes>(
        "SELECT p.server_id, p.last_number, p.wait_until, p.wait_reason, p.wait_step \
         FROM json_each(?) wanted JOIN osa_push p ON p.server_id = wanted.value",
    )
    .bind(wanted)
    .load::<StateRow>(connection)
}

fn open_requests(connection: &mut SqliteConnection, wanted: &str) -> QueryResult<Vec<OpenRow>> {
    statement::<OpenTypes>(
        "SELECT r.server_id, r.number, r.state, coalesce(r.started_at, r.answered_at, r.sent_at, r.claimed_at), \
           r.run_id, r.run_covers \
         FROM json_each(?) wanted CROSS JOIN osa_request r INDEXED BY osa_request_open_idx \
           ON r.server_id = wanted.value AND r.ended_at IS NULL",
    )
    .bind(wanted)
    .load::<OpenRow>(connection)
}

fn covers_of_open(connection: &mut SqliteConnection, wanted: &str) -> QueryResult<Vec<CoverRow>> {
    statement::<CoverTypes>(
        "SELECT c.server_id, c.number, c.action_id, c.version, c.earliest_action \
         FROM json_each(?) wanted CROSS JOIN osa_request r INDEXED BY osa_request_open_idx \
           ON r.server_id = wanted.value AND r.ended_at IS NULL \
         CROSS JOIN osa_request_action c ON c.server_id = r.server_id AND c.number = r.number",
    )
    .bind(wanted)
    .load::<CoverRow>(connection)
}

/// A refusal is an answer, too: what it was given for is not asked for at once again.
fn covered(connection: &mut SqliteConnection, wanted: &str) -> QueryResult<Vec<CoverRow>> {
    statement::<CoverTypes>(
        "SELECT DISTINCT c.server_id, 0, c.action_id, c.version, c.earliest_action \
         FROM json_each(?) wanted CROSS JOIN rhnServerAction sa INDEXED BY osa_server_action_pending_idx \
           ON sa.server_id = wanted.value AND sa.status < 2 \
         CROSS JOIN osa_request_action c ON c.server_id = sa.server_id AND c.action_id = sa.action_id \
         CROSS JOIN osa_request r ON r.server_id = c.server_id AND r.number = c.number \
         WHERE r.ended_at IS NOT NULL AND r.answered_at IS NOT NULL",
    )
    .bind(wanted)
    .load::<CoverRow>(connection)
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
