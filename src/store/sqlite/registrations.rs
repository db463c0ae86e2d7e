//! What the registration endpoint reads and writes.

use async_trait::async_trait;
use diesel::dsl::{exists, select};
use diesel::{ExpressionMethods, OptionalExtension, QueryDsl, QueryResult, RunQueryDsl, SqliteConnection};

use super::SqliteStore;
use super::failure::Failure;
use super::schema::{OFFLINE, osa_push, rhn_push_client, rhn_server, rhn_server_info};
use crate::domain::ids::{ClientName, SystemId};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::ports::registrations::Registrations;
use crate::ports::store::StoreError;

#[async_trait]
impl Registrations for SqliteStore {
    async fn system_secret(&self, system: SystemId) -> Result<Option<Secret>, StoreError> {
        self.read(move |connection| {
            let secret = rhn_server::table
                .find(system.0)
                .select(rhn_server::secret)
                .first::<String>(connection)
                .optional()?;
            Ok(secret.map(Secret::new))
        })
        .await
    }

    async fn check_in(&self, system: SystemId, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |connection| {
            require_system(connection, system)?;
            diesel::insert_into(rhn_server_info::table)
                .values((
                    rhn_server_info::server_id.eq(system.0),
                    rhn_server_info::checkin.eq(now.as_millis()),
                    rhn_server_info::checkin_counter.eq(1),
                ))
                .on_conflict(rhn_server_info::server_id)
                .do_update()
                .set((
                    rhn_server_info::checkin.eq(now.as_millis()),
                    rhn_server_info::checkin_counter.eq(rhn_server_info::checkin_counter + 1),
                ))
                .execute(connection)?;
            Ok(())
        })
        .await
    }

    async fn register_osad(
        &self,
        system: SystemId,
        name: &ClientName,
        shared_key: &Secret,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (name, shared_key) = (name.clone(), shared_key.clone());
        self.alter(move |connection| {
            require_system(connection, system)?;
            let given = (
                rhn_push_client::name.eq(&name.0),
                rhn_push_client::shared_key.eq(shared_key.expose()),
                rhn_push_client::state_id.eq(OFFLINE),
                rhn_push_client::next_action_time.eq(None::<i64>),
                rhn_push_client::last_ping_time.eq(None::<i64>),
                rhn_push_client::modified.eq(now.as_millis()),
            );
            diesel::insert_into(rhn_push_client::table)
                .values((
                    rhn_push_client::server_id.eq(system.0),
                    rhn_push_client::created.eq(now.as_millis()),
                    given,
                ))
                .on_conflict(rhn_push_client::server_id)
                .do_update()
                .set(given)
                .execute(connection)
                .map_err(|error| Failure::exists(error, format!("client name {name}")))?;
            Ok(())
        })
        .await
    }

    async fn register_osad_jid(&self, system: SystemId, jid: &str, now: Timestamp) -> Result<(), StoreError> {
        let jid = jid.to_owned();
        self.alter(move |connection| {
            note_claim(connection, system, &jid, now)?;
            let given = diesel::update(rhn_push_client::table.filter(rhn_push_client::server_id.eq(system.0)))
                .set((
                    rhn_push_client::jabber_id.eq(&jid),
                    rhn_push_client::next_action_time.eq(None::<i64>),
                    rhn_push_client::last_ping_time.eq(None::<i64>),
                    rhn_push_client::modified.eq(now.as_millis()),
                ))
                .execute(connection)?;
            if given == 0 {
                return Err(Failure::not_found(format!("registration of system {system}")));
            }
            Ok(())
        })
        .await
    }
}

/// A JID that the system had before keeps what it has shown by signing, whatever its name and key are now.
fn note_claim(connection: &mut SqliteConnection, system: SystemId, jid: &str, now: Timestamp) -> QueryResult<usize> {
    let had = rhn_push_client::table
        .filter(rhn_push_client::server_id.eq(system.0))
        .filter(rhn_push_client::jabber_id.eq(jid));
    if select(exists(had)).get_result::<bool>(connection)? {
        return Ok(0);
    }
    diesel::update(osa_push::table.find(system.0))
        .set(osa_push::claimed_at.eq(now.as_millis()))
        .execute(connection)
}

fn require_system(connection: &mut SqliteConnection, system: SystemId) -> Result<(), Failure> {
    if select(exists(rhn_server::table.find(system.0))).get_result::<bool>(connection)? {
        return Ok(());
    }
    Err(Failure::not_found(format!("system {system}")))
}
