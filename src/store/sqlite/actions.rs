//! Scheduling, rescheduling, cancelling and listing actions.

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::{ExpressionMethods, QueryResult, RunQueryDsl, SqliteConnection};

use super::failure::Failure;
use super::record::fail_dependents;
use super::requests::last_trace;
use super::schema::{SCRIPT_RUN, rhn_action};
use super::statement::{json_list, statement};
use crate::domain::ids::{ActionId, SystemId};
use crate::domain::time::Timestamp;
use crate::ports::inventory::{ActionFilter, ActionRow, NewAction};
use crate::store::rows::{status_id, status_of};

/// Schedules an action for all its systems or for none.
pub(super) fn schedule(
    connection: &mut SqliteConnection,
    action: &NewAction,
    max_tries: i64,
    now: Timestamp,
) -> Result<ActionId, Failure> {
    let wanted = json_list(action.systems.iter().map(|system| system.0));
    require_all(connection, action, &wanted)?;
    let id = diesel::insert_into(rhn_action::table)
        .values((
            rhn_action::action_type.eq(SCRIPT_RUN),
            rhn_action::name.eq(&action.name),
            rhn_action::earliest_action.eq(action.earliest.as_millis()),
            rhn_action::prerequisite.eq(action.prerequisite.map(|first| first.0)),
            rhn_action::created.eq(now.as_millis()),
            rhn_action::modified.eq(now.as_millis()),
        ))
        .returning(rhn_action::id)
        .get_result::<i64>(connection)?;
    statement::<()>(
        "INSERT INTO rhnServerAction (server_id, action_id, remaining_tries, created, modified) \
         SELECT DISTINCT value, ?, ?, ?, ? FROM json_each(?)",
    )
    .bind(id)
    .bind(max_tries)
    .bind(now)
    .bind(now)
    .bind(wanted)
    .execute(connection)?;
    if let Some(first) = action.prerequisite {
        fail_behind(connection, first, now)?;
    }
    Ok(ActionId(id))
}

fn require_all(connection: &mut SqliteConnection, action: &NewAction, wanted: &str) -> Result<(), Failure> {
    if action.systems.is_empty() {
        return Err(Failure::not_found("a system to schedule the action for"));
    }
    let missing = statement::<(BigInt,)>(
        "SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM rhnServer WHERE id = value) LIMIT 1",
    )
    .bind(wanted)
    .load::<(i64,)>(connection)?;
    if let Some((system,)) = missing.first() {
        return Err(Failure::not_found(format!("system {system}")));
    }
    let Some(first) = action.prerequisite else {
        return Ok(());
    };
    let known = statement::<(BigInt,)>("SELECT id FROM rhnAction WHERE id = ?")
        .bind(first)
        .load::<(i64,)>(connection)?;
    if known.is_empty() {
        return Err(Failure::not_found(format!("action {first}")));
    }
    Ok(())
}

/// Fails what was scheduled behind an action that has failed already: it would wait for ever.
fn fail_behind(connection: &mut SqliteConnection, first: ActionId, now: Timestamp) -> QueryResult<()> {
    let systems = statement::<(BigInt,)>("SELECT server_id FROM rhnServerAction WHERE action_id = ? AND status = 3")
        .bind(first)
        .load::<(i64,)>(connection)?;
    for (system,) in systems {
        fail_dependents(connection, SystemId(system), [first.0], now)?;
    }
    Ok(())
}

/// Queues an ended action again. Its version grows by a trigger, whoever changes the row.
pub(super) fn reschedule(
    connection: &mut SqliteConnection,
    action: ActionId,
    system: SystemId,
    earliest: Timestamp,
    max_tries: i64,
) -> QueryResult<bool> {
    let queued = statement::<()>(
        "UPDATE rhnServerAction SET status = 0, remaining_tries = ?, pickup_time = NULL, completion_time = NULL, \
           result_code = NULL, result_msg = NULL WHERE server_id = ? AND action_id = ? AND status IN (2, 3)",
    )
    .bind(max_tries)
    .bind(system)
    .bind(action)
    .execute(connection)?;
    if queued > 0 {
        statement::<()>("UPDATE rhnAction SET earliest_action = ? WHERE id = ?")
            .bind(earliest)
            .bind(action)
            .execute(connection)?;
    }
    Ok(queued > 0)
}

