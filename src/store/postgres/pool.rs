//! A few connections, and the thread that drives them.
//!
//! Every use case runs on a thread of its own runtime, so that a crashed or busy arbiter takes no connection along, and
//! runs to its end whether or not somebody still waits for it. It has a deadline; when that passes, its connection is
//! closed. A connection that is found dead before anything was asked of it is replaced without anybody noticing.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use diesel::QueryResult;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::connect::Connector;
use super::failure::Failure;
use crate::ports::store::StoreError;

/// Use cases that may wait for a connection. A herd of 10 000 agents logging in at once has to fit; each takes some
/// 500 bytes while it waits.
const WAITING_ROOM: usize = 16_384;

/// How often a use case is begun anew because another node got in between.
const COLLISIONS_MAX: u32 = 5;

/// How long plans are kept. The dispatcher's own tables are empty at first, and read from end to end by plans of that
/// time.
const PLANS_LAST: Duration = Duration::from_secs(10);

/// What a use case does to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Reads by key and by one statement, which is a transaction of its own: two turns to the server and back less. It is
    /// planned once per connection.
    ReadOne,
    /// Reads one state of it.
    Read,
    /// Writes; on the disk when it returns.
    Write,
    /// Writes what may be lost with the server's machine or process, because it is found out and done again.
    WriteLoosely,
    /// As [`Access::Write`], of single systems by key: statements that every push needs are planned once per connection.
    Record,
    /// As [`Access::WriteLoosely`], and [`Access::Record`].
    RecordLoosely,
}

impl Access {
    const fn begin(self) -> Option<&'static str> {
        match self {
            Self::ReadOne => None,
            Self::Read => Some("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
            Self::Write | Self::Record => Some("BEGIN"),
            Self::WriteLoosely | Self::RecordLoosely => Some("BEGIN; SET LOCAL synchronous_commit = off"),
        }
    }

    /// Whether plans depend on how much is asked for, or on what the tables are like by now.
    const fn plans_anew(self) -> bool {
        match self {
            Self::ReadOne | Self::Record | Self::RecordLoosely => false,
            Self::Read | Self::Write | Self::WriteLoosely => true,
        }
    }
}

/// A use case under way.
pub(super) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'c>>;

/// The connections.
pub(super) struct Pool {
    shared: Arc<Shared>,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    connector: Connector,
    deadline: Duration,
    permits: Semaphore,
    idle: Mutex<Vec<Link>>,
    present: AtomicUsize,
}

/// A connection, and since when plans are kept on it.
struct Link {
    connection: AsyncPgConnection,
    planned: Instant,
}

impl Pool {
    /// Starts the thread; opens no connection yet.
    ///
    /// # Errors
    /// [`StoreError::OutOfThreads`].
    pub(super) fn start(connector: Connector, connections: usize, deadline: Duration) -> Result<Self, StoreError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StoreError::OutOfThreads)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new()
            .name("osa-store-pg".to_owned())
            .spawn(move || {
                // The sender is dropped or used when the store goes; both mean the end.
                let _ = runtime.block_on(stopped);
            })
            .map_err(StoreError::OutOfThreads)?;
        Ok(Self {
            shared: Arc::new(Shared {
                connector,
                deadline,
                permits: Semaphore::new(connections),
                idle: Mutex::new(Vec::new()),
                present: AtomicUsize::new(0),
            }),
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The runtime of the connections, for what lives as long as they.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// How connections are opened.
    pub(super) fn connector(&self) -> &Connector {
        &self.shared.connector
    }

    /// Runs a use case as one transaction; it may be begun anew after a collision with another one.
    ///
    /// # Errors
    /// [`StoreError::Saturated`], [`StoreError::Stalled`], [`StoreError::WorkerPanicked`], and what it returns.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        access: Access,
        use_case: impl for<'c> Fn(&'c mut AsyncPgConnection) -> Work<'c, T> + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        if self.shared.present.fetch_add(1, Ordering::Relaxed) >= WAITING_ROOM {
            self.shared.present.fetch_sub(1, Ordering::Relaxed);
            return Err(StoreError::Saturated);
        }
        let shared = Arc::clone(&self.shared);
        let task = self.runtime.spawn(async move {
            let _presence = Presence(&shared.present);
            let in_time = timeout(shared.deadline, shared.perform(access, use_case)).await;
            in_time.unwrap_or_else(|_| Err(shared.stalled()))
        });
        task.await.unwrap_or(Err(StoreError::WorkerPanicked))
    }
}

