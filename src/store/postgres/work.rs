//! What is pending: the due-query on a Satellite's tables.
//!
//! Everything is read by key: `(server_id, action_id, status)` is the only index there is, and no other may be added.

use std::collections::HashMap;

use diesel::sql_types::{BigInt, Bool, Nullable};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::catalog::Catalog;
use super::failure::Failure;
use super::statement::{Statement, ids, statement};
use crate::domain::ids::{ActionId, SystemId};
use crate::domain::push::action::{ActionKind, ActionVersion, PendingAction, Progress, SystemWork};
use crate::domain::time::Timestamp;

type Row = (i64, i64, i64, i64, i64, Option<i64>, bool);
type RowTypes = (BigInt, BigInt, BigInt, BigInt, BigInt, Nullable<BigInt>, Bool);

/// A `TIMESTAMPTZ` as milliseconds since the epoch.
pub(super) fn millis(column: &str) -> String {
    format!("floor(extract(epoch FROM {column}) * 1000)::bigint")
}

/// The version of a row: which transaction wrote it. For comparison only, and for equality only.
pub(super) const VERSION: &str = "sa.xmin::text::bigint";

/// The statement of pending actions that nothing but time holds back. What is picked up is told whatever holds its kind
/// back: it is under way.
fn pending(catalog: &Catalog, systems: &[SystemId]) -> Statement<RowTypes> {
    let earliest = millis("a.earliest_action");
    let picked_up = millis("coalesce(sa.pickup_time, sa.modified)");
    let mut text = format!(
        "SELECT sa.server_id::bigint, sa.action_id::bigint, {VERSION}, {earliest}, sa.status::bigint, {picked_up}, \
           t.label = 'reboot.reboot' \
         FROM rhnServerAction sa JOIN rhnAction a ON a.id = sa.action_id JOIN rhnActionType t ON t.id = a.action_type \
         WHERE sa.server_id = ANY(?::numeric[]) AND sa.status IN (0, 1) AND (sa.status = 1 OR ( \
           (a.prerequisite IS NULL OR NOT EXISTS (SELECT 1 FROM rhnServerAction first \
             WHERE first.server_id = sa.server_id AND first.action_id = a.prerequisite AND first.status <> 2)) \
           AND (t.unlocked_only = 'N' OR NOT EXISTS (SELECT 1 FROM rhnServerLock l WHERE l.server_id = sa.server_id))))"
    );
    if catalog.has_contact_methods {
        text.push_str(
            " AND EXISTS (SELECT 1 FROM rhnServer s JOIN suseServerContactMethod m ON m.id = s.contact_method_id \
               WHERE s.id = sa.server_id AND m.label = 'default')",
        );
    }
    if catalog.entitlements.is_empty() {
        return statement(text).bind(ids(systems));
    }
    text.push_str(
        " AND (EXISTS (SELECT 1 FROM rhnServerEntitlementView e WHERE e.server_id = sa.server_id AND e.label = ANY(?)) \
           OR EXISTS (SELECT 1 FROM rhnServerFeaturesView f WHERE f.server_id = sa.server_id AND f.label = ANY(?)))",
    );
    statement(text)
        .bind(ids(systems))
        .bind(catalog.entitlements.clone())
        .bind(catalog.entitlements.clone())
}

/// The pending work of those of these systems that exist, in this order.
pub(super) async fn work(
    connection: &mut AsyncPgConnection,
    catalog: &Catalog,
    systems: &[SystemId],
) -> Result<Vec<SystemWork>, Failure> {
    if systems.is_empty() {
        return Ok(Vec::new());
    }
    let mut known = last_changes(connection, systems).await?;
    let rows: Vec<Row> = pending(catalog, systems).load(connection).await?;
    let mut pending: HashMap<i64, Vec<PendingAction>> = HashMap::with_capacity(known.len());
    for row in rows {
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

/// For each system that exists, when an action of it was last picked up, completed or failed. Nothing stamps the time
/// of a failure, but the row was modified then.
async fn last_changes(
    connection: &mut AsyncPgConnection,
    systems: &[SystemId],
) -> Result<HashMap<i64, Option<Timestamp>>, Failure> {
    let changed =
        millis("max(greatest(sa.pickup_time, sa.completion_time, CASE WHEN sa.status = 3 THEN sa.modified END))");
    let rows: Vec<(i64, Option<i64>)> = statement::<(BigInt, Nullable<BigInt>)>(format!(
        "SELECT s.id::bigint, {changed} FROM rhnServer s LEFT JOIN rhnServerAction sa ON sa.server_id = s.id \
         WHERE s.id = ANY(?::numeric[]) GROUP BY s.id"
    ))
    .bind(ids(systems))
    .load(connection)
    .await?;
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
