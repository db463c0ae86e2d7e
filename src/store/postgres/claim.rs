//! Claims: a batch in a handful of statements, whatever its size.

use std::collections::HashMap;

use diesel::sql_types::{BigInt, Nullable};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::client;
use super::failure::Failure;
use super::statement::{ids, statement};
use crate::domain::ids::{Incarnation, RequestNumber, SystemId};
use crate::domain::push::client::Client;
use crate::domain::push::request::{Claim, ClaimOutcome, LossReason};
use crate::domain::time::Timestamp;
use crate::store::label;

/// Until when, and for whom, claims are recorded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) node: Incarnation,
    pub(super) until: Timestamp,
    pub(super) now: Timestamp,
}

/// Numbers go on from the time of the newest start if that is higher: after a fail-over to a standby that lagged, or on
/// a restored copy, numbers that agents have seen could otherwise be given out again. A system's first request has such a
/// number as well: the next one could not follow it otherwise.
pub(super) const LAST_NUMBER: &str =
    "greatest(p.last_number, (SELECT coalesce(max(n.started_at), 0) / 1000 FROM osa_node n))";

/// What is known of a system before a claim.
struct Standing {
    last_number: RequestNumber,
    leased_until: Option<Timestamp>,
}

/// Records those requests whose system has no live lease.
pub(super) async fn claim(
    connection: &mut AsyncPgConnection,
    claims: &[Claim],
    lease: Lease,
    free_slots: Option<usize>,
) -> Result<Vec<ClaimOutcome>, Failure> {
    let systems: Vec<SystemId> = claims.iter().map(|claim| claim.system).collect();
    client::make_rows(connection, &systems).await?;
    let mut standings = standings(connection, &systems).await?;
    let clients: HashMap<SystemId, Client> = client::of_systems(connection, &systems)
        .await?
        .into_iter()
        .map(|client| (client.system, client))
        .collect();
    let mut free_slots = free_slots.unwrap_or(usize::MAX);
    let (mut granted, mut lapsed) = (Vec::new(), Vec::new());
    let mut outcomes = Vec::with_capacity(claims.len());
    for claim in claims {
        let (Some(client), Some(standing)) = (clients.get(&claim.system), standings.get_mut(&claim.system)) else {
            outcomes.push(ClaimOutcome::Gone);
            continue;
        };
        let is_leased = standing.leased_until.is_some_and(|until| until > lease.now);
        if claim.number <= standing.last_number || is_leased || free_slots == 0 {
            outcomes.push(ClaimOutcome::Refused);
            continue;
        }
        free_slots -= 1;
        if standing.leased_until.is_some() {
            lapsed.push(claim.system);
        }
        standing.last_number = claim.number;
        standing.leased_until = Some(lease.until);
        granted.push(claim);
        outcomes.push(ClaimOutcome::Granted(client.clone()));
    }
    void_lapsed(connection, &lapsed, lease.now).await?;
    insert(connection, &granted, lease).await?;
    Ok(outcomes)
}

/// Locks the systems' own rows, in their order, and reads what stands against a claim.
async fn standings(
    connection: &mut AsyncPgConnection,
    systems: &[SystemId],
) -> Result<HashMap<SystemId, Standing>, Failure> {
    statement::<()>("SELECT 1 FROM osa_push WHERE server_id = ANY(?) ORDER BY server_id FOR UPDATE")
        .bind(ids(systems))
        .execute(connection)
        .await?;
    let rows: Vec<(i64, i64, Option<i64>)> = statement::<(BigInt, BigInt, Nullable<BigInt>)>(format!(
        "SELECT p.server_id, CASE WHEN p.last_number = 0 THEN 0 ELSE {LAST_NUMBER} END, \
           (SELECT max(r.lease_until) FROM osa_request r \
           WHERE r.server_id = p.server_id AND r.ended_at IS NULL AND r.state IN ('claimed', 'sent')) \
         FROM osa_push p WHERE p.server_id = ANY(?)"
    ))
    .bind(ids(systems))
    .load(connection)
    .await?;
    let standing = |(system, last_number, until): (i64, i64, Option<i64>)| {
        let standing = Standing {
            last_number: RequestNumber(last_number),
            leased_until: until.map(Timestamp::from_millis),
        };
        (SystemId(system), standing)
    };
    Ok(rows.into_iter().map(standing).collect())
}

/// At most one request of a system is on its way: one whose lease ended makes room for the next.
async fn void_lapsed(connection: &mut AsyncPgConnection, systems: &[SystemId], now: Timestamp) -> Result<(), Failure> {
    if systems.is_empty() {
        return Ok(());
    }
    statement::<()>(
        "UPDATE osa_request SET state = 'lost', reason = ?, ended_at = ? \
         WHERE server_id = ANY(?) AND ended_at IS NULL AND state IN ('claimed', 'sent')",
    )
    .bind(label::of_loss(LossReason::Unanswered))
    .bind(now)
    .bind(ids(systems))
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert(connection: &mut AsyncPgConnection, claims: &[&Claim], lease: Lease) -> Result<(), Failure> {
    if claims.is_empty() {
        return Ok(());
    }
    let systems: Vec<i64> = claims.iter().map(|claim| claim.system.0).collect();
    let numbers: Vec<i64> = claims.iter().map(|claim| claim.number.0).collect();
    statement::<()>(
        "INSERT INTO osa_request (server_id, number, state, incarnation, lease_until, claimed_at) \
         SELECT unnest(?), unnest(?), 'claimed', ?, ?, ?",
    )
    .bind(systems.clone())
    .bind(numbers.clone())
    .bind(lease.node)
    .bind(lease.until)
    .bind(lease.now)
    .execute(connection)
    .await?;
    insert_covers(connection, claims).await?;
    statement::<()>(
        "UPDATE osa_push p SET last_number = v.number \
         FROM (SELECT unnest(?) AS server_id, unnest(?) AS number) v WHERE p.server_id = v.server_id",
    )
    .bind(systems)
    .bind(numbers)
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_covers(connection: &mut AsyncPgConnection, claims: &[&Claim]) -> Result<(), Failure> {
    let covers: Vec<_> = claims
        .iter()
        .flat_map(|claim| claim.covers.iter().map(move |covered| (claim, covered)))
        .collect();
    if covers.is_empty() {
        return Ok(());
    }
    let column = |value: fn(&(&&Claim, &crate::domain::push::action::CoveredAction)) -> i64| {
        covers.iter().map(value).collect::<Vec<i64>>()
    };
    statement::<()>(
        "INSERT INTO osa_request_action (server_id, number, action_id, version, earliest_action) \
         SELECT DISTINCT * FROM (SELECT unnest(?), unnest(?), unnest(?), unnest(?), unnest(?)) v",
    )
    .bind(column(|(claim, _)| claim.system.0))
    .bind(column(|(claim, _)| claim.number.0))
    .bind(column(|(_, covered)| covered.action.0))
    .bind(column(|(_, covered)| covered.version.row))
    .bind(column(|(_, covered)| covered.version.earliest.as_millis()))
    .execute(connection)
    .await?;
    Ok(())
}
