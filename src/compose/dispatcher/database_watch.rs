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

use crate::compose::time::Time;
use crate::host::clock::SystemClock;
use crate::ports::clock::Clock;
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
                Ok(Place::Replaced) => return self.set_log_aside(&store).await,
                Ok(Place::Deleted) => self.note_deleted(),
                Ok(Place::Kept) => self.deleted.store(false, Ordering::Relaxed),
                // Whoever uses the database says what is wrong with it.
                Err(_) => {}
            }
        }
    }

    /// The log is the old file's: at the next start it would be copied into the new one.
    async fn set_log_aside(&self, store: &SqliteStore) {
        let time = Time(SystemClock.now()).to_string().replace([':', '-'], "");
        let label = format!(".replaced-{time}");
        let log = format!("{}-wal{label}", self.path.display());
        match store.set_log_aside(label).await {
            Ok(()) => tracing::error!(
                event = "database_replaced",
                path = %self.path.display(),
                log,
                "another file is at the database's path: the dispatcher ends; the old one's write-ahead log was renamed, so \
                 that it does not damage the new one, and may be removed"
            ),
            Err(error) => tracing::error!(
                event = "database_replaced",
                path = %self.path.display(),
                error = %error,
                "another file is at the database's path: the dispatcher ends; move the old one's -wal away before the next \
                 start"
            ),
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
