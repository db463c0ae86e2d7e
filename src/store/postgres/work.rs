//! What is pending: the due-query on a Satellite's tables.
//!
//! Everything is read by key: `(server_id, action_id, status)` is the only index there is, and no other may be added.

use std::collections::HashMap;

use diesel::sql_types::{BigInt, Bool, Nullable};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::catalog::Catalog;
use super::failure::Failure;
use super::statement::{Statement, ids, is_bigint, statement};
use crate::domain::ids::{ActionId, SystemId};
use crate::domain::push::action::{ActionKind, ActionVersion, PendingAction, Progress, SystemWork};
use crate::domain::time::Timestamp;

/// System; action, version, earliest time and status of a pending one; a time; whether it is a reboot. Without an action
/// it says that the system exists, and when an action of it changed last.
type Row = (
    i64,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    bool,
);
type RowTypes = (
    BigInt,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Bool,
);

/// A `TIMESTAMPTZ` as milliseconds since the epoch. `infinity`, by which some mean "never", is the end of the year 9999, and
/// `-infinity` the epoch: one such row must not keep the others from being read.
pub(super) fn millis(column: &str) -> String {
    format!(
        "CASE WHEN isfinite({column}) THEN floor(extract(epoch FROM {column}) * 1000)::bigint \
         WHEN {column} = 'infinity' THEN 253402300799000 WHEN {column} = '-infinity' THEN 0 END"
    )
}

/// The version of a row: which transaction wrote it. For comparison only, and for equality only.
pub(super) const VERSION: &str = "sa.xmin::text::bigint";

/// One statement for two things, so that they are of one moment and one turn to the server: for each system that exists
/// when an action of it was last picked up, completed or failed, and its pending actions that nothing but time holds
/// back. Nothing stamps the time of a failure, but the row was modified then. What is picked up is told whatever holds
/// its kind back: it is under way.
fn rows(catalog: &Catalog, systems: &[SystemId]) -> Statement<RowTypes> {
    let earliest = millis("a.earliest_action");
    let picked_up = millis("coalesce(sa.pickup_time, sa.modified)");
    let changed =
        millis("max(greatest(sa.pickup_time, sa.completion_time, CASE WHEN sa.status = 3 THEN sa.modified END))");
    let is_bigint = is_bigint("sa.action_id");
    let mut text = format!(
        "SELECT s.id::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, {changed}, FALSE \
         FROM rhnServer s LEFT JOIN rhnServerAction sa ON sa.server_id = s.id \
         WHERE s.id = ANY(?::numeric[]) GROUP BY s.id \
         UNION ALL SELECT sa.server_id::bigint, sa.action_id::bigint, {VERSION}, {earliest}, sa.status::bigint, {picked_up}, \
           t.label = 'reboot.reboot' \
         FROM rhnServerAction sa JOIN rhnAction a ON a.id = sa.action_id JOIN rhnActionType t ON t.id = a.action_type \
         WHERE sa.server_id = ANY(?::numeric[]) AND sa.status IN (0, 1) AND {is_bigint} AND (sa.status = 1 OR ( \
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
        return statement(text).bind(ids(systems)).bind(ids(systems));
    }
    text.push_str(
        " AND (EXISTS (SELECT 1 FROM rhnServerEntitlementView e WHERE e.server_id = sa.server_id AND e.label = ANY(?)) \
           OR EXISTS (SELECT 1 FROM rhnServerFeaturesView f WHERE f.server_id = sa.server_id AND f.label = ANY(?)))",
    );
    statement(text)
        .bind(ids(systems))
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
    let mut known: HashMap<i64, Option<Timestamp>> = HashMap::with_capacity(systems.len());
    let mut pending: HashMap<i64, Vec<PendingAction>> = HashMap::new();
    for row in rows(catalog, systems).load::<Row>(connection).await? {
        match pending_action(&row) {
            Some(action) => pending.entry(row.0).or_default().push(action),
            None => drop(known.insert(row.0, row.5.map(Timestamp::from_millis))),
        }
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

fn pending_action(&(_, action, row, earliest, status, picked_up, is_reboot): &Row) -> Option<PendingAction> {
    Some(PendingAction {
        id: ActionId(action?),
        version: ActionVersion {
            row: row?,
            earliest: Timestamp::from_millis(earliest?),
        },
        progress: match status? {
            0 => Progress::Queued,
            _ => Progress::PickedUp(Timestamp::from_millis(picked_up.unwrap_or_default())),
        },
        kind: if is_reboot {
            ActionKind::Reboot
        } else {
            ActionKind::Ordinary
        },
    })
}
