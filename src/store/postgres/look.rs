//! Asking the database what [`Watch`](super::watch::Watch) wants to know.

use std::sync::Arc;
use std::time::Instant;

use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::failure::Failure;
use super::hints::Hints;
use super::pool::{Access, Pool};
use super::statement::{ids, is_bigint, statement};
use super::work::VERSION;
use super::{PostgresStore, Triggers, locked};
use crate::domain::ids::SystemId;
use crate::domain::push::changes::Changes;
use crate::ports::store::StoreError;

/// Ids above the watermark that are taken in at once.
const IDS_MAX: i64 = 50_000;

impl PostgresStore {
    /// Everything that changed, as far as it is time to know.
    pub(super) async fn look(&self) -> Result<Changes, StoreError> {
        let hints = self.take_hints();
        self.watch().hint(&hints);
        // While triggers are silent nothing new is there.
        let is_silent = hints == Hints::default() && self.triggers == Triggers::Present;
        self.look_at_actions(is_silent || hints.say_where()).await?;
        self.compare_hinted().await?;
        self.compare_next();
        let (renewed, pinged) = self.look_at_clients().await?;
        self.wake_for_what_is_left();
        Ok(Changes {
            systems: self.watch().take_changed(),
            renewed,
            pinged,
        })
    }

    /// New actions, and those that triggers named; `are_named` if there are no others.
    async fn look_at_actions(&self, are_named: bool) -> Result<(), StoreError> {
        let watermark = self.watch().watermark();
        let mut ids = Vec::new();
        if self.watch().wants_ids(are_named, Instant::now()) {
            let above = self.run(Access::ReadOne, move |connection| {
                Box::pin(actions_above(connection, watermark))
            });
            ids = above.await?;
        }
        let hinted = self.watch().hinted.take_actions();
        ids.extend(hinted.iter().filter(|id| **id > watermark));
        let mut asked = self.watch().actions_seen(&ids, Instant::now());
        asked.extend(&hinted);
        asked.sort_unstable();
        asked.dedup();
        if asked.is_empty() {
            return Ok(());
        }
        let wanted = asked.clone();
        let rows = self.run(Access::ReadOne, move |connection| {
            Box::pin(systems_of(connection, wanted.clone()))
        });
        let rows = rows.await.inspect_err(|_| {
            self.watch().hinted.put_actions_back(hinted.clone());
        })?;
        let mut watch = self.watch();
        let new = watch.actions_counted(&asked, &rows, Instant::now());
        watch.named(new);
        let named = rows.iter().filter(|(action, _)| hinted.binary_search(action).is_ok());
        watch.named(named.map(|(_, system)| SystemId(*system)));
        Ok(())
    }

    /// The pending rows of systems that triggers named.
    async fn compare_hinted(&self) -> Result<(), StoreError> {
        let began = Instant::now();
        let asked = self.watch().hinted.take_systems(began);
        if asked.is_empty() {
            return Ok(());
        }
        let marks = marks(&self.pool, &asked).await.inspect_err(|_| {
            self.watch().hinted.put_systems_back(asked.clone());
        })?;
        let mut watch = self.watch();
        watch.hinted.looked(began, Instant::now());
        let changed = watch.compared(&asked, &marks);
        watch.changed(changed);
        Ok(())
    }

    /// The pending rows of the systems whose turn it is, beside everything else: it takes longer than a push. Who asks
    /// next is told.
    fn compare_next(&self) {
        let began = Instant::now();
        let asked = self.watch().next_sweep(began);
        if asked.is_empty() {
            return;
        }
        let (pool, watch, changes) = (Arc::clone(&self.pool), Arc::clone(&self.watch), self.changes());
        self.pool.runtime().spawn(async move {
            // What fails here fails for whoever looks, too, and people are told there; reconciliation does without it.
            let marks = marks(&pool, &asked).await.inspect_err(|error| {
                tracing::debug!(event = "store_operation_failed", operation = "sweep", error = %error);
            });
            let mut watch = locked(&watch);
            let changed = watch.swept(&asked, marks.ok().as_deref(), began, Instant::now());
            if !changed.is_empty() {
                watch.changed(changed);
                changes.notify_one();
            }
        });
    }

    async fn look_at_clients(&self) -> Result<(Vec<SystemId>, Vec<SystemId>), StoreError> {
        let began = Instant::now();
        let (known, is_named) = self.watch().next_clients(began);
        if known.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
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
        let mut watch = self.watch();
        if is_named {
            watch.hinted.looked(began, Instant::now());
        }
        Ok((watch.clients_seen(rows), pinged))
    }

    /// What triggers named is not left to the next tick.
    fn wake_for_what_is_left(&self) {
        let Some(at) = self.watch().hinted.next_wake(Instant::now()) else {
            return;
        };
        let changed = self.changes();
        self.pool.runtime().spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            changed.notify_one();
        });
    }
}

async fn marks(pool: &Pool, systems: &[SystemId]) -> Result<Vec<(i64, i64)>, StoreError> {
    let wanted = systems.to_vec();
    pool.run(Access::ReadOne, move |connection| {
        Box::pin(marks_of(connection, wanted.clone()))
    })
    .await
}

/// The newest action there is.
pub(super) async fn newest_action(connection: &mut AsyncPgConnection) -> Result<i64, Failure> {
    let newest = format!(
        "SELECT coalesce(max(id), 0)::bigint FROM rhnAction WHERE {}",
        is_bigint("id")
    );
    let (newest,) = statement::<(BigInt,)>(newest).get_result::<(i64,)>(connection).await?;
    Ok(newest)
}

async fn actions_above(connection: &mut AsyncPgConnection, watermark: i64) -> Result<Vec<i64>, Failure> {
    let above = "SELECT id::bigint FROM rhnAction WHERE id > ?::numeric";
    let rows: Vec<(i64,)> = statement::<(BigInt,)>(format!("{above} AND {} ORDER BY id LIMIT ?", is_bigint("id")))
        .bind(watermark)
        .bind(IDS_MAX)
        .load(connection)
        .await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

async fn systems_of(connection: &mut AsyncPgConnection, actions: Vec<i64>) -> Result<Vec<(i64, i64)>, Failure> {
    Ok(statement::<(BigInt, BigInt)>(format!(
        "SELECT action_id::bigint, server_id::bigint FROM rhnServerAction \
         WHERE action_id = ANY(?::numeric[]) AND status IN (0, 1) AND {}",
        is_bigint("server_id")
    ))
    .bind(actions)
    .load(connection)
    .await?)
}

/// A number for each system that is another one when a pending row of it is.
pub(super) async fn marks_of(
    connection: &mut AsyncPgConnection,
    systems: Vec<SystemId>,
) -> Result<Vec<(i64, i64)>, Failure> {
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
