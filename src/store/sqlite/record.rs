//! Steps of requests, and what they do to action rows.
//!
//! A step of a request that is not in a state the step starts from changes nothing: steps may come late or twice. No
//! step changes an action's version, and a covered action moves only while its version is the covered one.

use std::collections::HashSet;

use diesel::sql_types::BigInt;
use diesel::{QueryResult, RunQueryDsl, SqliteConnection};

use super::failure::Failure;
use super::schema::{OFFLINE, ONLINE};
use super::statement::{json_list, statement};
use crate::domain::ids::{RequestNumber, SystemId};
use crate::domain::push::action::CoveredAction;
use crate::domain::push::client::{RunEnd, RunReport, RunStart};
use crate::domain::push::request::{Entry, Step, Wait};
use crate::domain::time::Timestamp;
use crate::store::label;

/// The actions of requests ?, ?, ? (JSON list of numbers, system, system) whose version is still the covered one. Several
/// requests may cover one action; a row is changed once all the same.
const COVERED: &str = "FROM (SELECT c.action_id, c.version FROM json_each(?) asked \
       CROSS JOIN osa_request_action c ON c.server_id = ? AND c.number = asked.value \
       CROSS JOIN rhnAction a ON a.id = c.action_id AND a.earliest_action = c.earliest_action) covered \
     WHERE rhnServerAction.server_id = ? AND rhnServerAction.action_id = covered.action_id \
       AND rhnServerAction.version = covered.version AND rhnServerAction.status < 2";

/// The entries less the signs of life that a later one of the same system makes pointless. A client that answers, starts
/// and finishes gives three of them.
pub(super) fn without_repetitions(entries: &[Entry]) -> Vec<Entry> {
    let mut heard = HashSet::new();
    let last_first = entries.iter().rev();
    let mut kept: Vec<Entry> = last_first
        .filter(|entry| entry.step != Step::Heard || heard.insert(entry.system))
        .cloned()
        .collect();
    kept.reverse();
    kept
}

/// Applies one step.
pub(super) fn apply(connection: &mut SqliteConnection, entry: &Entry) -> Result<(), Failure> {
    let (system, at) = (entry.system, entry.at);
    match &entry.step {
        Step::Sent(number) => sent(connection, system, *number, at)?,
        Step::Answered(number) => answered(connection, system, *number, at)?,
        Step::Received(number) => end(connection, system, *number, End::answered("received", None), at)?,
        Step::Refused(number, refusal) => {
            let why = label::of_refusal(*refusal);
            end(connection, system, *number, End::answered("refused", Some(why)), at)?;
        }
        Step::Lost(number, reason) => end(connection, system, *number, End::lost(label::of_loss(*reason)), at)?,
        Step::Started(run) => started(connection, system, *run, at)?,
        Step::Finished(report) => finished(connection, system, report, at)?,
        Step::Delivered(number, covered) => delivered(connection, system, *number, covered, at)?,
        Step::Waiting(wait) => waiting(connection, system, *wait)?,
        Step::AgentAnnounced => announced(connection, system)?,
        Step::Online(online) => set_online(connection, system, *online, at)?,
        Step::Heard => heard(connection, system, at)?,
    }
    Ok(())
}

fn sent(connection: &mut SqliteConnection, system: SystemId, number: RequestNumber, at: Timestamp) -> QueryResult<()> {
    statement::<()>(
        "UPDATE osa_request SET state = 'sent', sent_at = ? \
         WHERE server_id = ? AND number = ? AND state = 'claimed'",
    )
    .bind(at)
    .bind(system)
    .bind(number)
    .execute(connection)?;
    Ok(())
}

fn answered(
    connection: &mut SqliteConnection,
    system: SystemId,
    number: RequestNumber,
    at: Timestamp,
) -> QueryResult<()> {
    let moved = statement::<()>(
        "UPDATE osa_request SET state = 'answered', answered_at = ? \
         WHERE server_id = ? AND number = ? AND state IN ('claimed', 'sent')",
    )
    .bind(at)
    .bind(system)
    .bind(number)
    .execute(connection)?;
    if moved > 0 {
        let picked_up = format!(
            "UPDATE rhnServerAction INDEXED BY osa_server_action_pending_idx \
             SET status = 1, pickup_time = ?, modified = ? {COVERED} \
             AND rhnServerAction.status = 0"
        );
        statement::<()>(picked_up)
            .bind(at)
            .bind(at)
            .bind(json_list([number.0]))
            .bind(system)
            .bind(system)
            .execute(connection)?;
    }
    Ok(())
}

/// How a request ends without a report.
struct End {
    state: &'static str,
    reason: Option<&'static str>,
    answered: bool,
}

impl End {
    const fn answered(state: &'static str, reason: Option<&'static str>) -> Self {
        Self {
            state,
            reason,
            answered: true,
        }
    }

    const fn lost(reason: &'static str) -> Self {
        Self {
            state: "lost",
            reason: Some(reason),
            answered: false,
        }
    }
}

