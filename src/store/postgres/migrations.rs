//! The dispatcher's own tables, made by an explicit command only, and the triggers that wake it.
//!
//! Not diesel's harness: its table is not named `osa_*`, and it wants a blocking connection.

use diesel::sql_types::{BigInt, Bool, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use super::catalog;
use super::failure::Failure;
use super::statement::statement;
use crate::ports::store::{DatabaseLabel, StoreError};

/// Name and text of every migration, in order.
const MIGRATIONS: &[(&str, &str)] = &[(
    "0001_push_lifecycle",
    include_str!("../../../migrations/postgres/0001_push_lifecycle/up.sql"),
)];

/// What undoes them, newest first.
const REVERSALS: &[&str] = &[include_str!(
    "../../../migrations/postgres/0001_push_lifecycle/down.sql"
)];

/// What the migrations make.
const TABLES: [&str; 7] = [
    "osa_account",
    "osa_node",
    "osa_push",
    "osa_request",
    "osa_request_action",
    "osa_run",
    "osa_schema",
];

const INSTALL_NOTIFY: &str = include_str!("../../../migrations/postgres/notify/install.sql");
const REMOVE_NOTIFY: &str = include_str!("../../../migrations/postgres/notify/remove.sql");

/// The triggers of [`INSTALL_NOTIFY`]. Each has a function of its name and no condition, with which it is this version's:
/// those of the first had one function, those of the second conditions, on which columns of the Satellite's depended.
const TRIGGERS: [&str; 4] = [
    "osa_action_assigned",
    "osa_action_moved",
    "osa_action_postponed",
    "osa_client_changed",
];

/// The triggers on the Satellite's tables, as they are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Triggers {
    /// None is there.
    Absent,
    /// They are of an older version, some are missing, or some are switched off.
    Outdated,
    /// All of this version are there.
    Present,
}

impl Triggers {
    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Outdated => "outdated",
            Self::Present => "present",
        }
    }
}

/// Advisory locks are one space for all programs of a database: this one's name, and what the lock is for.
const LOCK_SPACE: i64 = 0x6f73_6100;

/// How the database's schema compares with this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Schema {
    /// Made by this version.
    Current,
    /// Missing, or so many migrations behind.
    Behind,
    /// Has this migration, which this program does not know.
    Newer(String),
    /// Some of its tables are lost, this one among them.
    Incomplete(&'static str),
}

impl Schema {
    /// Refuses one that no migration helps.
    pub(super) fn refuse(&self, label: &DatabaseLabel) -> Result<(), StoreError> {
        let database = label.clone();
        match self {
            Self::Current | Self::Behind => Ok(()),
            Self::Newer(found) => Err(StoreError::Newer {
                database,
                found: found.clone(),
            }),
            Self::Incomplete(missing) => Err(StoreError::Incomplete { database, missing }),
        }
    }
}

/// Compares the schema.
pub(super) async fn schema(connection: &mut AsyncPgConnection) -> Result<Schema, Failure> {
    let mut missing = Vec::new();
    for table in TABLES {
        if !has_table(connection, table).await? {
            missing.push(table);
        }
    }
    match missing[..] {
        [] => {}
        [_, ..] if missing.len() == TABLES.len() => return Ok(Schema::Behind),
        [table, ..] => return Ok(Schema::Incomplete(table)),
    }
    let applied: Vec<(String,)> = statement::<(Text,)>("SELECT version FROM osa_schema ORDER BY version")
        .load(connection)
        .await?;
    let is_known = |version: &str| MIGRATIONS.iter().any(|(known, _)| *known == version);
    if let Some((unknown,)) = applied.iter().find(|(version,)| !is_known(version)) {
        return Ok(Schema::Newer(unknown.clone()));
    }
    Ok(match applied.len() == MIGRATIONS.len() {
        true => Schema::Current,
        false => Schema::Behind,
    })
}

