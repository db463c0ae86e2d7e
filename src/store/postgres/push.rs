//! What the poller and the sessions read and write.

use std::sync::Arc;

use async_trait::async_trait;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::PostgresStore;
use super::claim::{self, Lease};
use super::client;
use super::failure::Failure;
use super::look;
use super::node::Node;
use super::pool::Access;
use super::presence::{self, Shown};
use super::record;
use super::requests;
use super::slots;
use super::statement::statement;
use super::work;
use crate::domain::ids::{ClientName, Incarnation, SystemId};
use crate::domain::push::action::SystemWork;
use crate::domain::push::changes::Changes;
use crate::domain::push::client::Client;
use crate::domain::push::request::{Claim, ClaimOutcome, Entry, PushRecord, Step};
use crate::domain::time::Timestamp;
use crate::ports::push::{PushStore, Standing};
use crate::ports::store::StoreError;

/// Rows removed in one transaction; bounds how long others wait for what it holds.
const PRUNE_BATCH: usize = 1_000;

#[async_trait]
impl PushStore for PostgresStore {
    async fn start_node(&self, node: &str, now: Timestamp) -> Result<Incarnation, StoreError> {
        let (node, catalog) = (node.to_owned(), Arc::clone(&self.catalog));
        let started = self
            .run(Access::Write, move |connection| {
                let (name, catalog) = (node.clone(), Arc::clone(&catalog));
                Box::pin(async move {
                    let node = Node::start(connection, name, now).await?;
                    presence::show(connection, &catalog, now).await?;
                    Ok(node)
                })
            })
            .await?;
        let incarnation = started.incarnation;
        *self.node() = Some(started);
        Ok(incarnation)
    }

    fn incarnation(&self) -> Option<Incarnation> {
        self.node().as_ref().map(|node| node.incarnation)
    }

    async fn clients_by_jid(&self, jid: &str) -> Result<Vec<Client>, StoreError> {
        let wanted = jid.to_owned();
        let known = self.run(Access::ReadOne, move |connection| {
            let jid = wanted.clone();
            Box::pin(async move { client::by_known_jid(connection, &jid).await })
        });
        let known = known.await?;
        if !known.is_empty() {
            return Ok(known);
        }
        let wanted = jid.to_owned();
        let clients = self.run(Access::ReadOne, move |connection| {
            let jid = wanted.clone();
            Box::pin(async move { client::by_jid(connection, &jid).await })
        });
        let clients = clients.await?;
        if !clients.is_empty() {
            let systems: Vec<SystemId> = clients.iter().map(|client| client.system).collect();
            let jid = jid.to_owned();
            let remembered = self.run(Access::WriteLoosely, move |connection| {
                let (systems, jid) = (systems.clone(), jid.clone());
                Box::pin(async move { client::remember_jid(connection, &systems, &jid).await })
            });
            // Without it the next look takes longer, no more.
            let _ = remembered.await;
        }
        Ok(clients)
    }

    async fn client_by_name(&self, name: &ClientName) -> Result<Option<Client>, StoreError> {
        let name = name.clone();
        self.run(Access::ReadOne, move |connection| {
            let name = name.clone();
            Box::pin(async move { client::by_name(connection, &name).await })
        })
        .await
    }

    async fn client_of_system(&self, system: SystemId) -> Result<Option<Client>, StoreError> {
        self.run(Access::ReadOne, move |connection| {
            Box::pin(async move { Ok(client::of_systems(connection, &[system]).await?.pop()) })
        })
        .await
    }

    async fn push_records(&self, systems: &[SystemId]) -> Result<Vec<(PushRecord, SystemWork)>, StoreError> {
        let (systems, catalog) = (systems.to_vec(), Arc::clone(&self.catalog));
        let (records, marks) = self
            .run(Access::Read, move |connection| {
                let (systems, catalog) = (systems.clone(), Arc::clone(&catalog));
                Box::pin(async move {
                    let records = requests::push_records(connection, &catalog, &systems).await?;
                    Ok((records, look::marks_of(connection, systems).await?))
                })
            })
            .await?;
        let opened = records.iter().map(|(_, work): &(PushRecord, SystemWork)| work.system);
        self.watch().opened(opened, &marks);
        Ok(records)
    }

    async fn changed_systems(&self) -> Result<Changes, StoreError> {
        self.look().await
    }

    async fn work(&self, systems: &[SystemId]) -> Result<Vec<SystemWork>, StoreError> {
        let (systems, catalog) = (systems.to_vec(), Arc::clone(&self.catalog));
        self.run(Access::ReadOne, move |connection| {
            let (systems, catalog) = (systems.clone(), Arc::clone(&catalog));
            Box::pin(async move { work::work(connection, &catalog, &systems).await })
        })
        .await
    }

