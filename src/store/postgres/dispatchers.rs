//! `rhnPushDispatcher`: the dispatchers that the Satellite tells its clients, at each of their registrations.
//!
//! Source: compatibility contract, sections 2.2, 3.1 and 3.4.

use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::PostgresStore;
use super::failure::Failure;
use super::pool::Access;
use super::statement::statement;
use super::work::millis;
use crate::domain::dispatcher_rows::DispatcherRow;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::ports::store::StoreError;

/// Rows read at most; a Satellite has one for each name it ever had.
const ROWS_MAX: i64 = 1_000;
/// What schemas with a column `port` are given: the first one that old dispatchers took. Nobody connects to it.
const PORT: i64 = 1_290;

impl PostgresStore {
    /// All dispatchers that clients are told.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn dispatchers(&self) -> Result<Vec<DispatcherRow>, StoreError> {
        self.run(Access::Read, |connection| Box::pin(dispatchers(connection)))
            .await
    }

    /// Says that this dispatcher is there, under its full JID. A password that is there stays, for the dispatcher that
    /// came with the Satellite; `password` is for a row that has none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn check_in_dispatcher(&self, jid: &str, hostname: &str, password: &Secret) -> Result<(), StoreError> {
        let row = (jid.to_owned(), hostname.to_owned(), password.clone());
        let has_port = self.catalog.has_dispatcher_port;
        self.run(Access::Write, move |connection| {
            let row = row.clone();
            Box::pin(async move { check_in(connection, &row, has_port).await })
        })
        .await
    }
}

pub(super) async fn dispatchers(connection: &mut AsyncPgConnection) -> Result<Vec<DispatcherRow>, Failure> {
    let last_checkin = millis("last_checkin");
    let rows: Vec<(String, String, i64)> = statement::<(Text, Text, BigInt)>(format!(
        "SELECT jabber_id, hostname, {last_checkin} FROM rhnPushDispatcher ORDER BY id LIMIT {ROWS_MAX}"
    ))
    .load(connection)
    .await?;
    let row = |(jid, hostname, last_checkin)| DispatcherRow {
        jid,
        hostname,
        last_checkin: Timestamp::from_millis(last_checkin),
    };
    Ok(rows.into_iter().map(row).collect())
}

/// Whether the row was there, as it was read.
pub(super) async fn remove(connection: &mut AsyncPgConnection, row: &DispatcherRow) -> Result<bool, Failure> {
    let removed = statement::<()>(format!(
        "DELETE FROM rhnPushDispatcher WHERE jabber_id = ? AND {} = ?",
        millis("last_checkin")
    ))
    .bind(row.jid.as_str())
    .bind(row.last_checkin.as_millis())
    .execute(connection)
    .await?;
    Ok(removed > 0)
}

/// Updates, then inserts; another node that inserts in between makes this begin anew.
async fn check_in(
    connection: &mut AsyncPgConnection,
    (jid, hostname, password): &(String, String, Secret),
    has_port: bool,
) -> Result<(), Failure> {
    let updated = statement::<()>(
        "UPDATE rhnPushDispatcher SET last_checkin = current_timestamp, hostname = ?, password = coalesce(password, ?) \
         WHERE jabber_id = ?",
    )
    .bind(hostname.as_str())
    .bind(password.expose())
    .bind(jid.as_str())
    .execute(connection)
    .await?;
    if updated > 0 {
        return Ok(());
    }
    insert(connection, (jid, hostname, password), has_port).await
}

/// Makes a row.
pub(super) async fn insert(
    connection: &mut AsyncPgConnection,
    (jid, hostname, password): (&str, &str, &Secret),
    has_port: bool,
) -> Result<(), Failure> {
    let (column, port) = match has_port {
        true => (", port", format!(", {PORT}")),
        false => ("", String::new()),
    };
    statement::<()>(format!(
        "INSERT INTO rhnPushDispatcher (id, jabber_id, last_checkin, hostname, password{column}) \
         VALUES (nextval('rhn_pushdispatch_id_seq'), ?, current_timestamp, ?, ?{port})"
    ))
    .bind(jid)
    .bind(hostname)
    .bind(password.expose())
    .execute(connection)
    .await?;
    Ok(())
}
