//! Reading requests back: for the life cycle, and for people.

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::{OptionalExtension, QueryResult};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::catalog::Catalog;
use super::claim::LAST_NUMBER;
use super::failure::Failure;
use super::statement::statement;
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
pub(super) async fn push_records(
    connection: &mut AsyncPgConnection,
    catalog: &Catalog,
    systems: &[SystemId],
) -> Result<Vec<(PushRecord, SystemWork)>, Failure> {
    let work = work(connection, catalog, systems).await?;
    let wanted: Vec<i64> = work.iter().map(|work| work.system.0).collect();
    let found = Found {
        states: states(connection, &wanted).await?,
        open: open_requests(connection, &wanted).await?,
        covers_of_open: covers_of_open(connection, &wanted).await?,
        covered: covered(connection, &work).await?,
    };
    found.records(work).ok_or(Failure::Unreadable)
}

async fn states(connection: &mut AsyncPgConnection, wanted: &[i64]) -> QueryResult<Vec<StateRow>> {
    statement::<StateTypes>(format!(
        "SELECT v.id, {LAST_NUMBER}, p.wait_until, p.wait_reason, p.wait_step \
         FROM (SELECT unnest(?) AS id) v LEFT JOIN osa_push p ON p.server_id = v.id"
    ))
    .bind(wanted.to_vec())
    .load(connection)
    .await
}

async fn open_requests(connection: &mut AsyncPgConnection, wanted: &[i64]) -> QueryResult<Vec<OpenRow>> {
    statement::<OpenTypes>(
        "SELECT r.server_id, r.number, r.state, coalesce(r.started_at, r.answered_at, r.sent_at, r.claimed_at), \
           r.run_id, r.run_covers \
         FROM osa_request r WHERE r.server_id = ANY(?) AND r.ended_at IS NULL",
    )
    .bind(wanted.to_vec())
    .load(connection)
    .await
}

async fn covers_of_open(connection: &mut AsyncPgConnection, wanted: &[i64]) -> QueryResult<Vec<CoverRow>> {
    statement::<CoverTypes>(
        "SELECT c.server_id, c.number, c.action_id, c.version, c.earliest_action \
         FROM osa_request r JOIN osa_request_action c ON c.server_id = r.server_id AND c.number = r.number \
         WHERE r.server_id = ANY(?) AND r.ended_at IS NULL",
    )
    .bind(wanted.to_vec())
    .load(connection)
    .await
}

/// What answered requests have covered of what is still pending. A refusal is an answer, too: what it was given for is
/// not asked for at once again.
async fn covered(connection: &mut AsyncPgConnection, work: &[SystemWork]) -> QueryResult<Vec<CoverRow>> {
    let pending = || {
        work.iter()
            .flat_map(|work| work.actions.iter().map(|action| (work.system, action.id)))
    };
    if pending().next().is_none() {
        return Ok(Vec::new());
    }
    statement::<CoverTypes>(
        "SELECT DISTINCT c.server_id, 0::bigint, c.action_id, c.version, c.earliest_action \
         FROM (SELECT unnest(?) AS server_id, unnest(?) AS action_id) v \
         JOIN osa_request_action c ON c.server_id = v.server_id AND c.action_id = v.action_id \
         JOIN osa_request r ON r.server_id = c.server_id AND r.number = c.number \
         WHERE r.ended_at IS NOT NULL AND r.answered_at IS NOT NULL",
    )
    .bind(pending().map(|(system, _)| system.0).collect::<Vec<_>>())
    .bind(pending().map(|(_, action)| action.0).collect::<Vec<_>>())
    .load(connection)
    .await
}

/// What the records say about one system.
pub(super) async fn explain(
    connection: &mut AsyncPgConnection,
    catalog: &Catalog,
    system: SystemId,
) -> Result<Explanation, Failure> {
    let record = push_records(connection, catalog, &[system]).await?.pop();
    let (record, _) = record.ok_or_else(|| Failure::not_found(format!("system {system}")))?;
    Ok(Explanation {
        open: record.open,
        wait: record.wait,
        history: history(connection, system).await?,
    })
}

/// The request that ended an action, or else the last that covered it.
///
/// The Satellite says when it ended, and an agent reports the end of its check after that: so it was the first run to
/// end from then on, or the one under way. Nothing claimed later had to do with it. What was sent again while the
/// report of an earlier run was on its way ends later. Existing agents report nothing: there it is the last request
/// before the end.
pub(super) async fn last_trace(
    connection: &mut AsyncPgConnection,
    system: SystemId,
    action: ActionId,
    ended: Option<i64>,
) -> Result<RequestTrace, Failure> {
    let times = statement::<TimeTypes>(
        "SELECT r.number, r.claimed_at, r.sent_at, r.answered_at, r.started_at, r.ended_at \
         FROM osa_request_action c JOIN osa_request r ON r.server_id = c.server_id AND r.number = c.number \
         CROSS JOIN (SELECT ? AS ended) action \
         WHERE c.server_id = ? AND c.action_id = ? \
         ORDER BY CASE WHEN r.claimed_at > action.ended THEN 3 \
             WHEN r.state = 'finished' AND r.ended_at >= action.ended THEN 0 \
             WHEN r.state = 'started' AND r.started_at <= action.ended THEN 1 ELSE 2 END, \
           CASE WHEN r.state = 'finished' AND r.ended_at >= action.ended THEN r.ended_at END, \
           c.number DESC LIMIT 1",
    )
    .bind(ended)
    .bind(system)
    .bind(action)
    .get_result::<Times>(connection)
    .await
    .optional()?;
    Ok(times.map(trace).unwrap_or_default())
}

type HistoryRow = (Times, (String, Option<String>, Option<i64>, Option<i64>));
type HistoryTypes = (TimeTypes, (Text, Nullable<Text>, Nullable<BigInt>, Nullable<BigInt>));

async fn history(connection: &mut AsyncPgConnection, system: SystemId) -> Result<Vec<(RequestTrace, String)>, Failure> {
    let rows: Vec<HistoryRow> = statement::<HistoryTypes>(
        "SELECT r.number, r.claimed_at, r.sent_at, r.answered_at, r.started_at, r.ended_at, r.state, r.reason, \
           run.exit_status, run.run_time_ms \
         FROM osa_request r LEFT JOIN osa_run run ON run.server_id = r.server_id AND run.run_id = r.run_id \
         WHERE r.server_id = ? ORDER BY r.number DESC LIMIT ?",
    )
    .bind(system)
    .bind(HISTORY_MAX)
    .load(connection)
    .await?;
    let told = rows.into_iter().map(|(times, (state, reason, exit_status, run_time))| {
        let words = label::in_words(&state, reason.as_deref(), exit_status, run_time);
        (trace(times), words)
    });
    Ok(told.collect())
}
