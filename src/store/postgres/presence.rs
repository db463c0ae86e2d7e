//! Who is online, in the columns that the Satellite's web interface shows.
//!
//! The truth is in own tables; `rhnPushClient` is written after it, as sets, and only where it differs. So a row that
//! the Satellite holds for long keeps nobody from being pushed, and what could not be shown is shown a minute later.

use std::collections::BTreeMap;

use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::catalog::Catalog;
use super::failure::Failure;
use super::statement::{ids, is_bigint, statement};
use crate::domain::ids::{Incarnation, SystemId};
use crate::domain::push::request::{Entry, Step};
use crate::domain::time::Timestamp;

/// A node that has said nothing for so long is dead. Nodes say that they live once a minute. Units: milliseconds.
const NODE_SILENT_MAX: i64 = 150_000;

/// What a batch of steps changes for people to see.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    systems: BTreeMap<SystemId, (Option<bool>, Option<Timestamp>)>,
}

impl Shown {
    /// The last word of a batch on each system.
    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut shown = Self::default();
        for entry in entries {
            match entry.step {
                Step::Online(online) => shown.systems.entry(entry.system).or_default().0 = Some(online),
                Step::Heard => shown.systems.entry(entry.system).or_default().1 = Some(entry.at),
                Step::Sent(_)
                | Step::Answered(_)
                | Step::Received(_)
                | Step::Refused(..)
                | Step::Lost(..)
                | Step::Started(_)
                | Step::Finished(_)
                | Step::Delivered(..)
                | Step::Waiting(_)
                | Step::AgentAnnounced => {}
            }
        }
        shown
    }

    pub(super) fn is_empty(&self) -> bool {
        self.systems.is_empty()
    }

    /// Writes the columns that an original dispatcher wrote; compatibility contract, statements D4 and D5. A system that
    /// is connected to another node by now is not shown offline.
    pub(super) async fn write(&self, connection: &mut AsyncPgConnection, catalog: &Catalog) -> Result<(), Failure> {
        // Who signs is online, whatever was thought of it.
        let state = |online: &Option<bool>| match online {
            Some(false) => catalog.offline,
            Some(true) | None => catalog.online,
        };
        let rows = self.systems.values();
        let heard = |at: &Option<Timestamp>| at.map(Timestamp::as_millis);
        statement::<()>(
            "UPDATE rhnPushClient c SET state_id = v.state::numeric, \
               last_message_time = coalesce(to_timestamp(v.heard / 1000.0), c.last_message_time), \
               last_ping_time = NULL, next_action_time = NULL \
             FROM (SELECT unnest(?) AS server_id, unnest(?) AS state, unnest(?) AS heard) v \
             WHERE c.server_id = v.server_id::numeric AND (v.state <> ? OR NOT EXISTS \
               (SELECT 1 FROM osa_push p WHERE p.server_id = v.server_id AND p.online))",
        )
        .bind(self.systems.keys().map(|system| system.0).collect::<Vec<_>>())
        .bind(rows.clone().map(|(online, _)| state(online)).collect::<Vec<_>>())
        .bind(rows.map(|(_, at)| heard(at)).collect::<Vec<_>>())
        .bind(catalog.offline)
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Says that exactly these systems are connected to this node and answer.
pub(super) async fn declare(
    connection: &mut AsyncPgConnection,
    node: Incarnation,
    online: &[SystemId],
) -> Result<(), Failure> {
    statement::<()>(
        "UPDATE osa_push p SET online = FALSE WHERE p.online AND p.incarnation = ? \
           AND NOT EXISTS (SELECT 1 FROM unnest(?) v WHERE v = p.server_id)",
    )
    .bind(node)
    .bind(ids(online))
    .execute(connection)
    .await?;
    statement::<()>(
        "UPDATE osa_push p SET online = TRUE, incarnation = ? FROM unnest(?) v \
         WHERE p.server_id = v AND NOT p.online",
    )
    .bind(node)
    .bind(ids(online))
    .execute(connection)
    .await?;
    Ok(())
}

/// Makes `rhnPushClient` show what own tables say; how many rows were wrong.
pub(super) async fn show(
    connection: &mut AsyncPgConnection,
    catalog: &Catalog,
    now: Timestamp,
) -> Result<usize, Failure> {
    const IS_ONLINE: &str = "EXISTS (SELECT 1 FROM osa_push p JOIN osa_node n ON n.incarnation = p.incarnation \
         WHERE p.server_id = c.server_id::bigint AND p.online AND n.alive_at > ?)";
    let (mut wrong, is_bigint) = (0, is_bigint("c.server_id"));
    // An unanswered ping of the web interface stands, until its client is heard.
    const UNANSWERED: &str = "AND NOT (c.last_ping_time IS NOT NULL AND c.next_action_time IS NOT NULL \
         AND c.next_action_time < now())";
    let directions = [
        (catalog.online, catalog.offline, "NOT ", ""),
        (catalog.offline, catalog.online, "", UNANSWERED),
    ];
    for (from, to, is_online, unless) in directions {
        wrong += statement::<()>(format!(
            "UPDATE rhnPushClient c SET state_id = ?::numeric, last_ping_time = NULL, next_action_time = NULL \
             WHERE c.state_id = ?::numeric AND {is_bigint} AND {is_online}{IS_ONLINE} {unless}"
        ))
        .bind(to)
        .bind(from)
        .bind(now.as_millis() - NODE_SILENT_MAX)
        .execute(connection)
        .await?;
    }
    Ok(wrong)
}
