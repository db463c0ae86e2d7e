//! Claims and the registrations they are signed with.

use diesel::sql_types::{BigInt, Bool, Text};
use diesel::{OptionalExtension, QueryResult, RunQueryDsl, SqliteConnection};

use super::failure::Failure;
use super::statement::statement;
use crate::domain::ids::{ClientName, Incarnation, SystemId};
use crate::domain::push::client::Client;
use crate::domain::push::request::{Claim, ClaimOutcome, LossReason};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::ports::push::CLAIMANTS_MAX;
use crate::store::label;

type ClientRow = (i64, String, String, String, bool);
type ClientTypes = (BigInt, Text, Text, Text, Bool);

/// A row without a JID is no registration yet: there is nobody to sign for.
const CLIENT: &str = "SELECT c.server_id, c.name, c.shared_key, c.jabber_id, ifnull(p.announced_name = c.name, 0) \
     FROM rhnPushClient c LEFT JOIN osa_push p ON p.server_id = c.server_id \
     WHERE c.jabber_id IS NOT NULL AND ";

/// Nothing makes JIDs unique: a row that has signed validly since it claimed the JID is alive, and of others the newest
/// may be.
pub(super) fn clients_by_jid(connection: &mut SqliteConnection, jid: &str) -> QueryResult<Vec<Client>> {
    let query = format!(
        "{CLIENT} c.jabber_id = ? ORDER BY \
         CASE WHEN c.last_message_time >= p.claimed_at THEN c.last_message_time END DESC NULLS LAST, \
         p.claimed_at DESC NULLS LAST, c.id DESC LIMIT {CLAIMANTS_MAX}"
    );
    let rows = statement::<ClientTypes>(query)
        .bind(jid)
        .load::<ClientRow>(connection)?;
    Ok(rows.into_iter().map(client).collect())
}

pub(super) fn client_by_name(connection: &mut SqliteConnection, name: &ClientName) -> QueryResult<Option<Client>> {
    let row = statement::<ClientTypes>(format!("{CLIENT} c.name = ?"))
        .bind(name.0.as_str())
        .get_result::<ClientRow>(connection);
    Ok(row.optional()?.map(client))
}

pub(super) fn client_of_system(connection: &mut SqliteConnection, system: SystemId) -> QueryResult<Option<Client>> {
    let row = statement::<ClientTypes>(format!("{CLIENT} c.server_id = ?"))
        .bind(system)
        .get_result::<ClientRow>(connection);
    Ok(row.optional()?.map(client))
}

fn client((system, name, shared_key, jid, announced): ClientRow) -> Client {
    Client {
        system: SystemId(system),
        name: ClientName(name),
        shared_key: Secret::new(shared_key),
        jid,
        announced,
    }
}

/// Until when, and for whom, a claim is recorded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) node: Incarnation,
    pub(super) until: Timestamp,
    pub(super) now: Timestamp,
}

/// Records one request if the system has no live lease.
pub(super) fn claim(connection: &mut SqliteConnection, claim: &Claim, lease: Lease) -> Result<ClaimOutcome, Failure> {
    let Some(client) = client_of_system(connection, claim.system)? else {
        return Ok(ClaimOutcome::Gone);
    };
    let (last_number, leased_until) = statement::<(BigInt, BigInt)>(
        "SELECT p.last_number, ifnull((SELECT max(r.lease_until) FROM osa_request r INDEXED BY osa_request_open_idx \
         WHERE r.server_id = p.server_id AND r.ended_at IS NULL AND r.state IN ('claimed', 'sent')), -1) \
         FROM osa_push p WHERE p.server_id = ?",
    )
    .bind(claim.system)
    .get_result::<(i64, i64)>(connection)?;
    if claim.number.0 <= last_number || leased_until > lease.now.as_millis() {
        return Ok(ClaimOutcome::Refused);
    }
    if leased_until >= 0 {
        void_lapsed(connection, claim.system, lease.now)?;
    }
    insert(connection, claim, lease)?;
    Ok(ClaimOutcome::Granted(client))
}

/// At most one request of a system is on its way: one whose lease ended makes room for the next.
fn void_lapsed(connection: &mut SqliteConnection, system: SystemId, now: Timestamp) -> QueryResult<usize> {
    statement::<()>(
        "UPDATE osa_request INDEXED BY osa_request_open_idx SET state = 'lost', reason = ?, ended_at = ? \
         WHERE server_id = ? AND ended_at IS NULL AND state IN ('claimed', 'sent')",
    )
    .bind(label::of_loss(LossReason::Unanswered))
    .bind(now)
    .bind(system)
    .execute(connection)
}

fn insert(connection: &mut SqliteConnection, claim: &Claim, lease: Lease) -> QueryResult<()> {
    statement::<()>(
        "INSERT INTO osa_request (server_id, number, state, incarnation, lease_until, claimed_at) \
         VALUES (?, ?, 'claimed', ?, ?, ?)",
    )
    .bind(claim.system)
    .bind(claim.number)
    .bind(lease.node)
    .bind(lease.until)
    .bind(lease.now)
    .execute(connection)?;
    for covered in &claim.covers {
        statement::<()>(
            "INSERT INTO osa_request_action (server_id, number, action_id, version, earliest_action) \
             VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(claim.system)
        .bind(claim.number)
        .bind(covered.action)
        .bind(covered.version.row)
        .bind(covered.version.earliest)
        .execute(connection)?;
    }
    statement::<()>("UPDATE osa_push SET last_number = ? WHERE server_id = ?")
        .bind(claim.number)
        .bind(claim.system)
        .execute(connection)?;
    Ok(())
}