/// Ends the runtime, and with it every connection.
impl Drop for Pool {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // A thread that panicked has nothing left to finish.
            let _ = thread.join();
        }
    }
}

struct Presence<'a>(&'a AtomicUsize);

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    async fn perform<T>(
        &self,
        access: Access,
        use_case: impl for<'c> Fn(&'c mut AsyncPgConnection) -> Work<'c, T>,
    ) -> Result<T, StoreError> {
        let Ok(_permit) = self.permits.acquire().await else {
            return Err(StoreError::WorkerPanicked);
        };
        let mut collisions = 0;
        loop {
            let (mut link, is_fresh) = self.begun(access).await?;
            let failure = match run(&mut link.connection, access, &use_case).await {
                Ok(done) => {
                    self.put_back(link);
                    return Ok(done);
                }
                Err(failure) => failure,
            };
            let died_idle = failure.is_disconnect() && access == Access::ReadOne;
            if (died_idle || failure.is_of_old_columns()) && !is_fresh {
                // Nothing was begun that would have told, or a table was altered since; nothing is done yet either way.
                self.forget_idle();
                continue;
            }
            let is_usable = !failure.is_disconnect() && link.connection.batch_execute("ROLLBACK").await.is_ok();
            if failure.is_collision() && is_usable && collisions < COLLISIONS_MAX {
                collisions += 1;
                self.put_back(link);
                continue;
            }
            let error = match failure.is_cancelled() {
                true => self.stalled(),
                false => failure.into_store_error(&self.connector.label),
            };
            match (&error, is_usable) {
                // Another server may have this name or address by now.
                (StoreError::ReadOnly(_), _) | (_, false) => self.forget_idle(),
                (_, true) => self.put_back(link),
            }
            return Err(error);
        }
    }

    /// A connection with a transaction begun, and whether it was made for that. One that died while it was idle has
    /// friends that died with it.
    async fn begun(&self, access: Access) -> Result<(Link, bool), StoreError> {
        if let Some(mut link) = self.take_idle() {
            if self.begin(&mut link, access).await.is_ok() {
                return Ok((link, false));
            }
            self.forget_idle();
        }
        let mut link = Link {
            connection: self.connector.connect().await?,
            planned: Instant::now(),
        };
        match self.begin(&mut link, access).await {
            Ok(()) => Ok((link, true)),
            Err(error) => Err(Failure::from(error).into_store_error(&self.connector.label)),
        }
    }

    async fn begin(&self, link: &mut Link, access: Access) -> QueryResult<()> {
        let keeps_plans = self.connector.keeps_plans();
        if keeps_plans && link.planned.elapsed() > PLANS_LAST {
            link.connection.batch_execute("DISCARD PLANS").await?;
            link.planned = Instant::now();
        }
        match access.begin() {
            Some(begin) if keeps_plans && access.plans_anew() => {
                let begin = format!("{begin}; SET LOCAL plan_cache_mode = auto");
                link.connection.batch_execute(&begin).await
            }
            Some(begin) => link.connection.batch_execute(begin).await,
            None => Ok(()),
        }
    }

    fn stalled(&self) -> StoreError {
        StoreError::Stalled {
            database: self.connector.label.clone(),
            within: self.deadline,
        }
    }

    fn take_idle(&self) -> Option<Link> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put_back(&self, link: Link) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(link);
    }

    fn forget_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

async fn run<T>(
    connection: &mut AsyncPgConnection,
    access: Access,
    use_case: &impl for<'c> Fn(&'c mut AsyncPgConnection) -> Work<'c, T>,
) -> Result<T, Failure> {
    let done = use_case(connection).await?;
    if access.begin().is_some() {
        connection.batch_execute("COMMIT").await?;
    }
    Ok(done)
}