/// Applies what is missing; how many migrations. All or none.
pub(super) async fn migrate(connection: &mut AsyncPgConnection, label: &DatabaseLabel) -> Result<usize, Failure> {
    lock(connection).await?;
    let found = schema(connection).await?;
    found.refuse(label)?;
    catalog::refuse_misled(connection, label).await?;
    if !has_table(connection, "osa_schema").await? {
        connection
            .batch_execute(
                "CREATE TABLE osa_schema (version TEXT PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL DEFAULT now())",
            )
            .await?;
    }
    let mut applied = 0;
    for (version, text) in MIGRATIONS {
        let is_new = statement::<()>(
            "INSERT INTO osa_schema (version) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM osa_schema WHERE version = ?)",
        )
        .bind(*version)
        .bind(*version)
        .execute(connection)
        .await?;
        if is_new > 0 {
            connection.batch_execute(text).await?;
            applied += 1;
        }
    }
    Ok(applied)
}

/// Takes every own table away, with all that is in it; whether there were any.
pub(super) async fn revert(connection: &mut AsyncPgConnection) -> Result<bool, Failure> {
    lock(connection).await?;
    let were_there = schema(connection).await? != Schema::Behind;
    for text in REVERSALS {
        connection.batch_execute(text).await?;
    }
    connection.batch_execute("DROP TABLE IF EXISTS osa_schema").await?;
    Ok(were_there)
}

/// Puts the triggers on the Satellite's tables, in place of older ones.
pub(super) async fn install_notify(connection: &mut AsyncPgConnection) -> Result<(), Failure> {
    lock(connection).await?;
    connection.batch_execute(REMOVE_NOTIFY).await?;
    Ok(connection.batch_execute(INSTALL_NOTIFY).await?)
}

/// Takes the triggers away.
pub(super) async fn remove_notify(connection: &mut AsyncPgConnection) -> Result<(), Failure> {
    lock(connection).await?;
    Ok(connection.batch_execute(REMOVE_NOTIFY).await?)
}

/// Which triggers are there.
pub(super) async fn triggers(connection: &mut AsyncPgConnection) -> Result<Triggers, Failure> {
    let (found, current) = statement::<(BigInt, BigInt)>(
        "SELECT count(*), count(CASE WHEN p.proname = t.tgname AND t.tgqual IS NULL AND t.tgenabled IN ('O', 'A') THEN 1 END) \
         FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE t.tgname = ANY(?)",
    )
    .bind(TRIGGERS.map(str::to_owned).to_vec())
    .get_result::<(i64, i64)>(connection)
    .await?;
    let wanted = i64::try_from(TRIGGERS.len()).unwrap_or(i64::MAX);
    Ok(match (found, current) {
        (0, _) => Triggers::Absent,
        (_, current) if current == wanted => Triggers::Present,
        _ => Triggers::Outdated,
    })
}

/// Whether a table or view of this name is found; names are folded to lower case, as the Satellite's are.
pub(super) async fn has_table(connection: &mut AsyncPgConnection, name: &str) -> Result<bool, Failure> {
    has_columns(connection, name, &[]).await
}

/// Whether a table or view has these columns.
pub(super) async fn has_columns(
    connection: &mut AsyncPgConnection,
    table: &str,
    columns: &[&str],
) -> Result<bool, Failure> {
    let (found,) = statement::<(Bool,)>(
        "SELECT EXISTS (SELECT 1 FROM pg_class c WHERE c.relname = ? AND c.relkind IN ('r', 'p', 'v') \
           AND pg_table_is_visible(c.oid) AND NOT EXISTS (SELECT 1 FROM unnest(?) wanted WHERE NOT EXISTS \
             (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = wanted AND NOT a.attisdropped)))",
    )
    .bind(table)
    .bind(columns.iter().map(|&column| column.to_owned()).collect::<Vec<_>>())
    .get_result::<(bool,)>(connection)
    .await?;
    Ok(found)
}

/// Two who migrate at once take turns.
async fn lock(connection: &mut AsyncPgConnection) -> Result<(), Failure> {
    statement::<()>("SELECT pg_advisory_xact_lock(?)")
        .bind(LOCK_SPACE)
        .execute(connection)
        .await?;
    Ok(())
}

/// The lock under which claims of all nodes are serialised.
pub(super) const CLAIM_LOCK: i64 = LOCK_SPACE + 1;
