//! Whether the database's file is still at its path.
//!
//! SQLite goes on with the file it has opened, wherever that is. A file that was *replaced* means that somebody restored a
//! backup: the program ends, so that the service manager starts it on the new one; going on would write to a file that
//! nobody will ever open again. A file that was *deleted* exists only for as long as this program runs: it goes on serving,
//! since ending would lose what can still be rescued.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::store::sqlite::{Place, SqliteStore};

/// How often it is looked at: one `stat`.
const INTERVAL: Duration = Duration::from_secs(5);

/// Looks at the file again and again.
pub struct DatabaseWatch {
    /// The open database, which is closed without regard to us.
    pub store: Weak<SqliteStore>,
    /// Its path.
    pub path: PathBuf,
    /// Whether the file is gone; for `status`.
    pub deleted: Arc<AtomicBool>,
}

impl DatabaseWatch {
    /// Returns when the file was replaced.
    pub async fn replaced(&self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let Some(store) = self.store.upgrade() else {
                return std::future::pending().await;
            };
            match store.place().await {
                Ok(Place::Replaced) => return,
                Ok(Place::Deleted) => self.note_deleted(),
                Ok(Place::Kept) => self.deleted.store(false, Ordering::Relaxed),
                // Whoever uses the database says what is wrong with it.
                Err(_) => {}
            }
        }
    }

    fn note_deleted(&self) {
        if self.deleted.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::error!(
            event = "database_deleted",
            path = %self.path.display(),
            pid = std::process::id(),
            "the database's file is gone, and its data with the end of this process: copy the file and its -wal from \
             /proc/PID/fd, stop the dispatcher, and put them back"
        );
    }
}
