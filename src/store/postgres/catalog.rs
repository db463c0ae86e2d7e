//! What the Satellite's schema holds; it differs between Satellite 5, Spacewalk and Uyuni.
//!
//! Source: compatibility contract, sections 3.1 to 3.4.

use diesel::OptionalExtension;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::failure::Failure;
use super::migrations::{has_columns, has_table};
use super::statement::statement;
use crate::ports::store::{DatabaseLabel, StoreError};

/// What is used of the Satellite's tables, table by table.
const TABLES: &[(&str, &[&str])] = &[
    ("rhnserver", &["id", "name"]),
    (
        "rhnaction",
        &["id", "action_type", "name", "earliest_action", "prerequisite"],
    ),
    (
        "rhnserveraction",
        &[
            "server_id",
            "action_id",
            "status",
            "pickup_time",
            "completion_time",
            "modified",
        ],
    ),
    ("rhnactiontype", &["id", "label", "unlocked_only"]),
    ("rhnserverlock", &["server_id"]),
    (
        "rhnpushclient",
        &[
            "id",
            "name",
            "server_id",
            "jabber_id",
            "shared_key",
            "state_id",
            "next_action_time",
            "last_message_time",
            "last_ping_time",
        ],
    ),
    ("rhnpushclientstate", &["id", "label"]),
    (
        "rhnpushdispatcher",
        &["id", "jabber_id", "password", "last_checkin", "hostname"],
    ),
];

/// What is used for a filter by entitlements, if one is set.
const FILTERED_BY: [&str; 4] = [
    "rhnservergrouptype",
    "rhnfeature",
    "rhnserverentitlementview",
    "rhnserverfeaturesview",
];

/// The facts that differ between sites, looked up at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Catalog {
    /// `rhnPushClientState.id` of online; from a sequence, so always looked up.
    pub(super) online: i64,
    /// `rhnPushClientState.id` of offline.
    pub(super) offline: i64,
    /// `rhnPushDispatcher.port` exists, and must be given: schemas before 2.7.
    pub(super) has_dispatcher_port: bool,
    /// Uyuni: systems have a contact method, and only those with `default` are pushed.
    pub(super) has_contact_methods: bool,
    /// The entitlement filter, if one is set.
    pub(super) entitlements: Vec<String>,
}

impl Catalog {
    /// Looks everything up.
    ///
    /// # Errors
    /// [`StoreError::NotSatellite`] for what is missing; [`StoreError::UnknownEntitlement`] and
    /// [`StoreError::NoEntitlements`] for a filter that cannot be.
    pub(super) async fn read(
        connection: &mut AsyncPgConnection,
        entitlements: &[String],
        label: &DatabaseLabel,
    ) -> Result<Self, Failure> {
        for (table, columns) in TABLES {
            if !has_columns(connection, table, columns).await? {
                if !has_table(connection, table).await? {
                    return Err(unseen(connection, table, label).await?);
                }
                let missing = format!("columns of table {table} ({})", columns.join(", "));
                return Err(lacks(label, missing));
            }
        }
        check_entitlements(connection, entitlements, label).await?;
        Ok(Self {
            online: state(connection, "online", label).await?,
            offline: state(connection, "offline", label).await?,
            has_dispatcher_port: has_columns(connection, "rhnpushdispatcher", &["port"]).await?,
            has_contact_methods: has_columns(connection, "rhnserver", &["contact_method_id"]).await?
                && has_table(connection, "suseservercontactmethod").await?,
            entitlements: entitlements.to_vec(),
        })
    }
}

fn lacks(label: &DatabaseLabel, missing: String) -> Failure {
    Failure::Refused(StoreError::NotSatellite {
        database: label.clone(),
        missing,
    })
}

/// Refuses a database where this role does not see the Satellite's tables, or would make its own in a schema of the
/// server's.
///
/// # Errors
/// [`StoreError::Misled`], and those of a table that is not seen.
pub(super) async fn refuse_misled(connection: &mut AsyncPgConnection, label: &DatabaseLabel) -> Result<(), Failure> {
    let (table, _) = TABLES[0];
    let found = statement::<(Text, Text, Bool)>(
        "SELECT n.nspname::text, current_setting('search_path'), coalesce(current_schema()::text, 'pg_') LIKE 'pg\\_%' \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relname = ? AND c.relkind IN ('r', 'p', 'v') AND pg_table_is_visible(c.oid)",
    )
    .bind(table)
    .get_result::<(String, String, bool)>(connection)
    .await
    .optional()?;
    match found {
        None => Err(unseen(connection, table, label).await?),
        Some((schema, path, true)) => Err(misled(label, schema, path)),
        Some((_, _, false)) => Ok(()),
    }
}

/// Why a table is not seen: it is not there, or this role looks elsewhere, or may not look.
async fn unseen(connection: &mut AsyncPgConnection, table: &str, label: &DatabaseLabel) -> Result<Failure, Failure> {
    let elsewhere = statement::<(Text, Text, Bool)>(
        "SELECT n.nspname::text, current_setting('search_path'), has_schema_privilege(n.oid, 'USAGE') \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relname = ? AND c.relkind IN ('r', 'p', 'v') ORDER BY 1 LIMIT 1",
    )
    .bind(table)
    .get_result::<(String, String, bool)>(connection)
    .await
    .optional()?;
    Ok(match elsewhere {
        None => lacks(label, format!("table {table}")),
        Some((schema, path, true)) => misled(label, schema, path),
        Some((schema, _, false)) => Failure::Refused(StoreError::Denied {
            database: label.clone(),
            reason: format!("permission denied for schema {schema}"),
        }),
    })
}

fn misled(label: &DatabaseLabel, schema: String, path: String) -> Failure {
    Failure::Refused(StoreError::Misled {
        database: label.clone(),
        schema,
        path,
    })
}

async fn state(connection: &mut AsyncPgConnection, name: &str, label: &DatabaseLabel) -> Result<i64, Failure> {
    let row = statement::<(BigInt,)>("SELECT id::bigint FROM rhnPushClientState WHERE label = ?")
        .bind(name)
        .get_result::<(i64,)>(connection)
        .await
        .optional()?;
    match row {
        Some((id,)) => Ok(id),
        None => Err(lacks(label, format!("the state {name} in table rhnpushclientstate"))),
    }
}

async fn check_entitlements(
    connection: &mut AsyncPgConnection,
    wanted: &[String],
    label: &DatabaseLabel,
) -> Result<(), Failure> {
    if wanted.is_empty() {
        return Ok(());
    }
    for missing in FILTERED_BY {
        if !has_table(connection, missing).await? {
            let database = label.clone();
            return Err(StoreError::NoEntitlements { database, missing }.into());
        }
    }
    let known: Vec<(String,)> =
        statement::<(Text,)>("SELECT label FROM rhnServerGroupType UNION SELECT label FROM rhnFeature ORDER BY 1")
            .load(connection)
            .await?;
    let is_known = |label: &String| known.iter().any(|(known,)| known == label);
    let Some(unknown) = wanted.iter().find(|label| !is_known(label)) else {
        return Ok(());
    };
    let known: Vec<&str> = known.iter().map(|(label,)| label.as_str()).collect();
    Err(Failure::Refused(StoreError::UnknownEntitlement {
        database: label.clone(),
        label: unknown.clone(),
        known: known.join(", "),
    }))
}
