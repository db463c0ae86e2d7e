//! What every use case of a database can answer with.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::ports::accounts::Accounts;
use crate::ports::inventory::Inventory;
use crate::ports::push::PushStore;
use crate::ports::registrations::Registrations;

/// All use cases of the dispatcher's database.
pub trait Store: Accounts + Registrations + PushStore + Inventory {}

impl<T: Accounts + Registrations + PushStore + Inventory> Store for T {}

/// A database as messages name it: a file, or a server with port and database name. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseLabel(Arc<str>);

impl DatabaseLabel {
    /// A label with this text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for DatabaseLabel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<&Path> for DatabaseLabel {
    fn from(path: &Path) -> Self {
        Self::new(&path.display().to_string())
    }
}

impl From<&PathBuf> for DatabaseLabel {
    fn from(path: &PathBuf) -> Self {
        Self::from(path.as_path())
    }
}

/// Why a database use case failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else holds what is needed; passes by itself.
    #[error("database {0} is locked by another process: end it, or wait")]
    Locked(DatabaseLabel),
    /// No room is left; passes when there is.
    #[error("no space left for database {0}: free some")]
    Full(DatabaseLabel),
    /// The file system failed below an open database.
    #[error("database {0} cannot be read or written (I/O error): check its disk and the space left")]
    Io(DatabaseLabel),
    /// The file system does not let this program at the database.
    #[error("database {database} cannot be opened ({source}): check its path, owner and mode")]
    Inaccessible {
        /// The file.
        database: DatabaseLabel,
        /// What the file system said.
        source: io::Error,
    },
    /// The server does not take connections, or ended this one; passes when it is back.
    #[error("database {database} cannot be reached ({reason}): start it, or correct its host and port")]
    Unreachable {
        /// The server.
        database: DatabaseLabel,
        /// What the connection says.
        reason: String,
    },
    /// The server takes no writes: a standby, or a primary that is being replaced.
    #[error("database {0} is read-only, as a standby is: name its primary, or wait for the fail-over")]
    ReadOnly(DatabaseLabel),
    /// The server does not let this user in, or not at a table.
    #[error(
        "database {database} refuses its user ({reason}): correct user and password, or the database's name, or grant what is missing"
    )]
    Denied {
        /// The server.
        database: DatabaseLabel,
        /// The server's words.
        reason: String,
    },
    /// TLS to the server did not come about as `sslmode` wants it.
    #[error(
        "no safe connection to database {database} ({reason}): correct its certificate, or db_ssl_enabled and db_sslrootcert (postgres.ssl_mode, postgres.root_certificate)"
    )]
    Unsafe {
        /// The server.
        database: DatabaseLabel,
        /// What is wrong.
        reason: String,
    },
    /// The database lacks a table or column that a Satellite's has.
    #[error("database {database} lacks {missing}: name the Satellite's database")]
    NotSatellite {
        /// The database.
        database: DatabaseLabel,
        /// What was looked for.
        missing: String,
    },
    /// The filter by entitlements names one that is not there.
    #[error(
        "push.entitlements names {label:?}, which database {database} does not have: correct it; there are {known}"
    )]
    UnknownEntitlement {
        /// The database.
        database: DatabaseLabel,
        /// The label that is set.
        label: String,
        /// Those that there are.
        known: String,
    },
    /// There is nothing to filter by.
    #[error(
        "push.entitlements is set, and database {database} lacks {missing}, by which it filters: remove push.entitlements"
    )]
    NoEntitlements {
        /// The database.
        database: DatabaseLabel,
        /// A table or view that is missing.
        missing: &'static str,
    },
    /// Between here and the server is what does not keep a connection together.
    #[error(
        "database {database} is reached through a pooler that lends connections for one transaction ({reason}): name the host and port of PostgreSQL itself, or let the pooler pool sessions"
    )]
    Pooled {
        /// The database.
        database: DatabaseLabel,
        /// The server's words.
        reason: String,
    },
    /// The user looks for tables elsewhere.
    #[error(
        "database {database} has the Satellite's tables in schema {schema}, and the search_path of its user is {path:?}: let it begin with {schema}, by ALTER ROLE ... SET search_path, or correct the user"
    )]
    Misled {
        /// The database.
        database: DatabaseLabel,
        /// Where the Satellite's tables are.
        schema: String,
        /// Where the user looks.
        path: String,
    },
    /// The dispatcher's own tables are missing, or older than this program.
    #[error("database {0} lacks tables of this osa-dispatcher: run osa-dispatcher migrate")]
    Unmigrated(DatabaseLabel),
    /// Some of the dispatcher's own tables are lost.
    #[error(
        "database {database} has only some of osa-dispatcher's tables, {missing} is missing: restore all of osa_*, or stop osa-dispatcher and make them anew with osa-dispatcher migrate --remove-tables and osa-dispatcher migrate"
    )]
    Incomplete {
        /// The database.
        database: DatabaseLabel,
        /// A table that is missing.
        missing: &'static str,
    },
    /// What was asked for is the Satellite's business: [`SYSTEMS`] or [`SCHEDULE`].
    #[error("{0} belongs to the Satellite: use its web interface or its API")]
    Satellites(&'static str),
    /// The operating system refused a thread for database work.
    #[error("no thread for database work ({0}): raise the limit of tasks")]
    OutOfThreads(io::Error),
    /// What is stored is inconsistent, or has a form this program never wrote.
    #[error("database {0} is damaged: restore it from a backup")]
    Damaged(DatabaseLabel),
    /// A file is there, with nothing in it: most likely a restore failed.
    #[error("database {0} is an empty file: restore it from a backup, or remove it to have a new one made")]
    Empty(DatabaseLabel),
    /// The write-ahead log at the database's path was left behind by the file that was there before.
    #[error(
        "{} was left behind by another database, and would damage {database}: move it away, or remove {database}.lock if both were copied here together", .log.display()
    )]
    StrangeLog {
        /// The file.
        database: DatabaseLabel,
        /// The log.
        log: PathBuf,
    },
    /// The database was written by a later version.
    #[error("database {database} has schema {found}, newer than this program's: install a newer osa-dispatcher")]
    Newer {
        /// The database.
        database: DatabaseLabel,
        /// The newest migration it has seen.
        found: String,
    },
    /// Another dispatcher serves this database.
    #[error("database {0} is served by another osa-dispatcher: stop it, or give this one its own")]
    InUse(DatabaseLabel),
    /// The database does not answer: its disk or its server hangs. Passes when that does. Whether what was asked is done is
    /// not known.
    #[error("database {database} has not answered within {} s: check its disk, or its server", .within.as_secs())]
    Stalled {
        /// The database.
        database: DatabaseLabel,
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
    #[error("database {database}: {message}")]
    Other {
        /// The database.
        database: DatabaseLabel,
        /// The database's own words.
        message: String,
    },
}

/// What a Satellite's systems are part of.
pub const SYSTEMS: &str = "the list of systems";
/// What a Satellite's actions are part of.
pub const SCHEDULE: &str = "the schedule of actions";

impl StoreError {
    /// Whether the same call may succeed later without anybody's doing.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Locked(_)
                | Self::Full(_)
                | Self::Io(_)
                | Self::Stalled { .. }
                | Self::Unreachable { .. }
                | Self::ReadOnly(_)
                | Self::Saturated
                | Self::WorkerPanicked
                | Self::Other { .. }
        )
    }
}
