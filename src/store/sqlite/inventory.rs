//! Systems and actions, as the administrator handles them.

use std::collections::HashMap;
use std::time::Instant;

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use diesel::{ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl};

use super::SqliteStore;
use super::actions;
use super::failure::Failure;
use super::requests;
use super::schema::rhn_server;
use super::statement::statement;
use crate::domain::ids::{ActionId, SystemId};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::ports::inventory::{ActionFilter, ActionRow, Explanation, Inventory, NewAction, SystemRow};
use crate::ports::store::StoreError;

/// The last column says when the system last showed that its JID is its own.
type Row = (i64, String, Option<String>, bool, Option<i64>, i64, Option<i64>);
type RowTypes = (
    BigInt,
    Text,
    Nullable<Text>,
    Bool,
    Nullable<BigInt>,
    BigInt,
    Nullable<BigInt>,
);

const SYSTEMS: &str = "SELECT s.id, s.name, c.jabber_id, ifnull(st.label = 'online', 0), c.last_message_time, \
       (SELECT count(*) FROM rhnServerAction sa INDEXED BY osa_server_action_pending_idx \
         WHERE sa.server_id = s.id AND sa.status < 2), \
       CASE WHEN c.last_message_time >= p.claimed_at THEN c.last_message_time END \
     FROM rhnServer s LEFT JOIN rhnPushClient c ON c.server_id = s.id LEFT JOIN osa_push p ON p.server_id = s.id \
     LEFT JOIN rhnPushClientState st ON st.id = c.state_id";

#[async_trait]
impl Inventory for SqliteStore {
    async fn add_system(&self, name: &str, secret: &Secret, now: Timestamp) -> Result<SystemId, StoreError> {
        let (name, secret) = (name.to_owned(), secret.clone());
        self.write_durably(move |connection| {
            let id = diesel::insert_into(rhn_server::table)
                .values((
                    rhn_server::name.eq(&name),
                    rhn_server::secret.eq(secret.expose()),
                    rhn_server::created.eq(now.as_millis()),
                    rhn_server::modified.eq(now.as_millis()),
                ))
                .returning(rhn_server::id)
                .get_result::<i64>(connection)
                .map_err(|error| Failure::exists(error, format!("system {name}")))?;
            Ok(SystemId(id))
        })
        .await
    }

    async fn system_by_name(&self, name: &str) -> Result<Option<SystemRow>, StoreError> {
        let name = name.to_owned();
        self.read(move |connection| {
            let row = statement::<RowTypes>(format!("{SYSTEMS} WHERE s.name = ?"))
                .bind(name)
                .get_result::<Row>(connection)
                .optional()?;
            let Some(row) = row else { return Ok(None) };
            let (id, jid) = (SystemId(row.0), row.2.clone());
            let rows = match jid {
                Some(jid) => statement::<RowTypes>(format!("{SYSTEMS} WHERE c.jabber_id = ?"))
                    .bind(jid)
                    .load::<Row>(connection)?,
                None => vec![row],
            };
            Ok(system_rows(rows).into_iter().find(|row| row.id == id))
        })
        .await
    }

    async fn systems(&self) -> Result<Vec<SystemRow>, StoreError> {
        self.read(|connection| {
            let rows = statement::<RowTypes>(format!("{SYSTEMS} ORDER BY s.name")).load::<Row>(connection)?;
            Ok(system_rows(rows))
        })
        .await
    }

    async fn remove_system(&self, system: SystemId) -> Result<bool, StoreError> {
        self.alter(move |connection| {
            let gone = diesel::delete(rhn_server::table.find(system.0)).execute(connection)?;
            Ok(gone > 0)
        })
        .await
    }

    async fn schedule(&self, action: &NewAction, now: Timestamp) -> Result<ActionId, StoreError> {
        self.schedule_timed(action, now).await.map(|(id, _)| id)
    }

    async fn schedule_timed(&self, action: &NewAction, now: Timestamp) -> Result<(ActionId, Instant), StoreError> {
        let (action, tries) = (action.clone(), self.max_tries);
        self.alter_timed(move |connection| actions::schedule(connection, &action, tries, now))
            .await
    }

    async fn reschedule(&self, action: ActionId, system: SystemId, earliest: Timestamp) -> Result<bool, StoreError> {
        let tries = self.max_tries;
        self.alter(move |connection| Ok(actions::reschedule(connection, action, system, earliest, tries)?))
            .await
    }

    async fn cancel(&self, action: ActionId, system: SystemId) -> Result<bool, StoreError> {
        self.alter(move |connection| Ok(actions::cancel(connection, action, system)?))
            .await
    }

    async fn actions(&self, filter: &ActionFilter) -> Result<Vec<ActionRow>, StoreError> {
        let filter = filter.clone();
        self.read(move |connection| actions::actions(connection, &filter)).await
    }

    async fn explain(&self, system: SystemId) -> Result<Explanation, StoreError> {
        self.read(move |connection| requests::explain(connection, system)).await
    }
}

/// Among them are all systems that have the JID of one of them.
fn system_rows(rows: Vec<Row>) -> Vec<SystemRow> {
    let mut owners: HashMap<String, (i64, i64, String)> = HashMap::new();
    for (id, name, jid, _, _, _, shown) in &rows {
        let (Some(jid), Some(shown)) = (jid, shown) else {
            continue;
        };
        let is_later = owners.get(jid).is_none_or(|(latest, _, _)| latest < shown);
        if is_later {
            owners.insert(jid.clone(), (*shown, *id, name.clone()));
        }
    }
    let owner_of = |row: &Row| {
        let (_, owner, name) = owners.get(row.2.as_deref()?)?;
        (*owner != row.0).then(|| name.clone())
    };
    rows.into_iter()
        .map(|row| {
            let owner = owner_of(&row);
            system_row(row, owner)
        })
        .collect()
}

fn system_row((id, name, jid, online, last_message, pending, _): Row, jid_owner: Option<String>) -> SystemRow {
    SystemRow {
        id: SystemId(id),
        name,
        jid,
        jid_owner,
        online,
        last_message: last_message.map(Timestamp::from_millis),
        pending,
    }
}
