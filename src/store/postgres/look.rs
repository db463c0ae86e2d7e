//! Asking the database what [`Watch`](super::watch::Watch) wants to know.

use std::time::Instant;

use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::PostgresStore;
use super::failure::Failure;
use super::pool::Access;
use super::statement::{ids, statement};
use super::work::VERSION;
use crate::domain::ids::SystemId;
use crate::domain::push::changes::Changes;
use crate::ports::store::StoreError;

/// Ids above the watermark that are taken in at once.
const IDS_MAX: i64 = 50_000;

impl PostgresStore {
    /// Everything that changed, as far as it is time to know.
    pub(super) async fn look(&self) -> Result<Changes, StoreError> {
        let notified = self.take_notified();
        let mut systems = self.new_actions().await?;
        systems.extend(self.moved_actions().await?);
        systems.sort_unstable();
        systems.dedup();
        let (renewed, pinged) = self.renewed_clients(notified).await?;
        Ok(Changes {
            systems,
            renewed,
            pinged,
        })
    }

    async fn new_actions(&self) -> Result<Vec<SystemId>, StoreError> {
        let watermark = self.watch().watermark();
        let ids = self
            .run(Access::Read, move |connection| {
                Box::pin(actions_above(connection, watermark))
            })
            .await?;
        let asked = self.watch().actions_seen(&ids, Instant::now());
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = asked.clone();
        let rows = self
            .run(Access::Read, move |connection| {
                Box::pin(systems_of(connection, wanted.clone()))
            })
            .await?;
        Ok(self.watch().actions_counted(&asked, &rows, Instant::now()))
    }

    async fn moved_actions(&self) -> Result<Vec<SystemId>, StoreError> {
        let began = Instant::now();
        let asked = self.watch().next_sweep(began);
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = asked.clone();
        let marks = self
            .run(Access::Read, move |connection| {
                Box::pin(marks_of(connection, wanted.clone()))
            })
            .await?;
        Ok(self.watch().swept(&asked, &marks, began, Instant::now()))
    }

    async fn renewed_clients(&self, notified: bool) -> Result<(Vec<SystemId>, Vec<SystemId>), StoreError> {
        let Some(known) = self.watch().next_clients(notified, Instant::now()) else {
            return Ok((Vec::new(), Vec::new()));
        };
        let catalog = self.catalog.clone();
        let (rows, pinged) = self
            .run(Access::WriteLoosely, move |connection| {
                let (known, offline) = (known.clone(), catalog.offline);
                let online = catalog.online;
                Box::pin(async move {
                    let connected: Vec<SystemId> = known.iter().map(|(system, ..)| *system).collect();
                    let pinged = take_pings(connection, &connected, online).await?;
                    end_pings(connection, &connected, online, offline).await?;
                    Ok((other_clients(connection, known).await?, pinged))
                })
            })
            .await?;
        Ok((self.watch().clients_seen(rows), pinged))
    }
}

/// The newest action there is.
pub(super) async fn newest_action(connection: &mut AsyncPgConnection) -> Result<i64, Failure> {
    let (newest,) = statement::<(BigInt,)>("SELECT coalesce(max(id), 0)::bigint FROM rhnAction")
        .get_result::<(i64,)>(connection)
        .await?;
    Ok(newest)
}

async fn actions_above(connection: &mut AsyncPgConnection, watermark: i64) -> Result<Vec<i64>, Failure> {
    let rows: Vec<(i64,)> =
        statement::<(BigInt,)>("SELECT id::bigint FROM rhnAction WHERE id > ?::numeric ORDER BY id LIMIT ?")
            .bind(watermark)
            .bind(IDS_MAX)
            .load(connection)
            .await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

async fn systems_of(connection: &mut AsyncPgConnection, actions: Vec<i64>) -> Result<Vec<(i64, i64)>, Failure> {
    Ok(statement::<(BigInt, BigInt)>(
        "SELECT action_id::bigint, server_id::bigint FROM rhnServerAction \
         WHERE action_id = ANY(?::numeric[]) AND status IN (0, 1)",
    )
    .bind(actions)
    .load(connection)
    .await?)
}

/// A number for each system that is another one when a pending row of it is.
async fn marks_of(connection: &mut AsyncPgConnection, systems: Vec<SystemId>) -> Result<Vec<(i64, i64)>, Failure> {
    Ok(statement::<(BigInt, BigInt)>(format!(
        "SELECT sa.server_id::bigint, \
           sum(hashtext(sa.action_id::text || ' ' || {VERSION} || ' ' || a.earliest_action::text))::bigint \
         FROM rhnServerAction sa JOIN rhnAction a ON a.id = sa.action_id \
         WHERE sa.server_id = ANY(?::numeric[]) AND sa.status IN (0, 1) GROUP BY sa.server_id"
    ))
    .bind(ids(&systems))
    .load(connection)
    .await?)
}

/// Pings that the Satellite asks for and nobody has taken on; from now on their answers are awaited.
async fn take_pings(
    connection: &mut AsyncPgConnection,
    connected: &[SystemId],
    online: i64,
) -> Result<Vec<SystemId>, Failure> {
    let rows: Vec<(i64,)> = statement::<(BigInt,)>(
        "UPDATE rhnPushClient SET next_action_time = now() + interval '60 seconds' \
         WHERE server_id = ANY(?::numeric[]) AND state_id = ?::numeric AND last_ping_time IS NOT NULL \
           AND next_action_time IS NULL RETURNING server_id::bigint",
    )
    .bind(ids(connected))
    .bind(online)
    .load(connection)
    .await?;
    Ok(rows.into_iter().map(|(system,)| SystemId(system)).collect())
}

/// Shows systems that did not answer such a ping offline; compatibility contract, statement D6.
async fn end_pings(
    connection: &mut AsyncPgConnection,
    connected: &[SystemId],
    online: i64,
    offline: i64,
) -> Result<(), Failure> {
    statement::<()>(
        "UPDATE rhnPushClient SET state_id = ?::numeric WHERE server_id = ANY(?::numeric[]) \
           AND state_id = ?::numeric AND last_ping_time IS NOT NULL AND next_action_time < now()",
    )
    .bind(offline)
    .bind(ids(connected))
    .bind(online)
    .execute(connection)
    .await?;
    Ok(())
}

async fn other_clients(
    connection: &mut AsyncPgConnection,
    known: Vec<(SystemId, String, String)>,
) -> Result<Vec<(i64, String, String)>, Failure> {
    let systems: Vec<i64> = known.iter().map(|(system, ..)| system.0).collect();
    let (names, jids): (Vec<String>, Vec<String>) = known.into_iter().map(|(_, name, jid)| (name, jid)).unzip();
    Ok(statement::<(BigInt, Text, Text)>(
        "SELECT c.server_id::bigint, c.name, coalesce(c.jabber_id, '') \
         FROM (SELECT unnest(?) AS server_id, unnest(?) AS name, unnest(?) AS jabber_id) v \
         JOIN rhnPushClient c ON c.server_id = v.server_id::numeric \
         WHERE c.name <> v.name OR coalesce(c.jabber_id, '') <> v.jabber_id",
    )
    .bind(systems)
    .bind(names)
    .bind(jids)
    .load(connection)
    .await?)
}