fn end(
    connection: &mut SqliteConnection,
    system: SystemId,
    number: RequestNumber,
    end: End,
    at: Timestamp,
) -> QueryResult<()> {
    statement::<()>(
        "UPDATE osa_request SET state = ?, reason = ?, ended_at = ?, answered_at = ifnull(answered_at, ?) \
         WHERE server_id = ? AND number = ? AND ended_at IS NULL",
    )
    .bind(end.state)
    .bind(end.reason)
    .bind(at)
    .bind(end.answered.then_some(at.as_millis()))
    .bind(system)
    .bind(number)
    .execute(connection)?;
    Ok(())
}

fn started(connection: &mut SqliteConnection, system: SystemId, run: RunStart, at: Timestamp) -> QueryResult<()> {
    statement::<()>(
        "UPDATE osa_request INDEXED BY osa_request_open_idx \
         SET state = 'started', started_at = ?, run_id = ?, run_covers = ? \
         WHERE server_id = ? AND number <= ? AND ended_at IS NULL AND state = 'answered'",
    )
    .bind(at)
    .bind(run.run)
    .bind(run.covers)
    .bind(system)
    .bind(run.covers)
    .execute(connection)?;
    Ok(())
}

fn finished(
    connection: &mut SqliteConnection,
    system: SystemId,
    report: &RunReport,
    at: Timestamp,
) -> Result<(), Failure> {
    if !count_run(connection, system, report, at)? {
        return Ok(());
    }
    let numbers = finish_requests(connection, system, report, at)?;
    if numbers.is_empty() {
        return Ok(());
    }
    let numbers = json_list(numbers);
    match report.end {
        RunEnd::Exited(0) => complete(connection, system, &numbers, at)?,
        RunEnd::Exited(status) => {
            let why = format!("check ended with status {status}");
            take_a_try(connection, system, &numbers, Some(i64::from(status)), &why, at)?;
        }
        RunEnd::Lost => take_a_try(connection, system, &numbers, None, "check was lost", at)?,
    }
    Ok(())
}

/// Stores the run's id; whether it is new. In the same transaction as its effects, so that it counts exactly once.
fn count_run(
    connection: &mut SqliteConnection,
    system: SystemId,
    report: &RunReport,
    at: Timestamp,
) -> QueryResult<bool> {
    let exit_status = match report.end {
        RunEnd::Exited(status) => Some(i64::from(status)),
        RunEnd::Lost => None,
    };
    // Nothing to record for a system that is gone.
    let stored = statement::<()>(
        "INSERT INTO osa_run (server_id, run_id, covers, exit_status, run_time_ms, recorded_at) \
         SELECT p.server_id, ?, ?, ?, ?, ? FROM osa_push p WHERE p.server_id = ? ON CONFLICT DO NOTHING",
    )
    .bind(report.run)
    .bind(report.covers)
    .bind(exit_status)
    .bind(i64::try_from(report.run_time.as_millis()).unwrap_or(i64::MAX))
    .bind(at)
    .bind(system)
    .execute(connection)?;
    Ok(stored > 0)
}

fn finish_requests(
    connection: &mut SqliteConnection,
    system: SystemId,
    report: &RunReport,
    at: Timestamp,
) -> QueryResult<Vec<i64>> {
    let rows = statement::<(BigInt,)>(
        "UPDATE osa_request INDEXED BY osa_request_unreported_idx \
         SET state = 'finished', reason = NULL, ended_at = ?, run_id = ?, run_covers = ? \
         WHERE server_id = ? AND number <= ? \
           AND state <> 'finished' AND state <> 'received' AND state <> 'refused' RETURNING number",
    )
    .bind(at)
    .bind(report.run)
    .bind(report.covers)
    .bind(system)
    .bind(report.covers)
    .load::<(i64,)>(connection)?;
    Ok(rows.into_iter().map(|(number,)| number).collect())
}

fn complete(connection: &mut SqliteConnection, system: SystemId, numbers: &str, at: Timestamp) -> QueryResult<()> {
    let completed = format!(
        "UPDATE rhnServerAction INDEXED BY osa_server_action_pending_idx \
         SET status = 2, completion_time = ?, pickup_time = ifnull(pickup_time, ?), result_code = 0, \
           result_msg = 'check ended with status 0', modified = ? {COVERED}"
    );
    statement::<()>(completed)
        .bind(at)
        .bind(at)
        .bind(at)
        .bind(numbers)
        .bind(system)
        .bind(system)
        .execute(connection)?;
    Ok(())
}

