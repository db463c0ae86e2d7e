//! What every use case of a database can answer with.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::ports::accounts::Accounts;
use crate::ports::inventory::Inventory;
use crate::ports::push::PushStore;
use crate::ports::registrations::Registrations;

/// All use cases of the dispatcher's database.
pub trait Store: Accounts + Registrations + PushStore + Inventory {}

impl<T: Accounts + Registrations + PushStore + Inventory> Store for T {}

/// Why a database use case failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the database; passes by itself.
    #[error("database {database} is locked by another process: end it, or wait", database = .0.display())]
    Locked(PathBuf),
    /// No room is left; passes when there is.
    #[error("no space left for database {database}: free some", database = .0.display())]
    Full(PathBuf),
    /// The file system failed below an open database.
    #[error("database {database} cannot be read or written (I/O error): check its disk and the space left", database = .0.display())]
    Io(PathBuf),
    /// The file system does not let this program at the database.
    #[error("database {database} cannot be opened ({source}): check its path, owner and mode", database = .path.display())]
    Inaccessible {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The operating system refused a thread for database work.
    #[error("no thread for database work ({0}): raise the limit of tasks")]
    OutOfThreads(io::Error),
    /// The file is not a database, or its pages are inconsistent.
    #[error("database {database} is damaged: restore it from a backup", database = .0.display())]
    Damaged(PathBuf),
    /// The database was written by a later version.
    #[error("database {database} has schema {found}, newer than this program's: install a newer osa-dispatcher", database = .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The newest migration it has seen.
        found: String,
    },
    /// Another dispatcher serves this database.
    #[error("database {database} is served by another osa-dispatcher: stop it, or give this one its own", database = .0.display())]
    InUse(PathBuf),
    /// The database does not answer: its disk hangs. Passes when that does. Whether what was asked is done is not known.
    #[error("database {database} has not answered within {} s: check its disk", .within.as_secs(), database = .path.display())]
    Stalled {
        /// The file.
        path: PathBuf,
        /// How long it was waited for.
        within: Duration,
    },
    /// The waiting room before the database is full; passes by itself.
    #[error("too many database requests are waiting")]
    Saturated,
    /// The use case's code panicked; its transaction was rolled back.
    #[error("a database worker panicked")]
    WorkerPanicked,
    /// What the caller named is not there.
    #[error("{what} does not exist")]
    NotFound {
        /// What was looked for, with its key.
        what: String,
    },
    /// What the caller wants to make is there already.
    #[error("{what} exists already")]
    Exists {
        /// What it is, with its key.
        what: String,
    },
    /// Anything else the database says.
    #[error("database {database}: {message}", database = .path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// The database's own words.
        message: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody's doing.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Locked(_)
                | Self::Full(_)
                | Self::Io(_)
                | Self::Stalled { .. }
                | Self::Saturated
                | Self::WorkerPanicked
                | Self::Other { .. }
        )
    }
}
