//! What is pending: the due-query of a standalone deployment.

use std::collections::HashMap;

use diesel::sql_types::{BigInt, Bool, Nullable};
use diesel::{QueryResult, RunQueryDsl, SqliteConnection};

use super::failure::Failure;
use super::statement::{json_list, statement};
use crate::domain::ids::{ActionId, SystemId};
use crate::domain::push::action::{ActionKind, ActionVersion, PendingAction, Progress, SystemWork};
use crate::domain::time::Timestamp;

type Row = (i64, i64, i64, i64, i64, Option<i64>, bool);
type RowTypes = (BigInt, BigInt, BigInt, BigInt, BigInt, Nullable<BigInt>, Bool);

/// A prerequisite that is not assigned to the same system does not hold an action back. The index and the order of the
/// tables are given, here and in other statements of the push path: left to choose, SQLite reads histories.
const PENDING: &str = "SELECT sa.server_id, sa.action_id, sa.version, a.earliest_action, sa.status, sa.pickup_time, \
       t.label = 'reboot.reboot' \
     FROM json_each(?) wanted \
     CROSS JOIN rhnServerAction sa INDEXED BY osa_server_action_pending_idx ON sa.server_id = wanted.value \
     CROSS JOIN rhnAction a ON a.id = sa.action_id \
     CROSS JOIN rhnActionType t ON t.id = a.action_type \
     WHERE sa.status < 2 AND (a.prerequisite IS NULL OR NOT EXISTS (SELECT 1 FROM rhnServerAction first \
       WHERE first.server_id = sa.server_id AND first.action_id = a.prerequisite AND first.status <> 2))";

/// The pending work of those of these systems that exist, in this order.
pub(super) fn work(connection: &mut SqliteConnection, systems: &[SystemId]) -> Result<Vec<SystemWork>, Failure> {
    let wanted = json_list(systems.iter().map(|system| system.0));
    let mut known = last_changes(connection, &wanted)?;
    let mut pending: HashMap<i64, Vec<PendingAction>> = HashMap::with_capacity(known.len());
    for row in statement::<RowTypes>(PENDING).bind(wanted).load::<Row>(connection)? {
        pending.entry(row.0).or_default().push(pending_action(&row));
    }
    let work = systems.iter().filter_map(|&system| {
        let last_change = known.remove(&system.0)?;
        let mut actions = pending.remove(&system.0).unwrap_or_default();
        actions.sort_unstable_by_key(|action| (action.version.earliest, action.id));
        Some(SystemWork {
            system,
            actions,
            last_change,
        })
    });
    Ok(work.collect())
}

fn last_changes(connection: &mut SqliteConnection, wanted: &str) -> QueryResult<HashMap<i64, Option<Timestamp>>> {
    let rows = statement::<(BigInt, Nullable<BigInt>)>(
        "SELECT p.server_id, p.last_change FROM json_each(?) wanted JOIN osa_push p ON p.server_id = wanted.value",
    )
    .bind(wanted)
    .load::<(i64, Option<i64>)>(connection)?;
    Ok(rows
        .into_iter()
        .map(|(system, at)| (system, at.map(Timestamp::from_millis)))
        .collect())
}

fn pending_action(&(_, action, row, earliest, status, picked_up, is_reboot): &Row) -> PendingAction {
    PendingAction {
        id: ActionId(action),
        version: ActionVersion {
            row,
            earliest: Timestamp::from_millis(earliest),
        },
        progress: match status {
            0 => Progress::Queued,
            _ => Progress::PickedUp(Timestamp::from_millis(picked_up.unwrap_or_default())),
        },
        kind: if is_reboot {
            ActionKind::Reboot
        } else {
            ActionKind::Ordinary
        },
    }
}
