//! The Satellite's own PostgreSQL.
//!
//! ```text
//!   use case ──► waiting room ──► connections (one thread drives all) ──► rhn* (read), rhnPushClient, osa_*
//!   triggers, if installed ──► LISTEN, on its own connection ──► Hints, Notify ──► changed_systems
//! ```
//!
//! Nothing of the Satellite's is altered: `rhnAction` and `rhnServerAction` are never written, `rhnPushClient` and
//! `rhnPushDispatcher` in their documented columns only, and no row of an `rhn*` table is locked beyond that. Own tables
//! are made by [`administration::migrate`] only. All statements are understood by PostgreSQL 9.2: update, then insert.

mod accounts;
pub mod administration;
mod catalog;
mod claim;
mod client;
mod clock;
mod connect;
mod dispatchers;
mod failure;
mod hinted;
mod hints;
mod inventory;
mod listen;
mod look;
mod migrations;
mod node;
mod options;
mod pool;
mod presence;
mod push;
mod record;
mod registrations;
mod requests;
mod slots;
mod statement;
mod tls;
mod upstream;
mod watch;
mod work;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diesel_async::AsyncPgConnection;
use tokio::sync::Notify;

use self::catalog::Catalog;
use self::connect::Connector;
use self::failure::Failure;
use self::hints::Hints;
use self::listen::Ear;
use self::migrations::Schema;
use self::node::Node;
use self::pool::{Access, Pool, Work};
use self::slots::Slots;
use self::watch::Watch;
use crate::domain::ids::Incarnation;
use crate::ports::store::{DatabaseLabel, StoreError};
pub use clock::DatabaseClock;
pub use migrations::Triggers;
pub use options::{PORT, PostgresOptions, ServerAddress, SslMode};

/// The database of a Satellite.
pub struct PostgresStore {
    pool: Arc<Pool>,
    catalog: Arc<Catalog>,
    /// `None` is unlimited.
    slots: Option<Slots>,
    watch: Arc<Mutex<Watch>>,
    /// This start of this node, once it has begun.
    node: Mutex<Option<Node>>,
    ear: Ear,
    triggers: Triggers,
}

impl PostgresStore {
    /// Opens the database of a Satellite for a dispatcher or a command. Makes and alters nothing.
    ///
    /// # Errors
    /// [`StoreError::Unmigrated`], [`StoreError::Newer`], [`StoreError::NotSatellite`], and why there is no connection.
    pub async fn open(options: &PostgresOptions) -> Result<Self, StoreError> {
        let connector = Connector::new(options)?;
        let pool = Arc::new(Pool::start(connector, options.connections, options.deadline)?);
        let (label, entitlements) = (options.label(), options.entitlements.clone());
        let (catalog, newest, triggers) = pool
            .run(Access::Read, move |connection| {
                Box::pin(survey(connection, label.clone(), entitlements.clone()))
            })
            .await?;
        let ear = Ear::default();
        pool.runtime()
            .spawn(listen::listen(pool.connector().clone(), ear.clone()));
        Ok(Self {
            pool,
            catalog: Arc::new(catalog),
            slots: options.notify_threshold.map(|threshold| Slots {
                threshold,
                age: options.slot_age,
                after_answer: options.answer_slot,
            }),
            watch: Arc::new(Mutex::new(Watch::starting_at(newest))),
            node: Mutex::default(),
            ear,
            triggers,
        })
    }

    /// Wakes when the Satellite's tables tell of a change; only with the triggers of
    /// [`administration::install_notify`].
    pub fn changes(&self) -> Arc<Notify> {
        Arc::clone(&self.ear.changed)
    }

    /// The triggers as they were when the database was opened.
    pub fn triggers(&self) -> Triggers {
        self.triggers
    }

    /// The clock that decides what is due.
    pub fn clock(&self) -> Arc<DatabaseClock> {
        Arc::clone(&self.pool.connector().clock)
    }

    /// The database as messages name it.
    pub fn label(&self) -> &DatabaseLabel {
        &self.pool.connector().label
    }

    async fn run<T: Send + 'static>(
        &self,
        access: Access,
        use_case: impl for<'c> Fn(&'c mut AsyncPgConnection) -> Work<'c, T> + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        self.pool.run(access, use_case).await
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        locked(&self.watch)
    }

    fn node(&self) -> MutexGuard<'_, Option<Node>> {
        // It is replaced as a whole.
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of this start; 0 until it has begun.
    fn own_number(&self) -> Incarnation {
        self.node().as_ref().map_or(Incarnation(0), |node| node.incarnation)
    }

    fn take_hints(&self) -> Hints {
        self.ear.take_hints()
    }
}

fn locked<T>(hints: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is remembered are hints; a panic in between makes none of them worse.
    hints.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn survey(
    connection: &mut AsyncPgConnection,
    label: DatabaseLabel,
    entitlements: Vec<String>,
) -> Result<(Catalog, i64, Triggers), Failure> {
    let catalog = Catalog::read(connection, &entitlements, &label).await?;
    let schema = migrations::schema(connection).await?;
    schema.refuse(&label)?;
    if schema == Schema::Behind {
        return Err(StoreError::Unmigrated(label).into());
    }
    let newest = look::newest_action(connection).await?;
    Ok((catalog, newest, migrations::triggers(connection).await?))
}
