//! Systems and actions as the command line shows them. To change them is the Satellite's business.

use std::sync::Arc;

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Binary, Bool, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::PostgresStore;
use super::failure::Failure;
use super::pool::Access;
use super::requests::{self, last_trace};
use super::statement::{Statement, any_text, is_bigint, lossy, statement};
use super::work::millis;
use crate::domain::ids::{ActionId, SystemId};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::ports::inventory::{ActionFilter, ActionRow, ActionStatus, Explanation, Inventory, NewAction, SystemRow};
use crate::ports::store::{self, StoreError};
use crate::store::rows::{status_id, status_of};

const SYSTEMS: StoreError = StoreError::Satellites(store::SYSTEMS);
const SCHEDULE: StoreError = StoreError::Satellites(store::SCHEDULE);

#[async_trait]
impl Inventory for PostgresStore {
    async fn add_system(&self, _: &str, _: &Secret, _: Timestamp) -> Result<SystemId, StoreError> {
        Err(SYSTEMS)
    }

    /// Names need not be unique: the newest system of this name.
    async fn system_by_name(&self, name: &str) -> Result<Option<SystemRow>, StoreError> {
        let name = name.to_owned();
        let mut rows = self
            .run(Access::Read, move |connection| {
                let only = "AND s.name = ? ORDER BY s.id DESC LIMIT 1";
                Box::pin(systems(connection, only, Some(name.clone())))
            })
            .await?;
        Ok(rows.pop())
    }

    async fn systems(&self) -> Result<Vec<SystemRow>, StoreError> {
        self.run(Access::Read, |connection| {
            Box::pin(systems(connection, "ORDER BY s.name COLLATE \"C\", s.id", None))
        })
        .await
    }

    async fn remove_system(&self, _: SystemId) -> Result<bool, StoreError> {
        Err(SYSTEMS)
    }

    async fn schedule(&self, _: &NewAction, _: Timestamp) -> Result<ActionId, StoreError> {
        Err(SCHEDULE)
    }

    async fn reschedule(&self, _: ActionId, _: SystemId, _: Timestamp) -> Result<bool, StoreError> {
        Err(SCHEDULE)
    }

    async fn cancel(&self, _: ActionId, _: SystemId) -> Result<bool, StoreError> {
        Err(SCHEDULE)
    }

    async fn actions(&self, filter: &ActionFilter) -> Result<Vec<ActionRow>, StoreError> {
        let filter = filter.clone();
        self.run(Access::Read, move |connection| {
            let filter = filter.clone();
            Box::pin(async move { actions(connection, &filter).await })
        })
        .await
    }

    async fn explain(&self, system: SystemId) -> Result<Explanation, StoreError> {
        let catalog = Arc::clone(&self.catalog);
        self.run(Access::Read, move |connection| {
            let catalog = Arc::clone(&catalog);
            Box::pin(async move { requests::explain(connection, &catalog, system).await })
        })
        .await
    }
}

type System = (i64, Vec<u8>, Option<String>, bool, Option<i64>, i64);
type SystemTypes = (BigInt, Binary, Nullable<Text>, Bool, Nullable<BigInt>, BigInt);

async fn systems(
    connection: &mut AsyncPgConnection,
    only: &'static str,
    name: Option<String>,
) -> Result<Vec<SystemRow>, Failure> {
    let (last_message, is_bigint) = (millis("c.last_message_time"), is_bigint("s.id"));
    let name_of = any_text("coalesce(s.name, '')");
    let query = statement::<SystemTypes>(format!(
        "SELECT s.id::bigint, {name_of}, c.jabber_id, coalesce(state.label = 'online', FALSE), {last_message}, \
           (SELECT count(*) FROM rhnServerAction sa WHERE sa.server_id = s.id AND sa.status IN (0, 1)) \
         FROM rhnServer s LEFT JOIN rhnPushClient c ON c.server_id = s.id \
         LEFT JOIN rhnPushClientState state ON state.id = c.state_id WHERE {is_bigint} {only}"
    ));
    let query = match name {
        Some(name) => query.bind(name),
        None => query,
    };
    let rows: Vec<System> = query.load(connection).await?;
    let row = |(id, name, jid, online, last_message, pending): System| SystemRow {
        id: SystemId(id),
        name: lossy(&name),
        jid,
        // The Satellite takes a JID from all other systems when one claims it.
        jid_owner: None,
        online,
        last_message: last_message.map(Timestamp::from_millis),
        pending,
    };
    Ok(rows.into_iter().map(row).collect())
}

