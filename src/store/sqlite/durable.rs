//! Waiting until what was committed survives a power cut.
//!
//! Connections run with `synchronous=NORMAL`: a commit is in the write-ahead log, and safe from a crash of this
//! program, but not yet on the disk. What is acknowledged to somebody outside must be. Leaving that to SQLite
//! (`synchronous=FULL`) would keep the one writer waiting for the disk (4 ms on a virtual disk) at each commit; here
//! the writer goes on while this thread flushes the log, and one flush serves all who wait. The log is only ever
//! appended to, so flushing it makes every earlier commit durable as well.

use std::fs::File;
use std::path::Path;
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::failure::inaccessible;
use crate::ports::store::StoreError;

type Reply = oneshot::Sender<Result<(), StoreError>>;

/// The thread that flushes the log.
pub(super) struct Flusher {
    queue: Option<mpsc::Sender<Reply>>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    /// Starts the thread for the log of the database at `path`.
    ///
    /// # Errors
    /// [`StoreError::OutOfThreads`].
    pub(super) fn start(log: File, path: &Path, room: usize) -> Result<Self, StoreError> {
        let (queue, waiting) = mpsc::channel(room);
        let path = path.to_owned();
        let thread = thread::Builder::new()
            .name("osa-store-sync".to_owned())
            .spawn(move || run(&log, &path, waiting))
            .map_err(StoreError::OutOfThreads)?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Waits until everything committed before this call is on the disk.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Inaccessible`]: what was committed may be lost by a power cut;
    /// [`StoreError::Saturated`].
    pub(super) async fn flushed(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let Some(queue) = &self.queue else {
            return Err(StoreError::WorkerPanicked);
        };
        queue.try_send(reply).map_err(|refused| match refused {
            TrySendError::Full(_) => StoreError::Saturated,
            TrySendError::Closed(_) => StoreError::WorkerPanicked,
        })?;
        answer.await.unwrap_or(Err(StoreError::WorkerPanicked))
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It ends by itself once the queue is closed.
            let _ = thread.join();
        }
    }
}

fn run(log: &File, path: &Path, mut waiting: mpsc::Receiver<Reply>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut replies = vec![first];
        while let Ok(reply) = waiting.try_recv() {
            replies.push(reply);
        }
        let outcome = log.sync_data();
        for reply in replies {
            let result = match &outcome {
                Ok(()) => Ok(()),
                Err(error) => Err(inaccessible(path, error.kind().into())),
            };
            // Whoever asked may have gone.
            let _ = reply.send(result);
        }
    }
}
