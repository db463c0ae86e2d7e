//! What the poller and the sessions read and write.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use diesel::sql_types::BigInt;
use diesel::{ExpressionMethods, QueryResult, RunQueryDsl, SqliteConnection};

use super::SqliteStore;
use super::claim::{self, Lease};
use super::connection;
use super::failure::Failure;
use super::record;
use super::requests;
use super::schema::{OFFLINE, ONLINE, osa_node, rhn_push_client};
use super::statement::{json_list, statement};
use super::work;
use crate::domain::ids::{ClientName, Incarnation, SystemId};
use crate::domain::push::action::SystemWork;
use crate::domain::push::changes::Changes;
use crate::domain::push::client::Client;
use crate::domain::push::request::{Claim, ClaimOutcome, Entry, LossReason, PushRecord};
use crate::domain::time::Timestamp;
use crate::ports::push::{PushStore, Standing};
use crate::ports::store::StoreError;
use crate::store::label;

/// Rows removed in one transaction; bounds how long claims wait for the writer.
const PRUNE_BATCH: usize = 1_000;

#[async_trait]
impl PushStore for SqliteStore {
    async fn start_node(&self, node: &str, now: Timestamp) -> Result<Incarnation, StoreError> {
        let node = node.to_owned();
        let started = self.write_durably(move |connection| Ok(start_node(connection, &node, now)?));
        let incarnation = started.await?;
        self.incarnation.store(incarnation.0, Ordering::Release);
        Ok(incarnation)
    }

    fn incarnation(&self) -> Option<Incarnation> {
        Some(self.incarnation.load(Ordering::Acquire))
            .filter(|number| *number > 0)
            .map(Incarnation)
    }

    async fn clients_by_jid(&self, jid: &str) -> Result<Vec<Client>, StoreError> {
        let jid = jid.to_owned();
        self.read_once(move |connection| Ok(claim::clients_by_jid(connection, &jid)?))
            .await
    }

    async fn client_by_name(&self, name: &ClientName) -> Result<Option<Client>, StoreError> {
        let name = name.clone();
        self.read_once(move |connection| Ok(claim::client_by_name(connection, &name)?))
            .await
    }

    async fn client_of_system(&self, system: SystemId) -> Result<Option<Client>, StoreError> {
        self.read_once(move |connection| Ok(claim::client_of_system(connection, system)?))
            .await
    }

    async fn push_records(&self, systems: &[SystemId]) -> Result<Vec<(PushRecord, SystemWork)>, StoreError> {
        let systems = systems.to_vec();
        self.read(move |connection| requests::push_records(connection, &systems))
            .await
    }

    async fn changed_systems(&self) -> Result<Changes, StoreError> {
        let seen = self.seen.load(Ordering::Acquire);
        let changes = self
            .read_once(move |connection| {
                Ok(
                    statement::<(BigInt, BigInt)>("SELECT id, server_id FROM osa_change WHERE id > ? ORDER BY id")
                        .bind(seen)
                        .load::<(i64, i64)>(connection)?,
                )
            })
            .await?;
        // Only now: a caller that went away while waiting was told nothing.
        if let Some(&(newest, _)) = changes.last() {
            self.seen.fetch_max(newest, Ordering::AcqRel);
        }
        Ok(Changes {
            systems: changes.into_iter().map(|(_, system)| SystemId(system)).collect(),
            // Registrations go through this program, which knows by itself; nobody else asks for pings.
            ..Changes::default()
        })
    }

    async fn work(&self, systems: &[SystemId]) -> Result<Vec<SystemWork>, StoreError> {
        let systems = systems.to_vec();
        self.read(move |connection| work::work(connection, &systems)).await
    }

