//! How many systems work at once, over all nodes.
//!
//! Source: push life cycle, section 5.

use std::time::Duration;

use diesel::sql_types::BigInt;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::failure::Failure;
use super::migrations::CLAIM_LOCK;
use super::statement::statement;
use crate::domain::push::policy::EXISTING_SLOT;
use crate::domain::time::Timestamp;

/// Serialises the claims of all nodes until the end of the transaction; how many slots of `threshold` are free. A system
/// counts for `slot_age` at most.
pub(super) async fn free_slots(
    connection: &mut AsyncPgConnection,
    threshold: usize,
    slot_age: Duration,
    now: Timestamp,
) -> Result<usize, Failure> {
    statement::<()>("SELECT pg_advisory_xact_lock(?)")
        .bind(CLAIM_LOCK)
        .execute(connection)
        .await?;
    let oldest = now - slot_age;
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
    .bind(oldest)
    .bind(now)
    .bind(now - EXISTING_SLOT)
    .bind(oldest)
    .get_result::<(i64,)>(connection)
    .await?;
    Ok(threshold.saturating_sub(usize::try_from(used).unwrap_or(usize::MAX)))
}
