//! Starts of this node, as they are recorded.

use diesel::OptionalExtension;
use diesel::sql_types::{BigInt, Nullable};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::client;
use super::failure::Failure;
use super::migrations::{self, Schema};
use super::statement::statement;
use crate::domain::ids::Incarnation;
use crate::domain::push::request::LossReason;
use crate::domain::time::Timestamp;
use crate::ports::push::Standing;
use crate::ports::store::{DatabaseLabel, StoreError};
use crate::store::label;

/// A start. Where the tables were made anew another one may have its number, but not its name and time as well.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) incarnation: Incarnation,
    name: String,
    started: Timestamp,
}

/// Whose number `incarnation` is: an older start's of this name, or one's of which nothing is recorded any more.
const IS_OVER: &str = "NOT EXISTS (SELECT 1 FROM osa_node n WHERE n.incarnation = own.incarnation \
     AND (n.name <> ? OR n.incarnation >= ?))";

impl Node {
    /// Begins one. Voids what those before it had claimed or sent, and what they said of who is online.
    pub(super) async fn start(
        connection: &mut AsyncPgConnection,
        name: String,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let (incarnation,) = statement::<(BigInt,)>(
            "INSERT INTO osa_node (name, started_at, alive_at) VALUES (?, ?, ?) RETURNING incarnation",
        )
        .bind(name.as_str())
        .bind(now)
        .bind(now)
        .get_result::<(i64,)>(connection)
        .await?;
        statement::<()>(format!(
            "UPDATE osa_request own SET state = 'lost', reason = ?, ended_at = ? \
             WHERE own.ended_at IS NULL AND own.state IN ('claimed', 'sent') AND {IS_OVER}"
        ))
        .bind(label::of_loss(LossReason::NodeRestarted))
        .bind(now)
        .bind(name.as_str())
        .bind(incarnation)
        .execute(connection)
        .await?;
        statement::<()>(format!(
            "UPDATE osa_push own SET online = FALSE WHERE own.online AND {IS_OVER}"
        ))
        .bind(name.as_str())
        .bind(incarnation)
        .execute(connection)
        .await?;
        client::remember_all_jids(connection).await?;
        Ok(Self {
            incarnation: Incarnation(incarnation),
            name,
            started: now,
        })
    }

    /// Says that it lives. If nothing is recorded of it any more it begins again, unless the tables are not all there, as
    /// while a backup is being restored, which must not find a row of ours in its way.
    pub(super) async fn stay(
        self,
        connection: &mut AsyncPgConnection,
        database: &DatabaseLabel,
        now: Timestamp,
    ) -> Result<(Self, Standing), Failure> {
        let newest = statement::<(Nullable<BigInt>,)>(
            "UPDATE osa_node own SET alive_at = ? WHERE own.incarnation = ? AND own.name = ? AND own.started_at = ? \
             RETURNING (SELECT max(n.incarnation) FROM osa_node n WHERE n.name = own.name \
               AND n.incarnation > own.incarnation AND n.alive_at > n.started_at)",
        )
        .bind(now)
        .bind(self.incarnation)
        .bind(self.name.as_str())
        .bind(self.started)
        .get_result::<(Option<i64>,)>(connection)
        .await
        .optional()?;
        if let Some((newer,)) = newest {
            let standing = newer.map(Incarnation).map_or(Standing::Current, Standing::Superseded);
            return Ok((self, standing));
        }
        let schema = migrations::schema(connection).await?;
        schema.refuse(database)?;
        if schema == Schema::Behind {
            return Err(StoreError::Unmigrated(database.clone()).into());
        }
        let renewed = Self::start(connection, self.name, now).await?;
        let standing = Standing::Renewed(renewed.incarnation);
        Ok((renewed, standing))
    }
}
