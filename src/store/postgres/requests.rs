//! Reading requests back: for the life cycle, and for people.

use std::collections::HashMap;

use diesel::OptionalExtension;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::catalog::Catalog;
use super::claim::LAST_NUMBER;
use super::failure::Failure;
use super::statement::statement;
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
pub(super) async fn push_records(
    connection: &mut AsyncPgConnection,
    catalog: &Catalog,
    systems: &[SystemId],
) -> Result<Vec<(PushRecord, SystemWork)>, Failure> {
    let work = work(connection, catalog, systems).await?;
    let wanted: Vec<i64> = work.iter().map(|work| work.system.0).collect();
    let mut states = states(connection, &wanted).await?;
    let mut open = open_requests(connection, &wanted).await?;
    let mut covered = covered(connection, &work).await?;
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

async fn states(connection: &mut AsyncPgConnection, wanted: &[i64]) -> Result<HashMap<i64, State>, Failure> {
    let rows: Vec<StateRow> = statement::<StateTypes>(format!(
        "SELECT p.server_id, {LAST_NUMBER}, p.wait_until, p.wait_reason, p.wait_step FROM osa_push p \
         WHERE p.server_id = ANY(?)"
    ))
    .bind(wanted.to_vec())
    .load(connection)
    .await?;
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

async fn open_requests(
    connection: &mut AsyncPgConnection,
    wanted: &[i64],
) -> Result<HashMap<i64, Vec<OpenRequest>>, Failure> {
    let rows: Vec<OpenRow> = statement::<OpenTypes>(
        "SELECT r.server_id, r.number, r.state, coalesce(r.started_at, r.answered_at, r.sent_at, r.claimed_at), \
           r.run_id, r.run_covers \
         FROM osa_request r WHERE r.server_id = ANY(?) AND r.ended_at IS NULL ORDER BY r.server_id, r.number",
    )
    .bind(wanted.to_vec())
    .load(connection)
    .await?;
    let mut covers = covers_of_open(connection, wanted).await?;
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

async fn covers_of_open(
    connection: &mut AsyncPgConnection,
    wanted: &[i64],
) -> Result<HashMap<(i64, i64), Vec<CoveredAction>>, Failure> {
    let rows: Vec<CoverRow> = statement::<CoverTypes>(
        "SELECT c.server_id, c.number, c.action_id, c.version, c.earliest_action \
         FROM osa_request r JOIN osa_request_action c ON c.server_id = r.server_id AND c.number = r.number \
         WHERE r.server_id = ANY(?) AND r.ended_at IS NULL",
    )
    .bind(wanted.to_vec())
    .load(connection)
    .await?;
    let mut covers: HashMap<(i64, i64), Vec<CoveredAction>> = HashMap::new();
    for row in rows {
        covers.entry((row.0, row.1)).or_default().push(covered_action(&row));
    }
    Ok(covers)
}

/// What answered requests have covered of what is still pending. A refusal is an answer, too: what it was given for is
/// not asked for at once again.
async fn covered(
    connection: &mut AsyncPgConnection,
    work: &[SystemWork],
) -> Result<HashMap<i64, Vec<CoveredAction>>, Failure> {
    let pending = || {
        work.iter()
            .flat_map(|work| work.actions.iter().map(|action| (work.system, action.id)))
    };
    if pending().next().is_none() {
        return Ok(HashMap::new());
    }
    let rows: Vec<CoverRow> = statement::<CoverTypes>(
        "SELECT DISTINCT c.server_id, 0::bigint, c.action_id, c.version, c.earliest_action \
         FROM (SELECT unnest(?) AS server_id, unnest(?) AS action_id) v \
         JOIN osa_request_action c ON c.server_id = v.server_id AND c.action_id = v.action_id \
         JOIN osa_request r ON r.server_id = c.server_id AND r.number = c.number \
         WHERE r.ended_at IS NOT NULL AND r.answered_at IS NOT NULL",
    )
    .bind(pending().map(|(system, _)| system.0).collect::<Vec<_>>())
    .bind(pending().map(|(_, action)| action.0).collect::<Vec<_>>())
    .load(connection)
    .await?;
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

type Times = (i64, i64, Option<i64>, Option<i64>, Option<i64>, Option<i64>);
type TimeTypes = (
    BigInt,
    BigInt,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<BigInt>,
);

fn trace((number, claimed, sent, answered, started, ended): Times) -> RequestTrace {
    RequestTrace {
        number: Some(number),
        claimed: Some(Timestamp::from_millis(claimed)),
        sent: sent.map(Timestamp::from_millis),
        answered: answered.map(Timestamp::from_millis),
        started: started.map(Timestamp::from_millis),
        ended: ended.map(Timestamp::from_millis),
    }
}

/// The last request that covered an action.
pub(super) async fn last_trace(
    connection: &mut AsyncPgConnection,
    system: SystemId,
    action: ActionId,
) -> Result<RequestTrace, Failure> {
    let times = statement::<TimeTypes>(
        "SELECT r.number, r.claimed_at, r.sent_at, r.answered_at, r.started_at, r.ended_at \
         FROM osa_request_action c JOIN osa_request r ON r.server_id = c.server_id AND r.number = c.number \
         WHERE c.server_id = ? AND c.action_id = ? ORDER BY c.number DESC LIMIT 1",
    )
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
