//! Opening a connection, and bringing the schema up to date.

use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource, MigrationVersion};
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;
use diesel::{Connection, QueryResult, RunQueryDsl, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::SqliteOptions;
use super::failure::{Failure, by_message, inaccessible};
use super::statement::statement;
use crate::ports::store::StoreError;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Pages of the log at which a writer copies it back itself, should readers not have come to it. Units: 4096 bytes.
const LOG_PAGES_MAX: u32 = 16_384;

/// What is kept of the log's file after a copy. Units: bytes.
const LOG_BYTES_KEPT: u32 = 16 << 20;

/// Page cache of one connection. Units: KiB.
const CACHE_KIB: u32 = 8_192;

/// Pages given back to the file system at once.
const VACUUM_PAGES: u32 = 1_024;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Writer,
    Reader,
}

/// Opens a connection and sets it up.
pub(super) fn open(options: &SqliteOptions, role: Role) -> Result<SqliteConnection, StoreError> {
    let path = &options.path;
    let Some(name) = path.to_str() else {
        return Err(inaccessible(path, std::io::ErrorKind::InvalidFilename.into()));
    };
    let mut connection = SqliteConnection::establish(name).map_err(|error| by_message(&error.to_string(), path))?;
    set_up(&mut connection, options, role).map_err(|error| Failure::from(error).into_store_error(path))?;
    Ok(connection)
}

fn set_up(connection: &mut SqliteConnection, options: &SqliteOptions, role: Role) -> QueryResult<()> {
    let busy = options.busy_timeout.as_millis();
    connection.batch_execute(&format!(
        "PRAGMA busy_timeout = {busy}; PRAGMA cache_size = -{CACHE_KIB}; PRAGMA temp_store = MEMORY;"
    ))?;
    match role {
        Role::Reader => connection.batch_execute("PRAGMA query_only = ON;"),
        Role::Writer => {
            // auto_vacuum can only be chosen while the file is empty, so it comes first.
            connection.batch_execute(&format!(
                "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
                 PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = {LOG_PAGES_MAX}; \
                 PRAGMA journal_size_limit = {LOG_BYTES_KEPT};"
            ))?;
            options.max_pages.map_or(Ok(()), |pages| {
                connection.batch_execute(&format!("PRAGMA max_page_count = {pages};"))
            })
        }
    }
}

/// Runs a use case as one transaction.
///
/// Not diesel's: SQLite ends a transaction by itself when the disk is full or fails, and diesel then reports that there
/// was nothing to roll back instead of what happened.
pub(super) fn transaction<T>(
    connection: &mut SqliteConnection,
    begin: &'static str,
    use_case: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    connection.batch_execute(begin)?;
    let result = use_case(connection).and_then(|done| {
        connection.batch_execute("COMMIT")?;
        Ok(done)
    });
    if result.is_err() {
        // Fails only if SQLite has rolled back already.
        let _ = connection.batch_execute("ROLLBACK");
    }
    result
}

/// Applies the migrations that the database has not seen.
pub(super) fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let told = |error: Box<dyn std::error::Error + Send + Sync>| by_message(&error.to_string(), path);
    let known = versions();
    let applied = connection.applied_migrations().map_err(told)?;
    if let Some(unknown) = applied
        .iter()
        .map(MigrationVersion::to_string)
        .find(|v| !known.contains(v))
    {
        return Err(StoreError::Newer {
            database: path.into(),
            found: unknown,
        });
    }
    if applied.len() < known.len() {
        connection.run_pending_migrations(MIGRATIONS).map_err(told)?;
    }
    Ok(())
}

/// Undoes all migrations.
pub(super) fn revert(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    connection
        .revert_all_migrations(MIGRATIONS)
        .map_err(|error| by_message(&error.to_string(), path))?;
    Ok(())
}

/// The newest migration in this program.
pub(super) fn newest_migration() -> String {
    versions().pop().unwrap_or_default()
}

fn versions() -> Vec<String> {
    let migrations: Vec<Box<dyn Migration<Sqlite>>> = MIGRATIONS.migrations().unwrap_or_default();
    let mut versions: Vec<String> = migrations.iter().map(|m| m.name().version().to_string()).collect();
    versions.sort();
    versions
}

/// Reads every page once; a damaged file is refused before it is made worse.
pub(super) fn check(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let verdict = statement::<(Text,)>("PRAGMA quick_check(1)").get_result::<(String,)>(connection);
    match verdict {
        Ok((verdict,)) if verdict == "ok" => Ok(()),
        Ok(_) => Err(StoreError::Damaged(path.into())),
        Err(error) => Err(Failure::from(error).into_store_error(path)),
    }
}

/// Copies the log back into the file as far as no reader needs it; writers go on meanwhile.
pub(super) fn checkpoint(connection: &mut SqliteConnection) -> QueryResult<()> {
    connection.batch_execute("PRAGMA wal_checkpoint(PASSIVE)")
}

/// Gives some free pages back to the file system; outside a transaction.
pub(super) fn shrink(connection: &mut SqliteConnection) -> QueryResult<()> {
    connection.batch_execute(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))
}
