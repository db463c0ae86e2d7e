//! How many systems work at once, over all nodes.
//!
//! Source: push life cycle, section 5.

use diesel::sql_types::BigInt;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::failure::Failure;
use super::migrations::CLAIM_LOCK;
use super::statement::statement;
use crate::domain::time::Timestamp;

/// The longest time a system counts. Units: milliseconds.
const SLOT_AGE: i64 = 30 * 60 * 1_000;
/// How long an answer of an existing agent counts. Units: milliseconds.
const EXISTING_SLOT: i64 = 30_000;

/// Serialises the claims of all nodes until the end of the transaction; how many slots of `threshold` are free.
pub(super) async fn free_slots(
    connection: &mut AsyncPgConnection,
    threshold: usize,
    now: Timestamp,
) -> Result<usize, Failure> {
    statement::<()>("SELECT pg_advisory_xact_lock(?)")
        .bind(CLAIM_LOCK)
        .execute(connection)
        .await?;
    let now = now.as_millis();
    let (used,) = statement::<(BigInt,)>(
        "SELECT count(*) FROM ( \
           SELECT r.server_id FROM osa_request r WHERE r.ended_at IS NULL AND r.claimed_at > ? \
             AND NOT (r.state IN ('claimed', 'sent') AND r.lease_until <= ?) \
           UNION SELECT r.server_id FROM osa_request r WHERE r.ended_at > ? AND r.state = 'received' \
           UNION SELECT p.server_id FROM osa_push p JOIN rhnServerAction sa \
             ON sa.server_id = p.server_id::numeric AND sa.status = 1 \
             WHERE p.online AND sa.pickup_time > to_timestamp(? / 1000.0) \
         ) used WHERE NOT EXISTS (SELECT 1 FROM rhnServerAction sa JOIN rhnAction a ON a.id = sa.action_id \
           JOIN rhnActionType t ON t.id = a.action_type WHERE sa.server_id = used.server_id::numeric \
           AND sa.status = 1 AND t.label = 'reboot.reboot')",
    )
    .bind(now - SLOT_AGE)
    .bind(now)
    .bind(now - EXISTING_SLOT)
    .bind(now - SLOT_AGE)
    .get_result::<(i64,)>(connection)
    .await?;
    Ok(threshold.saturating_sub(usize::try_from(used).unwrap_or(usize::MAX)))
}
