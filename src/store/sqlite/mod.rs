//! The embedded database of a standalone deployment.
//!
//! ```text
//!   use case ──► waiting room ──► writer (1 thread, 1 connection) ──► flusher, if somebody outside is told
//!            └─► waiting room ──► readers (threads, a connection each) ── also write the log back to the file
//! ```
//!
//! One process serves a database at a time; [`SqliteStore::open_for_serving`] keeps a lock for as long as it lives.

mod accounts;
mod actions;
mod claim;
mod connection;
mod durable;
mod failure;
mod file;
mod inventory;
mod push;
mod record;
mod registrations;
mod requests;
mod schema;
mod sidecars;
mod statement;
mod work;
mod workers;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use diesel::{RunQueryDsl, SqliteConnection};
use tokio::sync::Notify;

use crate::ports::store::StoreError;
use connection::Role;
use durable::Flusher;
use failure::Failure;
pub use file::Place;
use file::{Holder, Identity, Lock};
use sidecars::Sidecars;
use statement::statement;
use workers::{Connect, Workers};

/// Use cases that may wait for a connection. A herd of 10 000 agents logging in at once has to fit; each takes some
/// 200 bytes while it waits.
const WAITING_ROOM: usize = 16_384;

/// Connections that read.
const READERS: usize = 2;

/// How long a statement waits for a lock that another process holds before it is `Locked`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a use case may take, waiting included, before it is `Stalled`. Longer than any takes on a disk that works,
/// shorter than a request's lease.
const DEADLINE: Duration = Duration::from_secs(20);

/// Tries of an action unless settings say otherwise: `rhnServerAction.remaining_tries`.
const TRIES_MAX: NonZeroU32 = NonZeroU32::new(5).unwrap();

/// Rows of requests written, more or less, after which a reader copies the write-ahead log back into the file, so that
/// no writer ever has to; some 20 MB of log. The next write then waits for the disk once.
const WRITES_PER_CHECKPOINT: usize = 1_000;

/// Where the database is and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// The file; made, with its directory, if it does not exist.
    pub path: PathBuf,
    /// How often an action is tried before it fails.
    pub max_tries: NonZeroU32,
    /// How long a statement waits for another process's lock.
    pub busy_timeout: Duration,
    /// How long a use case may take, waiting included.
    pub deadline: Duration,
    /// The size the file may grow to. Units: pages of 4096 bytes; `None` leaves it to the disk.
    pub max_pages: Option<u32>,
}

impl SqliteOptions {
    /// The defaults, for a database at this path.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_tries: TRIES_MAX,
            busy_timeout: BUSY_TIMEOUT,
            deadline: DEADLINE,
            max_pages: None,
        }
    }
}

/// The database of a standalone dispatcher.
pub struct SqliteStore {
    // Closed in this order: the last connection copies the log back, and a reader may not.
    readers: Workers,
    writer: Workers,
    flusher: Flusher,
    path: PathBuf,
    deadline: Duration,
    identity: Identity,
    sidecars: Sidecars,
    max_tries: i64,
    /// The newest change that was told.
    seen: AtomicI64,
    changed: Arc<Notify>,
    writes: AtomicUsize,
    /// This start of this node; 0 until it has begun.
    incarnation: AtomicI64,
    _lock: Lock,
}

impl SqliteStore {
    /// Opens the database for the dispatcher that serves it: makes it if there is none, brings its schema up to date,
    /// and keeps every other process from opening it. Blocks; meant for the start of a program.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Newer`], [`StoreError::Damaged`], [`StoreError::Empty`],
    /// [`StoreError::StrangeLog`], [`StoreError::Locked`],
    /// [`StoreError::Full`], [`StoreError::Inaccessible`]: each says what to do.
    pub fn open_for_serving(options: &SqliteOptions) -> Result<Self, StoreError> {
        Self::open(options, Holder::Dispatcher)
    }

    /// Opens the database for a command while no dispatcher serves it.
    ///
    /// # Errors
    /// As [`SqliteStore::open_for_serving`]; [`StoreError::InUse`] means that the dispatcher is to be asked instead.
    pub fn open_for_command(options: &SqliteOptions) -> Result<Self, StoreError> {
        Self::open(options, Holder::Command)
    }

    fn open(options: &SqliteOptions, holder: Holder) -> Result<Self, StoreError> {
        let path = &options.path;
        file::prepare_directory(path)?;
        // The lock comes first: closing any descriptor of the file would drop SQLite's locks in this process.
        let lock = file::lock(path, holder)?;
        file::prepare(path)?;
        sidecars::admit(path, &lock)?;
        let mut writing = connection::open(options, Role::Writer).inspect_err(|_| file::remove_if_empty(path))?;
        connection::migrate(&mut writing, path)?;
        if holder == Holder::Dispatcher {
            connection::check(&mut writing, path)?;
        }
        let seen = newest_change(&mut writing).map_err(|failure| failure.into_store_error(path))?;
        let reading = (0..READERS)
            .map(|_| connection::open(options, Role::Reader))
            .collect::<Result<Vec<_>, _>>()?;
        let log = file::log_of(path)?;
        let identity = file::identity(path)?;
        Ok(Self {
            writer: Workers::start(
                "osa-store-write",
                vec![writing],
                WAITING_ROOM,
                &connect(options, Role::Writer),
            )?,
            readers: Workers::start("osa-store-read", reading, WAITING_ROOM, &connect(options, Role::Reader))?,
            flusher: Flusher::start(log, path, WAITING_ROOM)?,
            path: path.clone(),
            deadline: options.deadline,
            identity,
            sidecars: Sidecars::of(path)?,
            max_tries: i64::from(options.max_tries.get()),
            seen: AtomicI64::new(seen),
            changed: Arc::new(Notify::new()),
            writes: AtomicUsize::new(0),
            incarnation: AtomicI64::new(0),
            _lock: lock,
        })
    }

