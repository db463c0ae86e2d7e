//! The database that is served: the own one, or a Satellite's.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::Notify;

use super::ServeError;
use super::database_watch::DatabaseWatch;
use crate::domain::push::policy::{Authority, EXISTING_SLOT};
use crate::host::clock::SystemClock;
use crate::net::tls::read_chain;
use crate::ports::clock::Clock;
use crate::ports::file_error::FileError;
use crate::ports::store::Store;
use crate::ports::tls::{TlsError, TlsFile};
use crate::settings::database::{DatabaseHost, Deployment, PostgresSettings, SslMode};
use crate::settings::dispatcher::DispatcherSettings;
use crate::store::postgres::{self, PostgresOptions, PostgresStore, ServerAddress, Triggers};
use crate::store::sqlite::{SqliteOptions, SqliteStore};

/// Where PostgreSQL's Unix socket is: as distributions build it, and as it is by itself.
const SOCKETS: [&str; 2] = ["/var/run/postgresql", "/tmp"];
/// The data directory holds secrets.
const DIRECTORY_MODE: u32 = 0o700;

/// More than a clock that is kept is ever wrong.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(10);

/// An open database.
pub struct Database {
    /// Its use cases.
    pub store: Arc<dyn Store>,
    /// The clock that its times are taken from.
    pub clock: Arc<dyn Clock>,
    /// Wakes when it has changed.
    pub changes: Arc<Notify>,
    /// The file, if it is one.
    pub file: Option<DatabaseWatch>,
    /// Whether the file is gone; never, if there is none.
    pub deleted: Arc<AtomicBool>,
    /// The same, if it is a Satellite's.
    pub satellite: Option<Arc<PostgresStore>>,
}

impl Database {
    /// Opens the database of this deployment for serving.
    ///
    /// # Errors
    /// [`ServeError::Store`].
    pub async fn open(settings: &DispatcherSettings) -> Result<Self, ServeError> {
        match settings.deployment {
            Deployment::Standalone => Self::own(settings),
            Deployment::Satellite => Self::satellites(settings).await,
        }
    }

    fn own(settings: &DispatcherSettings) -> Result<Self, ServeError> {
        let options = SqliteOptions {
            max_tries: settings.push.max_tries,
            ..SqliteOptions::at(&settings.database)
        };
        let is_new = !settings.database.exists();
        let store = Arc::new(SqliteStore::open_for_serving(&options)?);
        if is_new {
            // Expected once in its life; after a failed mount or restore it is the only sign.
            tracing::warn!(event = "database_created", path = %settings.database.display());
        }
        let deleted = Arc::default();
        Ok(Self {
            changes: store.changes(),
            file: Some(DatabaseWatch {
                store: Arc::downgrade(&store),
                path: settings.database.clone(),
                deleted: Arc::clone(&deleted),
            }),
            deleted,
            store,
            clock: Arc::new(SystemClock),
            satellite: None,
        })
    }

    async fn satellites(settings: &DispatcherSettings) -> Result<Self, ServeError> {
        let options = postgres_options(settings).map_err(ServeError::Tls)?;
        let store = Arc::new(PostgresStore::open(&options).await?);
        make_data_dir(&settings.data_dir)?;
        let triggers = store.triggers();
        tracing::info!(event = "satellite_database_opened", database = %store.label(), triggers = triggers.as_str());
        if triggers == Triggers::Outdated {
            let remedy = "not of this version, or not complete: run osa-dispatcher migrate --install-notify";
            tracing::warn!(event = "triggers_outdated", database = %store.label(), remedy);
        }
        compare_clocks(&store);
        Ok(Self {
            changes: store.changes(),
            file: None,
            deleted: Arc::default(),
            clock: store.clock(),
            store: Arc::clone(&store) as _,
            satellite: Some(store),
        })
    }
}

/// What is due goes by the database's clock, the log by this machine's.
fn compare_clocks(store: &PostgresStore) {
    let (here, there) = (SystemClock.now(), store.clock().now());
    let apart = here.saturating_since(there).max(there.saturating_since(here));
    if apart > CLOCKS_APART_MAX {
        let remedy =
            "set this machine's or the database server's, by chronyd or ntpd; what is due goes by the database's";
        let (seconds, database) = (apart.as_secs(), store.label());
        tracing::warn!(event = "clocks_differ", %database, seconds, is_ahead = here > there, remedy);
    }
}

/// Who moves the actions.
pub const fn authority(deployment: Deployment) -> Authority {
    match deployment {
        Deployment::Standalone => Authority::Dispatcher,
        Deployment::Satellite => Authority::Satellite,
    }
}

/// Beside a Satellite nobody calls `init`.
fn make_data_dir(path: &Path) -> Result<(), FileError> {
    let mut directory = DirBuilder::new();
    directory.recursive(true).mode(DIRECTORY_MODE);
    directory.create(path).map_err(FileError::new("create", path))
}

/// The Satellite's database as the settings name it; they are known to have its name and role.
///
/// # Errors
/// The certificate of its authority is wanted, and cannot be used.
pub fn postgres_options(settings: &DispatcherSettings) -> Result<PostgresOptions, TlsError> {
    let given = &settings.postgres;
    check_authority(given)?;
    let (database, user) = (given.name.clone(), given.user.clone());
    Ok(PostgresOptions {
        port: given.port.get(),
        password: given.password.clone(),
        ssl_mode: match given.ssl_mode {
            SslMode::Disable => postgres::SslMode::Disable,
            SslMode::Prefer => postgres::SslMode::Prefer,
            SslMode::Require => postgres::SslMode::Require,
            SslMode::VerifyCa => postgres::SslMode::VerifyCa,
            SslMode::VerifyFull => postgres::SslMode::VerifyFull,
        },
        root_certificate: given.root_certificate.clone(),
        entitlements: settings.push.entitlements.clone().unwrap_or_default(),
        notify_threshold: settings.push.notify_threshold.map(|limit| limit.get() as usize),
        slot_age: settings.push.slot_age,
        answer_slot: EXISTING_SLOT / settings.push.pauses_divided_by(),
        ..PostgresOptions::new(address(given), database.unwrap_or_default(), user.unwrap_or_default())
    })
}

/// Read here, so that what is wrong with the file is told as with other certificates; Unix sockets have no TLS.
fn check_authority(given: &PostgresSettings) -> Result<(), TlsError> {
    match (&given.host, &given.root_certificate) {
        (Some(DatabaseHost::Server(_)), Some(path)) if given.ssl_mode.wants_authority() => {
            read_chain(TlsFile::DatabaseAuthority, path).map(drop)
        }
        _ => Ok(()),
    }
}

fn address(given: &PostgresSettings) -> ServerAddress {
    match &given.host {
        Some(DatabaseHost::Socket(directory)) => ServerAddress::Socket(directory.clone()),
        Some(DatabaseHost::Server(host)) => ServerAddress::Host(host.clone()),
        None => {
            let name = format!(".s.PGSQL.{}", given.port);
            let is_there = |directory: &&str| Path::new(directory).join(&name).exists();
            let found = SOCKETS.into_iter().find(is_there);
            // Where there is none, the usual place is the one to name.
            ServerAddress::Socket(PathBuf::from(found.unwrap_or(SOCKETS[0])))
        }
    }
}
