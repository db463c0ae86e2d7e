//! How many systems work at once, over all nodes.
//!
//! Source: push life cycle, section 5.

use std::time::Duration;

use diesel::sql_types::BigInt;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::failure::Failure;
use super::migrations::CLAIM_LOCK;
use super::statement::statement;
use crate::domain::time::Timestamp;

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots {
    /// Systems that may work at once.
    pub(super) threshold: usize,
    /// How long one counts at most.
    pub(super) age: Duration,
    /// How long an existing agent counts after its answer.
    pub(super) after_answer: Duration,
}

/// Serialises the claims of all nodes until the end of the transaction; how many slots are free.
pub(super) async fn free_slots(
    connection: &mut AsyncPgConnection,
    slots: Slots,
    now: Timestamp,
) -> Result<usize, Failure> {
    statement::<()>("SELECT pg_advisory_xact_lock(?)")
        .bind(CLAIM_LOCK)
        .execute(connection)
        .await?;
    let oldest = now - slots.age;
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
    .bind(now - slots.after_answer)
    .bind(oldest)
    .get_result::<(i64,)>(connection)
    .await?;
    Ok(slots
        .threshold
        .saturating_sub(usize::try_from(used).unwrap_or(usize::MAX)))
}