    async fn claim(
        &self,
        claims: &[Claim],
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<ClaimOutcome>, StoreError> {
        let (claims, slots) = (claims.to_vec(), self.slots);
        let lease = Lease {
            node: self.own_number(),
            until: lease_until,
            now,
        };
        // A claim that a crash of the server takes back is made again.
        self.run(Access::RecordLoosely, move |connection| {
            let claims = claims.clone();
            Box::pin(async move {
                let free = match slots {
                    Some(slots) => Some(slots::free_slots(connection, slots, now).await?),
                    None => None,
                };
                claim::claim(connection, &claims, lease, free).await
            })
        })
        .await
    }

    /// What people see of it, in `rhnPushClient`, is written after it; if that fails, it is made good by
    /// [`PushStore::settle_presence`].
    async fn record(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let (node, shown) = (self.own_number(), Shown::of(entries));
        let steps = entries.to_vec();
        self.run(Access::Record, move |connection| {
            let entries = steps.clone();
            Box::pin(async move {
                let systems: Vec<SystemId> = entries.iter().map(|entry| entry.system).collect();
                client::make_rows(connection, &systems).await?;
                record::apply(connection, &entries, node).await
            })
        })
        .await?;
        for entry in entries {
            if let Step::Online(online) = entry.step {
                self.watch().set_connected(entry.system, online);
            }
        }
        self.show(shown).await;
        Ok(())
    }

    /// Every record is on the disk when it returns.
    async fn make_durable(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn settle_presence(&self, connected: &[(SystemId, bool)], now: Timestamp) -> Result<Standing, StoreError> {
        let all: Vec<SystemId> = connected.iter().map(|(system, _)| *system).collect();
        self.watch().set_all_connected(&all);
        let responsive = connected.iter().filter(|(_, responsive)| *responsive);
        let online: Vec<SystemId> = responsive.map(|(system, _)| *system).collect();
        let standing = self.declare(online, now).await?;
        let catalog = Arc::clone(&self.catalog);
        self.run(Access::WriteLoosely, move |connection| {
            let catalog = Arc::clone(&catalog);
            Box::pin(async move { presence::show(connection, &catalog, now).await })
        })
        .await?;
        Ok(standing)
    }

    async fn prune(&self, cutoff: Timestamp) -> Result<usize, StoreError> {
        self.run(Access::WriteLoosely, |connection| {
            Box::pin(client::remember_all_jids(connection))
        })
        .await?;
        let mut requests = 0;
        loop {
            let (pruned, others) = self
                .run(Access::WriteLoosely, move |connection| {
                    Box::pin(prune(connection, cutoff))
                })
                .await?;
            requests += pruned;
            if pruned < PRUNE_BATCH && others < PRUNE_BATCH {
                return Ok(requests);
            }
        }
    }
}

impl PostgresStore {
    /// Says that this node lives, and who is connected to it.
    async fn declare(&self, online: Vec<SystemId>, now: Timestamp) -> Result<Standing, StoreError> {
        let Some(node) = self.node().clone() else {
            return Ok(Standing::Current);
        };
        let label = self.label().clone();
        let declared = self.run(Access::Write, move |connection| {
            let (node, online, label) = (node.clone(), online.clone(), label.clone());
            Box::pin(async move {
                let (node, standing) = node.stay(connection, &label, now).await?;
                presence::declare(connection, node.incarnation, &online).await?;
                Ok((node, standing))
            })
        });
        let (node, standing) = declared.await?;
        *self.node() = Some(node);
        Ok(standing)
    }

    async fn show(&self, shown: Shown) {
        if shown.is_empty() {
            return;
        }
        let catalog = Arc::clone(&self.catalog);
        let written = self.run(Access::RecordLoosely, move |connection| {
            let (shown, catalog) = (shown.clone(), Arc::clone(&catalog));
            Box::pin(async move { shown.write(connection, &catalog).await })
        });
        if let Err(error) = written.await {
            tracing::warn!(event = "presence_not_shown", error = %error, "shown within a minute");
        }
    }
}

/// Removes some of what is old and settled, and of what belongs to systems that are gone; how many requests, and how
/// many other rows at most of one kind.
async fn prune(connection: &mut AsyncPgConnection, cutoff: Timestamp) -> Result<(usize, usize), Failure> {
    const GONE: &str = "NOT EXISTS (SELECT 1 FROM rhnServer s WHERE s.id = p.server_id::numeric)";
    let batch = i64::try_from(PRUNE_BATCH).unwrap_or(i64::MAX);
    let requests = statement::<()>(
        "DELETE FROM osa_request WHERE (server_id, number) IN (SELECT r.server_id, r.number FROM osa_request r \
           WHERE r.ended_at < ? AND NOT EXISTS (SELECT 1 FROM osa_request_action c JOIN rhnServerAction sa \
             ON sa.server_id = c.server_id::numeric AND sa.action_id = c.action_id::numeric AND sa.status IN (0, 1) \
             WHERE c.server_id = r.server_id AND c.number = r.number) LIMIT ?)",
    )
    .bind(cutoff)
    .bind(batch)
    .execute(connection)
    .await?;
    let runs = statement::<()>(
        "DELETE FROM osa_run WHERE (server_id, run_id) IN (SELECT run.server_id, run.run_id FROM osa_run run \
           WHERE run.recorded_at < ? AND NOT EXISTS (SELECT 1 FROM osa_request r \
             WHERE r.server_id = run.server_id AND r.run_id = run.run_id) LIMIT ?)",
    )
    .bind(cutoff)
    .bind(batch)
    .execute(connection)
    .await?;
    let mut gone = 0;
    for table in ["osa_request", "osa_run", "osa_push"] {
        gone = gone.max(
            statement::<()>(format!(
                "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT p.ctid FROM {table} p WHERE {GONE} LIMIT ?))"
            ))
            .bind(batch)
            .execute(connection)
            .await?,
        );
    }
    statement::<()>(
        "DELETE FROM osa_node WHERE alive_at < ? AND incarnation < (SELECT max(n.incarnation) FROM osa_node n)",
    )
    .bind(cutoff)
    .execute(connection)
    .await?;
    Ok((requests, runs.max(gone)))
}
