//! The registrations that requests are signed with.

use diesel::OptionalExtension;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::failure::Failure;
use super::statement::{Statement, ids, is_bigint, statement};
use crate::domain::ids::{ClientName, SystemId};
use crate::domain::push::client::Client;
use crate::domain::secret::Secret;
use crate::ports::push::CLAIMANTS_MAX;

type ClientRow = (i64, String, String, String, bool);
type ClientTypes = (BigInt, Text, Text, Text, Bool);

/// A row without a JID is no registration yet: there is nobody to sign for.
fn clients(which: &str) -> Statement<ClientTypes> {
    let is_bigint = is_bigint("c.server_id");
    statement(format!(
        "SELECT c.server_id::bigint, c.name, c.shared_key, c.jabber_id, coalesce(p.announced_name = c.name, FALSE) \
         FROM rhnPushClient c LEFT JOIN osa_push p ON p.server_id = c.server_id::bigint \
         WHERE c.jabber_id IS NOT NULL AND {is_bigint} AND {which}"
    ))
}

/// Nothing makes JIDs unique: a row that has signed validly since it claimed the JID is alive, and of others the newest
/// may be.
fn living_first() -> String {
    format!(
        "ORDER BY CASE WHEN p.heard_jid = c.jabber_id THEN c.last_message_time END DESC NULLS LAST, c.id DESC \
         LIMIT {CLAIMANTS_MAX}"
    )
}

/// Looks where the JID was seen last, as `rhnPushClient` has no index on it.
pub(super) async fn by_known_jid(connection: &mut AsyncPgConnection, jid: &str) -> Result<Vec<Client>, Failure> {
    let rows: Vec<ClientRow> = clients(&format!(
        "c.jabber_id = ? AND c.server_id IN (SELECT known.server_id::numeric FROM osa_push known \
           WHERE known.jabber_id = ?) {}",
        living_first()
    ))
    .bind(jid)
    .bind(jid)
    .load(connection)
    .await?;
    Ok(rows.into_iter().map(client).collect())
}

/// Reads the whole table.
pub(super) async fn by_jid(connection: &mut AsyncPgConnection, jid: &str) -> Result<Vec<Client>, Failure> {
    let rows: Vec<ClientRow> = clients(&format!("c.jabber_id = ? {}", living_first()))
        .bind(jid)
        .load(connection)
        .await?;
    Ok(rows.into_iter().map(client).collect())
}

pub(super) async fn by_name(connection: &mut AsyncPgConnection, name: &ClientName) -> Result<Option<Client>, Failure> {
    let row = clients("c.name = ?")
        .bind(name.0.as_str())
        .get_result::<ClientRow>(connection)
        .await
        .optional()?;
    Ok(row.map(client))
}

pub(super) async fn of_systems(
    connection: &mut AsyncPgConnection,
    systems: &[SystemId],
) -> Result<Vec<Client>, Failure> {
    let rows: Vec<ClientRow> = clients("c.server_id = ANY(?::numeric[])")
        .bind(ids(systems))
        .load(connection)
        .await?;
    Ok(rows.into_iter().map(client).collect())
}

/// Remembers where a JID was found.
pub(super) async fn remember_jid(
    connection: &mut AsyncPgConnection,
    systems: &[SystemId],
    jid: &str,
) -> Result<(), Failure> {
    make_rows(connection, systems).await?;
    statement::<()>("UPDATE osa_push SET jabber_id = ? WHERE server_id = ANY(?) AND jabber_id IS DISTINCT FROM ?")
        .bind(jid)
        .bind(ids(systems))
        .bind(jid)
        .execute(connection)
        .await?;
    Ok(())
}

/// Remembers every JID there is.
pub(super) async fn remember_all_jids(connection: &mut AsyncPgConnection) -> Result<(), Failure> {
    let is_bigint = is_bigint("c.server_id");
    statement::<()>(format!(
        "INSERT INTO osa_push (server_id, jabber_id) SELECT c.server_id::bigint, c.jabber_id \
         FROM rhnPushClient c JOIN rhnServer s ON s.id = c.server_id WHERE c.jabber_id IS NOT NULL AND {is_bigint} \
           AND NOT EXISTS (SELECT 1 FROM osa_push p WHERE p.server_id = c.server_id::bigint)"
    ))
    .execute(connection)
    .await?;
    statement::<()>(format!(
        "UPDATE osa_push p SET jabber_id = c.jabber_id FROM rhnPushClient c \
         WHERE c.server_id::bigint = p.server_id AND {is_bigint} AND p.jabber_id IS DISTINCT FROM c.jabber_id"
    ))
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives each of these systems that exists its own row. Two nodes may do so at once; one of them begins anew then.
pub(super) async fn make_rows(connection: &mut AsyncPgConnection, systems: &[SystemId]) -> Result<(), Failure> {
    statement::<()>(
        "INSERT INTO osa_push (server_id) SELECT s.id::bigint FROM rhnServer s WHERE s.id = ANY(?::numeric[]) \
           AND NOT EXISTS (SELECT 1 FROM osa_push p WHERE p.server_id = s.id::bigint)",
    )
    .bind(ids(systems))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) fn client((system, name, shared_key, jid, announced): ClientRow) -> Client {
    Client {
        system: SystemId(system),
        name: ClientName(name),
        shared_key: Secret::new(shared_key),
        jid,
        announced,
    }
}
