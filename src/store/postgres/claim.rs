//! Claims: a batch in a handful of statements, whatever its size.

use std::collections::{BTreeSet, HashMap};

use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::client;
use super::failure::Failure;
use super::statement::{ids, statement};
use crate::domain::ids::{Incarnation, RequestNumber, SystemId};
use crate::domain::push::action::CoveredAction;
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
    client: Option<Client>,
}

/// Records those requests whose system has no live lease.
pub(super) async fn claim(
    connection: &mut AsyncPgConnection,
    claims: &[Claim],
    lease: Lease,
    free_slots: Option<usize>,
) -> Result<Vec<ClaimOutcome>, Failure> {
    let systems: BTreeSet<SystemId> = claims.iter().map(|claim| claim.system).collect();
    let systems: Vec<SystemId> = systems.into_iter().collect();
    lock(connection, &systems).await?;
    let mut standings = standings(connection, &systems).await?;
    let mut free_slots = free_slots.unwrap_or(usize::MAX);
    let (mut granted, mut lapsed) = (Vec::new(), Vec::new());
    let mut outcomes = Vec::with_capacity(claims.len());
    for claim in claims {
        let standing = standings.get_mut(&claim.system);
        let Some((standing, client)) = standing.and_then(|it| it.client.clone().map(|client| (it, client))) else {
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
        outcomes.push(ClaimOutcome::Granted(client));
    }
    void_lapsed(connection, &lapsed, lease.now).await?;
    insert(connection, &granted, lease).await?;
    Ok(outcomes)
}

/// Locks the systems' own rows, in their order; those that are missing are made.
async fn lock(connection: &mut AsyncPgConnection, systems: &[SystemId]) -> Result<(), Failure> {
    const LOCK: &str = "SELECT server_id FROM osa_push WHERE server_id = ANY(?) ORDER BY server_id FOR UPDATE";
    let locked: Vec<(i64,)> = statement::<(BigInt,)>(LOCK).bind(ids(systems)).load(connection).await?;
    if locked.len() < systems.len() {
        client::make_rows(connection, systems).await?;
        statement::<()>(LOCK).bind(ids(systems)).execute(connection).await?;
    }
    Ok(())
}

type StandingRow = (
    i64,
    i64,
    Option<i64>,
    Option<String>,
    Option<String>,
    Option<String>,
    bool,
);
type StandingTypes = (
    BigInt,
    BigInt,
    Nullable<BigInt>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Bool,
);

/// Reads what stands against a claim, and what a request is signed with. Only a statement that begins after the lock is
/// taken sees what its last holder did.
async fn standings(
    connection: &mut AsyncPgConnection,
    systems: &[SystemId],
) -> Result<HashMap<SystemId, Standing>, Failure> {
    let rows: Vec<StandingRow> = statement::<StandingTypes>(format!(
        "SELECT p.server_id, CASE WHEN p.last_number = 0 THEN 0 ELSE {LAST_NUMBER} END, \
           (SELECT max(r.lease_until) FROM osa_request r \
           WHERE r.server_id = p.server_id AND r.ended_at IS NULL AND r.state IN ('claimed', 'sent')), \
           c.name, c.shared_key, c.jabber_id, coalesce(p.announced_name = c.name, FALSE) \
         FROM osa_push p LEFT JOIN rhnPushClient c ON c.server_id = p.server_id::numeric \
           AND c.server_id = ANY(?::numeric[]) AND c.jabber_id IS NOT NULL \
         WHERE p.server_id = ANY(?)"
    ))
    .bind(ids(systems))
    .bind(ids(systems))
    .load(connection)
    .await?;
    let standing = |(system, last_number, until, name, key, jid, announced): StandingRow| {
        let client = match (name, key, jid) {
            (Some(name), Some(key), Some(jid)) => Some(client::client((system, name, key, jid, announced))),
            _ => None,
        };
        let standing = Standing {
            last_number: RequestNumber(last_number),
            leased_until: until.map(Timestamp::from_millis),
            client,
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

/// Requests, what they cover, and their numbers, in one statement.
async fn insert(connection: &mut AsyncPgConnection, claims: &[&Claim], lease: Lease) -> Result<(), Failure> {
    if claims.is_empty() {
        return Ok(());
    }
    let systems: Vec<i64> = claims.iter().map(|claim| claim.system.0).collect();
    let numbers: Vec<i64> = claims.iter().map(|claim| claim.number.0).collect();
    let covers: Vec<(&Claim, &CoveredAction)> = claims
        .iter()
        .flat_map(|&claim| claim.covers.iter().map(move |covered| (claim, covered)))
        .collect();
    let column = |value: fn(&(&Claim, &CoveredAction)) -> i64| covers.iter().map(value).collect::<Vec<i64>>();
    statement::<()>(
        "WITH request AS (INSERT INTO osa_request (server_id, number, state, incarnation, lease_until, claimed_at) \
           SELECT unnest(?), unnest(?), 'claimed', ?, ?, ?), \
         cover AS (INSERT INTO osa_request_action (server_id, number, action_id, version, earliest_action) \
           SELECT DISTINCT * FROM (SELECT unnest(?), unnest(?), unnest(?), unnest(?), unnest(?)) v) \
         UPDATE osa_push p SET last_number = v.number \
         FROM (SELECT unnest(?) AS server_id, unnest(?) AS number) v WHERE p.server_id = v.server_id",
    )
    .bind(systems.clone())
    .bind(numbers.clone())
    .bind(lease.node)
    .bind(lease.until)
    .bind(lease.now)
    .bind(column(|(claim, _)| claim.system.0))
    .bind(column(|(claim, _)| claim.number.0))
    .bind(column(|(_, covered)| covered.action.0))
    .bind(column(|(_, covered)| covered.version.row))
    .bind(column(|(_, covered)| covered.version.earliest.as_millis()))
    .bind(systems)
    .bind(numbers)
    .execute(connection)
    .await?;
    Ok(())
}