fn take_a_try(
    connection: &mut SqliteConnection,
    system: SystemId,
    numbers: &str,
    code: Option<i64>,
    why: &str,
    at: Timestamp,
) -> QueryResult<()> {
    let tried = format!(
        "UPDATE rhnServerAction INDEXED BY osa_server_action_pending_idx \
         SET remaining_tries = max(remaining_tries - 1, 0), result_code = ?, result_msg = ?, \
           status = CASE WHEN remaining_tries > 1 THEN status ELSE 3 END, \
           completion_time = CASE WHEN remaining_tries > 1 THEN completion_time ELSE ? END, modified = ? {COVERED} \
         RETURNING action_id, status"
    );
    let rows = statement::<(BigInt, BigInt)>(tried)
        .bind(code)
        .bind(why)
        .bind(at)
        .bind(at)
        .bind(numbers)
        .bind(system)
        .bind(system)
        .load::<(i64, i64)>(connection)?;
    let failed: Vec<i64> = rows.into_iter().filter(|row| row.1 == 3).map(|row| row.0).collect();
    if failed.is_empty() {
        return Ok(());
    }
    fail_dependents(connection, system, failed, at)
}

/// Fails what waits, directly or through others, for one of these failed actions on the same system.
pub(super) fn fail_dependents(
    connection: &mut SqliteConnection,
    system: SystemId,
    failed: impl IntoIterator<Item = i64>,
    at: Timestamp,
) -> QueryResult<()> {
    statement::<()>(
        "WITH RECURSIVE failed (id) AS (SELECT value FROM json_each(?) UNION \
           SELECT sa.action_id FROM failed CROSS JOIN rhnAction a ON a.prerequisite = failed.id \
           CROSS JOIN rhnServerAction sa ON sa.server_id = ? AND sa.action_id = a.id AND sa.status < 2) \
         UPDATE rhnServerAction SET status = 3, completion_time = ?, modified = ?, result_msg = 'prerequisite failed' \
         WHERE server_id = ? AND status < 2 AND action_id IN (SELECT id FROM failed)",
    )
    .bind(json_list(failed))
    .bind(system)
    .bind(at)
    .bind(at)
    .bind(system)
    .execute(connection)?;
    Ok(())
}

fn delivered(
    connection: &mut SqliteConnection,
    system: SystemId,
    number: RequestNumber,
    covered: &[CoveredAction],
    at: Timestamp,
) -> QueryResult<()> {
    statement::<()>(
        "UPDATE osa_request SET state = 'finished', \
           answered_at = ifnull(answered_at, ?), ended_at = ifnull(ended_at, ?) \
         WHERE server_id = ? AND number = ? AND state NOT IN ('finished', 'refused', 'lost')",
    )
    .bind(at)
    .bind(at)
    .bind(system)
    .bind(number)
    .execute(connection)?;
    for action in covered {
        statement::<()>(
            "UPDATE rhnServerAction SET status = 2, completion_time = ?, pickup_time = ifnull(pickup_time, ?), \
               result_msg = 'delivered, result unknown', modified = ? \
             WHERE server_id = ? AND action_id = ? AND version = ? AND status < 2 \
               AND (SELECT earliest_action FROM rhnAction WHERE id = action_id) = ?",
        )
        .bind(at)
        .bind(at)
        .bind(at)
        .bind(system)
        .bind(action.action)
        .bind(action.version.row)
        .bind(action.version.earliest)
        .execute(connection)?;
    }
    Ok(())
}

fn waiting(connection: &mut SqliteConnection, system: SystemId, wait: Option<Wait>) -> QueryResult<()> {
    statement::<()>("UPDATE osa_push SET wait_until = ?, wait_reason = ?, wait_step = ? WHERE server_id = ?")
        .bind(wait.map(|wait| wait.until.as_millis()))
        .bind(wait.map(|wait| label::of_wait(wait.reason)))
        .bind(wait.map(|wait| i64::from(wait.step)))
        .bind(system)
        .execute(connection)?;
    Ok(())
}

fn announced(connection: &mut SqliteConnection, system: SystemId) -> QueryResult<()> {
    statement::<()>(
        "UPDATE osa_push SET announced_name = \
           (SELECT c.name FROM rhnPushClient c WHERE c.server_id = osa_push.server_id) \
         WHERE server_id = ?",
    )
    .bind(system)
    .execute(connection)?;
    Ok(())
}

fn set_online(connection: &mut SqliteConnection, system: SystemId, online: bool, at: Timestamp) -> QueryResult<()> {
    statement::<()>(
        "UPDATE rhnPushClient SET state_id = ?, last_ping_time = NULL, next_action_time = NULL, modified = ? \
         WHERE server_id = ?",
    )
    .bind(if online { ONLINE } else { OFFLINE })
    .bind(at)
    .bind(system)
    .execute(connection)?;
    Ok(())
}

fn heard(connection: &mut SqliteConnection, system: SystemId, at: Timestamp) -> QueryResult<()> {
    statement::<()>(
        "UPDATE rhnPushClient SET last_message_time = ?, last_ping_time = NULL, next_action_time = NULL, modified = ? \
         WHERE server_id = ?",
    )
    .bind(at)
    .bind(at)
    .bind(system)
    .execute(connection)?;
    Ok(())
}