    /// Wakes when this process changed what [`changed_systems`] tells: at the commit, before the caller of the use
    /// case hears of it. Changes by other processes do not wake; they are found by asking.
    ///
    /// [`changed_systems`]: crate::ports::push::PushStore::changed_systems
    pub fn changes(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Whether the file that is open is still the one at its path.
    ///
    /// # Errors
    /// [`StoreError::Inaccessible`], [`StoreError::Stalled`].
    pub async fn place(&self) -> Result<Place, StoreError> {
        let (path, identity) = (self.path.clone(), self.identity);
        // Not on the caller's thread: the disk may hang.
        self.in_time(self.readers.run(move |_| file::place(&path, identity)))
            .await
    }

    /// Renames the write-ahead log of a database that was replaced, adding `label` to its name: left where it is, it would be
    /// copied into the new file. It is still written to, and complete once this store is closed.
    ///
    /// # Errors
    /// [`StoreError::Inaccessible`], [`StoreError::Stalled`].
    pub async fn set_log_aside(&self, label: String) -> Result<(), StoreError> {
        let (path, sidecars) = (self.path.clone(), self.sidecars.clone());
        self.in_time(self.readers.run(move |_| sidecars.set_aside(&path, &label)))
            .await
    }

    /// Waits no longer than the deadline. A use case that has not begun by then is left out.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let within = self.deadline;
        tokio::time::timeout(within, work).await.unwrap_or_else(|_| {
            Err(StoreError::Stalled {
                database: (&self.path).into(),
                within,
            })
        })
    }

    /// Runs a reading use case on one state of the database.
    async fn read<T: Send + 'static>(
        &self,
        use_case: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let path = self.path.clone();
        let read = self.readers.run(move |connection| {
            connection::transaction(connection, "BEGIN", use_case).map_err(|failure| failure.into_store_error(&path))
        });
        self.in_time(read).await
    }

    /// Runs a reading use case of one statement, which needs no transaction to see one state.
    async fn read_once<T: Send + 'static>(
        &self,
        use_case: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let path = self.path.clone();
        let read = self
            .readers
            .run(move |connection| use_case(connection).map_err(|failure| failure.into_store_error(&path)));
        self.in_time(read).await
    }

    /// Runs a writing use case as one transaction. It survives the end of this process, but is not yet on the disk:
    /// for what a power cut may take back because it is found out and done again.
    async fn write<T: Send + 'static>(
        &self,
        use_case: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.commit(use_case, None).await.map(|(result, _)| result)
    }

    /// Runs a writing use case whose success somebody outside is told: returns when it is on the disk.
    async fn write_durably<T: Send + 'static>(
        &self,
        use_case: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (result, _) = self.commit(use_case, None).await?;
        self.in_time(self.flusher.flushed()).await?;
        Ok(result)
    }

    /// As [`Self::write_durably`], for what [`Self::changes`] wakes for.
    async fn alter<T: Send + 'static>(
        &self,
        use_case: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.alter_timed(use_case).await.map(|(result, _)| result)
    }

    /// As [`Self::alter`]; also when it was committed.
    async fn alter_timed<T: Send + 'static>(
        &self,
        use_case: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<(T, Instant), StoreError> {
        let committed = self.commit(use_case, Some(Arc::clone(&self.changed))).await?;
        self.in_time(self.flusher.flushed()).await?;
        Ok(committed)
    }

    async fn commit<T: Send + 'static>(
        &self,
        use_case: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
        wakes: Option<Arc<Notify>>,
    ) -> Result<(T, Instant), StoreError> {
        let path = self.path.clone();
        self.count_writes(1);
        let commit = self.writer.run(move |connection| {
            let result = connection::transaction(connection, "BEGIN IMMEDIATE", use_case)
                .map_err(|failure| failure.into_store_error(&path))?;
            let committed = Instant::now();
            if let Some(changed) = wakes {
                changed.notify_one();
            }
            Ok((result, committed))
        });
        self.in_time(commit).await
    }

    fn count_writes(&self, writes: usize) {
        if self.writes.fetch_add(writes, Ordering::Relaxed) + writes < WRITES_PER_CHECKPOINT {
            return;
        }
        self.writes.store(0, Ordering::Relaxed);
        // A full waiting room, or a log in use, only puts the copying off.
        let _ = self.readers.submit(Box::new(|connection| {
            if let Ok(connection) = connection {
                let _ = connection::checkpoint(connection);
            }
        }));
    }
}

fn connect(options: &SqliteOptions, role: Role) -> Connect {
    let options = options.clone();
    Arc::new(move || connection::open(&options, role))
}

fn newest_change(connection: &mut SqliteConnection) -> Result<i64, Failure> {
    let (newest,) = statement::<(diesel::sql_types::BigInt,)>("SELECT ifnull(max(id), 0) FROM osa_change")
        .get_result::<(i64,)>(connection)?;
    Ok(newest)
}

/// The newest migration in this program, for messages.
pub fn schema_version() -> String {
    connection::newest_migration()
}

/// Undoes every migration of the database at `path`; all data is lost. For tests of the migrations.
///
/// # Errors
/// As [`SqliteStore::open_for_command`].
#[doc(hidden)]
pub fn revert_schema(path: &Path) -> Result<(), StoreError> {
    let mut connection = connection::open(&SqliteOptions::at(path), Role::Writer)?;
    connection::revert(&mut connection, path)
}

#[cfg(test)]
mod tests;