type Ids = (i64, i64, Vec<u8>, Vec<u8>, i64);
type Times = (i64, i64, Option<i64>, Option<i64>);
type Row = (Ids, Times, (i64, Option<Vec<u8>>));
type RowTypes = (
    (BigInt, BigInt, Binary, Binary, BigInt),
    (BigInt, BigInt, Nullable<BigInt>, Nullable<BigInt>),
    (BigInt, Nullable<Binary>),
);

/// Lists actions, newest first. One without a name has that of its type.
///
/// The conditions are written as needed: one that is always true would hide the index of
/// one that is not.
async fn actions(connection: &mut AsyncPgConnection, filter: &ActionFilter) -> Result<Vec<ActionRow>, Failure> {
    let rows: Vec<Row> = listing(filter).load(connection).await?;
    let mut told = Vec::with_capacity(rows.len());
    for (ids, times, (remaining_tries, result)) in rows {
        let (id, system, system_name, name, status) = ids;
        let (created, earliest, picked_up, completed) = times;
        let (id, system) = (ActionId(id), SystemId(system));
        let status = status_of(status).ok_or(Failure::Unreadable)?;
        // One that was rescheduled may have the time of its last end still.
        let is_over = matches!(status, ActionStatus::Completed | ActionStatus::Failed);
        let ended = completed.filter(|_| is_over);
        told.push(ActionRow {
            id,
            system,
            system_name: lossy(&system_name),
            name: lossy(&name),
            status,
            created: Timestamp::from_millis(created),
            earliest: Timestamp::from_millis(earliest),
            picked_up: picked_up.map(Timestamp::from_millis),
            completed: completed.map(Timestamp::from_millis),
            remaining_tries,
            result: result.as_deref().map(lossy),
            trace: last_trace(connection, system, id, ended).await?,
        });
    }
    Ok(told)
}

fn listing(filter: &ActionFilter) -> Statement<RowTypes> {
    let (created, earliest) = (millis("sa.created"), millis("a.earliest_action"));
    let (picked_up, completed) = (millis("sa.pickup_time"), millis("sa.completion_time"));
    let tries = "sa.remaining_tries";
    let tries = format!("coalesce(CASE WHEN {} THEN {tries} END, 0)::bigint", is_bigint(tries));
    let (system_name, name) = (any_text("coalesce(s.name, '')"), any_text("coalesce(a.name, t.name)"));
    let result = any_text("sa.result_msg");
    let (is_action, is_system) = (is_bigint("sa.action_id"), is_bigint("sa.server_id"));
    let mut text = format!(
        "SELECT sa.action_id::bigint, sa.server_id::bigint, {system_name}, {name}, \
           sa.status::bigint, {created}, {earliest}, {picked_up}, {completed}, {tries}, {result} \
         FROM rhnServerAction sa JOIN rhnAction a ON a.id = sa.action_id JOIN rhnServer s ON s.id = sa.server_id \
         JOIN rhnActionType t ON t.id = a.action_type WHERE {is_action} AND {is_system}"
    );
    let mut lists = Vec::new();
    if let Some(system) = filter.system {
        text.push_str(" AND sa.server_id = ANY(?::numeric[])");
        lists.push(vec![system.0]);
    }
    if !filter.statuses.is_empty() {
        text.push_str(" AND sa.status = ANY(?::numeric[])");
        lists.push(filter.statuses.iter().map(|status| status_id(*status)).collect());
    }
    if !filter.ids.is_empty() {
        text.push_str(" AND sa.action_id = ANY(?::numeric[])");
        lists.push(filter.ids.iter().map(|id| id.0).collect());
    }
    text.push_str(" ORDER BY sa.action_id DESC, sa.server_id LIMIT ?");
    lists
        .into_iter()
        .fold(statement(text), Statement::bind)
        .bind(i64::try_from(filter.limit).unwrap_or(i64::MAX))
}