/// Takes a pending action, and what waits for it, from a system.
pub(super) fn cancel(connection: &mut SqliteConnection, action: ActionId, system: SystemId) -> QueryResult<bool> {
    let taken = statement::<()>(
        "WITH RECURSIVE taken (id) AS ( \
           SELECT action_id FROM rhnServerAction WHERE server_id = ? AND action_id = ? AND status < 2 UNION \
           SELECT sa.action_id FROM taken CROSS JOIN rhnAction a ON a.prerequisite = taken.id \
           CROSS JOIN rhnServerAction sa ON sa.server_id = ? AND sa.action_id = a.id AND sa.status < 2) \
         DELETE FROM rhnServerAction WHERE server_id = ? AND action_id IN (SELECT id FROM taken)",
    )
    .bind(system)
    .bind(action)
    .bind(system)
    .bind(system)
    .execute(connection)?;
    Ok(taken > 0)
}

type Ids = (i64, i64, String, String, i64);
type Times = (i64, i64, Option<i64>, Option<i64>);
type Row = (Ids, Times, i64, Option<String>);
type RowTypes = (
    (BigInt, BigInt, Text, Text, BigInt),
    (BigInt, BigInt, Nullable<BigInt>, Nullable<BigInt>),
    BigInt,
    Nullable<Text>,
);

/// Lists actions, newest first. The conditions are written as needed: a condition that is always true would hide the
/// index of one that is not.
pub(super) fn actions(connection: &mut SqliteConnection, filter: &ActionFilter) -> Result<Vec<ActionRow>, Failure> {
    let only_pending = !filter.statuses.is_empty() && filter.statuses.iter().all(|status| status_id(*status) < 2);
    let (index, pending) = if only_pending {
        ("INDEXED BY osa_server_action_pending_idx", "sa.status < 2")
    } else {
        ("", "1")
    };
    let mut text = format!(
        "SELECT sa.action_id, sa.server_id, s.name, a.name, sa.status, sa.created, a.earliest_action, sa.pickup_time, \
           sa.completion_time, sa.remaining_tries, sa.result_msg \
         FROM rhnServerAction sa {index} JOIN rhnAction a ON a.id = sa.action_id \
         JOIN rhnServer s ON s.id = sa.server_id WHERE {pending}"
    );
    let mut lists = Vec::new();
    if let Some(system) = filter.system {
        text.push_str(" AND sa.server_id IN (SELECT value FROM json_each(?))");
        lists.push(json_list([system.0]));
    }
    if !filter.statuses.is_empty() {
        text.push_str(" AND sa.status IN (SELECT value FROM json_each(?))");
        lists.push(json_list(filter.statuses.iter().map(|status| status_id(*status))));
    }
    if !filter.ids.is_empty() {
        text.push_str(" AND sa.action_id IN (SELECT value FROM json_each(?))");
        lists.push(json_list(filter.ids.iter().map(|id| id.0)));
    }
    text.push_str(" ORDER BY sa.action_id DESC, sa.server_id LIMIT ?");
    let query = lists
        .into_iter()
        .fold(statement::<RowTypes>(text), |query, list| query.bind(list));
    let rows = query
        .bind(i64::try_from(filter.limit).unwrap_or(i64::MAX))
        .load::<Row>(connection)?;
    rows.into_iter().map(|row| action_row(connection, row)).collect()
}

fn action_row(
    connection: &mut SqliteConnection,
    (ids, times, remaining_tries, result): Row,
) -> Result<ActionRow, Failure> {
    let (id, system, system_name, name, status) = ids;
    let (created, earliest, picked_up, completed) = times;
    let (id, system) = (ActionId(id), SystemId(system));
    Ok(ActionRow {
        id,
        system,
        system_name,
        name,
        status: status_of(status).ok_or(Failure::Unreadable)?,
        created: Timestamp::from_millis(created),
        earliest: Timestamp::from_millis(earliest),
        picked_up: picked_up.map(Timestamp::from_millis),
        completed: completed.map(Timestamp::from_millis),
        remaining_tries,
        result,
        trace: last_trace(connection, system, id, completed)?,
    })
}
