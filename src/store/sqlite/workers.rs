//! Threads that own connections, and the waiting room before them.
//!
//! Each thread owns one connection and takes one use case after the other, so a connection needs no lock and the
//! order of writes is the order of their arrival. A panic ends the use case, not the thread: the connection, whose
//! transaction is in an unknown state, is closed (which rolls back) and opened anew.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use diesel::SqliteConnection;
use tokio::sync::oneshot;

use crate::ports::store::StoreError;

/// A use case on its way to a connection, or to the reason why there is none.
type Job = Box<dyn FnOnce(Result<&mut SqliteConnection, StoreError>) + Send>;

/// Opens a connection.
pub(super) type Connect = Arc<dyn Fn() -> Result<SqliteConnection, StoreError> + Send + Sync>;

/// Threads behind one waiting room.
pub(super) struct Workers {
    room: Arc<Room>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts one thread per connection; `room` use cases may wait.
    ///
    /// # Errors
    /// [`StoreError::OutOfThreads`] if the system has no thread left.
    pub(super) fn start(
        name: &str,
        connections: Vec<SqliteConnection>,
        room: usize,
        connect: &Connect,
    ) -> Result<Self, StoreError> {
        let room = Arc::new(Room::new(room));
        let mut threads = Vec::with_capacity(connections.len());
        for connection in connections {
            let worker = Worker {
                connection: Some(connection),
                connect: Arc::clone(connect),
                room: Arc::clone(&room),
            };
            let thread = thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || worker.run())
                .map_err(StoreError::OutOfThreads)?;
            threads.push(thread);
        }
        Ok(Self { room, threads })
    }

    /// Runs a use case and waits for its result.
    ///
    /// # Errors
    /// [`StoreError::Saturated`] if the waiting room is full, [`StoreError::WorkerPanicked`], and what the use case
    /// returns.
    ///
    /// # Cancel safety
    /// A use case that has begun runs to its end, whether or not somebody still waits for it. One that has not is left
    /// out when nobody does: after a disk hung, what was asked meanwhile has been asked again.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        use_case: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.submit(Box::new(move |connection| {
            if reply.is_closed() {
                return;
            }
            let result = connection.and_then(use_case);
            // Whoever asked may have gone; what is done is done.
            let _ = reply.send(result);
        }))?;
        answer.await.unwrap_or(Err(StoreError::WorkerPanicked))
    }

    /// Hands over a use case nobody waits for.
    pub(super) fn submit(&self, job: Job) -> Result<(), StoreError> {
        self.room.enter(job)
    }
}

/// Waits until what was accepted is done, so that the connections are closed when the store is gone.
impl Drop for Workers {
    fn drop(&mut self) {
        self.room.close();
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to finish.
            let _ = thread.join();
        }
    }
}

struct Worker {
    connection: Option<SqliteConnection>,
    connect: Connect,
    room: Arc<Room>,
}

impl Worker {
    fn run(mut self) {
        while let Some(job) = self.room.next() {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => match (self.connect)() {
                    Ok(connection) => connection,
                    Err(error) => {
                        job(Err(error));
                        continue;
                    }
                },
            };
            if catch_unwind(AssertUnwindSafe(|| job(Ok(&mut connection)))).is_ok() {
                self.connection = Some(connection);
            }
        }
    }
}

/// Where use cases wait. A channel whose receiving end the threads share would hand that end on from one to the next,
/// and wake two of them for each use case.
struct Room {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    size: usize,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// Threads that have nothing to do.
    idle: usize,
    closed: bool,
}

impl Room {
    fn new(size: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            size,
        }
    }

    fn enter(&self, job: Job) -> Result<(), StoreError> {
        let mut waiting = self.waiting();
        if waiting.jobs.len() >= self.size {
            return Err(StoreError::Saturated);
        }
        waiting.jobs.push_back(job);
        let somebody_idles = waiting.idle > 0;
        drop(waiting);
        if somebody_idles {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// The next one; `None` when the room is closed and empty.
    fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting();
        loop {
            if let Some(job) = waiting.jobs.pop_front() {
                return Some(job);
            }
            if waiting.closed {
                return None;
            }
            waiting.idle += 1;
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            waiting.idle -= 1;
        }
    }

    fn close(&self) {
        self.waiting().closed = true;
        self.arrived.notify_all();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use diesel::connection::SimpleConnection;
    use diesel::sql_types::BigInt;
    use diesel::{Connection, RunQueryDsl};

    use super::*;
    use crate::store::sqlite::statement::statement;

    fn connect_to(path: std::path::PathBuf) -> Connect {
        Arc::new(move || SqliteConnection::establish(path.to_str().unwrap()).map_err(|e| panic!("{e}")))
    }

    #[tokio::test]
    async fn panic_ends_the_use_case_and_rolls_back() {
        let directory = tempfile::tempdir().unwrap();
        let connect = connect_to(directory.path().join("panic.db"));
        let workers = Workers::start("test", vec![connect().unwrap()], 1, &connect).unwrap();
        workers
            .run(|c| {
                c.batch_execute("CREATE TABLE t (x)").unwrap();
                Ok(())
            })
            .await
            .unwrap();

        let panicked = workers
            .run::<()>(|c| {
                c.batch_execute("BEGIN; INSERT INTO t VALUES (1)").unwrap();
                panic!("on purpose");
            })
            .await;

        assert!(matches!(panicked, Err(StoreError::WorkerPanicked)));
        let left = workers
            .run(|c| {
                Ok(statement::<(BigInt,)>("SELECT count(*) FROM t")
                    .get_result::<(i64,)>(c)
                    .unwrap()
                    .0)
            })
            .await;
        assert_eq!(left.unwrap(), 0);
    }

    #[tokio::test]
    async fn full_waiting_room_refuses() {
        let directory = tempfile::tempdir().unwrap();
        let connect = connect_to(directory.path().join("full.db"));
        let workers = Workers::start("test", vec![connect().unwrap()], 1, &connect).unwrap();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (entered, inside) = std::sync::mpsc::channel::<()>();
        workers
            .submit(Box::new(move |_| {
                entered.send(()).unwrap();
                held.recv().unwrap();
            }))
            .unwrap();
        inside.recv().unwrap();
        workers.submit(Box::new(|_| ())).unwrap();

        let refused = workers.run(|_| Ok(())).await;

        release.send(()).unwrap();
        assert!(matches!(refused, Err(StoreError::Saturated)));
    }
}