    async fn claim(
        &self,
        claims: &[Claim],
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<ClaimOutcome>, StoreError> {
        let claims = claims.to_vec();
        self.count_writes(claims.len());
        let lease = Lease {
            node: Incarnation(self.incarnation.load(Ordering::Acquire)),
            until: lease_until,
            now,
        };
        self.write(move |connection| {
            claims
                .iter()
                .map(|claim| claim::claim(connection, claim, lease))
                .collect()
        })
        .await
    }

    async fn record(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let entries = record::without_repetitions(entries);
        self.count_writes(entries.len());
        self.write(move |connection| entries.iter().try_for_each(|entry| record::apply(connection, entry)))
            .await
    }

    async fn make_durable(&self) -> Result<(), StoreError> {
        self.in_time(self.flusher.flushed()).await
    }

    /// Nobody comes between a start and its records: one process serves this database, and ends when its file is replaced.
    async fn settle_presence(&self, connected: &[(SystemId, bool)], now: Timestamp) -> Result<Standing, StoreError> {
        let online = json_list(
            connected
                .iter()
                .filter(|(_, answers)| *answers)
                .map(|(system, _)| system.0),
        );
        self.write(move |connection| {
            let settled = "UPDATE rhnPushClient SET state_id = ?, modified = ? WHERE state_id = ? AND server_id";
            for (from, to, is_in) in [(ONLINE, OFFLINE, "NOT IN"), (OFFLINE, ONLINE, "IN")] {
                statement::<()>(format!("{settled} {is_in} (SELECT value FROM json_each(?))"))
                    .bind(to)
                    .bind(now)
                    .bind(from)
                    .bind(online.clone())
                    .execute(connection)?;
            }
            Ok(Standing::Current)
        })
        .await
    }

    async fn prune(&self, cutoff: Timestamp) -> Result<usize, StoreError> {
        let mut requests = 0;
        loop {
            let (pruned, runs) = self.write(move |connection| Ok(prune(connection, cutoff)?)).await?;
            requests += pruned;
            if pruned < PRUNE_BATCH && runs < PRUNE_BATCH {
                break;
            }
        }
        let path = self.path.clone();
        let shrunk = self.writer.run(move |connection| {
            connection::shrink(connection).map_err(|error| Failure::from(error).into_store_error(&path))
        });
        self.in_time(shrunk).await?;
        Ok(requests)
    }
}

/// One process serves this database, so whatever older incarnation had claimed or sent is void, whatever its name.
///
/// Numbers go on from the time of the start if that is higher: after a power cut, or on a restored copy, numbers that
/// agents have seen could otherwise be given out again, and a report of then would be taken for one of now.
fn start_node(connection: &mut SqliteConnection, node: &str, now: Timestamp) -> QueryResult<Incarnation> {
    let incarnation = diesel::insert_into(osa_node::table)
        .values((osa_node::name.eq(node), osa_node::started_at.eq(now.as_millis())))
        .returning(osa_node::incarnation)
        .get_result::<i64>(connection)?;
    statement::<()>(
        "UPDATE osa_request SET state = 'lost', reason = ?, ended_at = ? \
         WHERE ended_at IS NULL AND state IN ('claimed', 'sent') AND incarnation < ?",
    )
    .bind(label::of_loss(LossReason::NodeRestarted))
    .bind(now)
    .bind(incarnation)
    .execute(connection)?;
    statement::<()>("UPDATE osa_push SET last_number = max(last_number, ?) WHERE last_number > 0")
        .bind(now.as_secs())
        .execute(connection)?;
    diesel::update(rhn_push_client::table)
        .filter(rhn_push_client::state_id.eq(ONLINE))
        .set(rhn_push_client::state_id.eq(OFFLINE))
        .execute(connection)?;
    Ok(Incarnation(incarnation))
}

/// Removes some of what is old and settled; how many requests and runs.
fn prune(connection: &mut SqliteConnection, cutoff: Timestamp) -> QueryResult<(usize, usize)> {
    let batch = i64::try_from(PRUNE_BATCH).unwrap_or(i64::MAX);
    let requests = statement::<()>(
        "DELETE FROM osa_request WHERE (server_id, number) IN (SELECT r.server_id, r.number FROM osa_request r \
           WHERE r.ended_at < ? AND NOT EXISTS (SELECT 1 FROM osa_request_action c \
             JOIN rhnServerAction sa ON sa.server_id = c.server_id AND sa.action_id = c.action_id AND sa.status < 2 \
             WHERE c.server_id = r.server_id AND c.number = r.number) LIMIT ?)",
    )
    .bind(cutoff)
    .bind(batch)
    .execute(connection)?;
    let runs = statement::<()>(
        "DELETE FROM osa_run WHERE (server_id, run_id) IN (SELECT run.server_id, run.run_id FROM osa_run run \
           WHERE run.recorded_at < ? AND NOT EXISTS (SELECT 1 FROM osa_request r \
             WHERE r.server_id = run.server_id AND r.run_id = run.run_id) LIMIT ?)",
    )
    .bind(cutoff)
    .bind(batch)
    .execute(connection)?;
    statement::<()>(
        "DELETE FROM osa_node WHERE started_at < ? AND incarnation < (SELECT max(incarnation) FROM osa_node)",
    )
    .bind(cutoff)
    .execute(connection)?;
    Ok((requests, runs))
}
