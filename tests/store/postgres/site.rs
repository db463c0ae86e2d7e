//! A Satellite and its database: what the Satellite does to its tables, beside the dispatcher's store.

use std::time::Duration;

use async_trait::async_trait;
use osa::domain::ids::{ActionId, ClientName, Incarnation, SystemId};
use osa::domain::push::action::SystemWork;
use osa::domain::push::changes::Changes;
use osa::domain::push::client::Client;
use osa::domain::push::request::{Claim, ClaimOutcome, Entry, PushRecord};
use osa::domain::secret::Secret;
use osa::domain::time::Timestamp;
use osa::ports::accounts::{Account, Accounts};
use osa::ports::inventory::{ActionFilter, ActionRow, Explanation, Inventory, NewAction, SystemRow};
use osa::ports::push::{PushStore, Standing};
use osa::ports::registrations::Registrations;
use osa::ports::store::{Store, StoreError};
use osa::store::postgres::{PostgresOptions, PostgresStore, administration};
use tokio::sync::mpsc::{self, Receiver};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Config, NoTls, Row};

use super::cluster::{Database, OWNER};
use crate::contract::Fixture;

/// A database with a dispatcher's store on it; the Satellite's part of the contract is done by SQL.
pub struct Site {
    pub store: PostgresStore,
    pub satellite: Satellite,
    pub options: PostgresOptions,
    pub database: Database,
}

impl Site {
    pub async fn new(database: Database) -> Self {
        let options = database.options();
        administration::migrate(&options).await.unwrap();
        Self::with(database, options).await
    }

    pub async fn with(database: Database, options: PostgresOptions) -> Self {
        Self {
            store: PostgresStore::open(&options).await.unwrap(),
            satellite: Satellite::at(&database).await,
            options,
            database,
        }
    }

    pub async fn satellite() -> Self {
        Self::new(Database::satellite()).await
    }
}

impl Fixture for Site {
    fn store(&self) -> &dyn Store {
        self
    }
}

/// The Satellite's own connection.
pub struct Satellite(tokio_postgres::Client);

/// Somebody else who listens.
pub struct Listener {
    payloads: Receiver<String>,
    _client: tokio_postgres::Client,
}

impl Listener {
    pub async fn next(&mut self) -> String {
        let next = tokio::time::timeout(Duration::from_secs(240), self.payloads.recv());
        next.await.unwrap().unwrap()
    }
}

fn config(database: &Database) -> Config {
    let mut config = Config::new();
    config
        .host_path(&database.socket)
        .port(database.port)
        .dbname(&database.name)
        .user(OWNER);
    config
}

impl Satellite {
    pub async fn at(database: &Database) -> Self {
        let (client, connection) = config(database).connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        Self(client)
    }

    /// Hears what is told on this channel from now on.
    pub async fn listening(database: &Database, channel: &str) -> Listener {
        let (client, mut connection) = config(database).connect(NoTls).await.unwrap();
        let (sender, payloads) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(notification) = message {
                    sender.try_send(notification.payload().to_owned()).ok();
                }
            }
        });
        client.batch_execute(&format!("LISTEN {channel}")).await.unwrap();
        Listener {
            payloads,
            _client: client,
        }
    }

    pub async fn run(&self, text: &str) {
        self.0.batch_execute(text).await.unwrap();
    }

    pub async fn rows(&self, text: &str, values: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        self.0.query(text, values).await.unwrap()
    }

    pub async fn one<T: for<'a> tokio_postgres::types::FromSql<'a>>(&self, text: &str) -> T {
        self.0.query_one(text, &[]).await.unwrap().get(0)
    }

    /// What `queue.get` and `queue.submit` do to an action's row.
    pub async fn set_status(&self, action: ActionId, system: SystemId, status: i64) {
        let text =
            "UPDATE rhnServerAction SET status = $1::bigint WHERE action_id = $2::bigint AND server_id = $3::bigint";
        assert_eq!(self.0.execute(text, &[&status, &action.0, &system.0]).await.unwrap(), 1);
    }

    pub async fn state(&self, system: SystemId) -> String {
        let text = format!(
            "SELECT s.label FROM rhnPushClient c JOIN rhnPushClientState s ON s.id = c.state_id WHERE c.server_id = {system}"
        );
        self.one(&text).await
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_secs() as f64
}

#[async_trait]
impl Inventory for Site {
    async fn add_system(&self, name: &str, secret: &Secret, _: Timestamp) -> Result<SystemId, StoreError> {
        let text = "INSERT INTO rhnServer (id, digital_server_id, secret, name) \
             SELECT id, 'ID-' || id, $1, $2 FROM (SELECT nextval('rhn_server_id_seq') AS id) next RETURNING id::bigint";
        let rows = self.satellite.rows(text, &[&secret.expose(), &name]).await;
        Ok(SystemId(rows[0].get(0)))
    }

    async fn system_by_name(&self, name: &str) -> Result<Option<SystemRow>, StoreError> {
        self.store.system_by_name(name).await
    }

    async fn systems(&self) -> Result<Vec<SystemRow>, StoreError> {
        self.store.systems().await
    }

    async fn remove_system(&self, system: SystemId) -> Result<bool, StoreError> {
        let there = self
            .satellite
            .rows("SELECT 1 FROM rhnServer WHERE id = $1::bigint", &[&system.0])
            .await;
        self.satellite.run(&format!("SELECT delete_server({system})")).await;
        Ok(!there.is_empty())
    }

    async fn schedule(&self, action: &NewAction, _: Timestamp) -> Result<ActionId, StoreError> {
        let text = "WITH added AS (INSERT INTO rhnAction (id, action_type, name, earliest_action, prerequisite) \
               VALUES (nextval('rhn_event_id_seq'), 30, $1, to_timestamp($2), $3::bigint) RETURNING id) \
             INSERT INTO rhnServerAction (server_id, action_id, status) \
             SELECT system, added.id, 0 FROM added, unnest($4::bigint[]) AS system RETURNING action_id::bigint";
        let systems: Vec<i64> = action.systems.iter().map(|system| system.0).collect();
        let first = action.prerequisite.map(|first| first.0);
        let rows = self
            .satellite
            .rows(text, &[&action.name, &seconds(action.earliest), &first, &systems])
            .await;
        Ok(ActionId(rows[0].get(0)))
    }

    async fn reschedule(&self, action: ActionId, system: SystemId, earliest: Timestamp) -> Result<bool, StoreError> {
        self.satellite.set_status(action, system, 0).await;
        let text = "UPDATE rhnAction SET earliest_action = to_timestamp($1) WHERE id = $2::bigint";
        self.satellite.rows(text, &[&seconds(earliest), &action.0]).await;
        Ok(true)
    }

    async fn cancel(&self, action: ActionId, system: SystemId) -> Result<bool, StoreError> {
        let text = "DELETE FROM rhnServerAction WHERE action_id = $1::bigint AND server_id = $2::bigint";
        self.satellite.rows(text, &[&action.0, &system.0]).await;
        Ok(true)
    }

    async fn actions(&self, filter: &ActionFilter) -> Result<Vec<ActionRow>, StoreError> {
        self.store.actions(filter).await
    }

    async fn explain(&self, system: SystemId) -> Result<Explanation, StoreError> {
        self.store.explain(system).await
    }
}

/// Compatibility contract, sections 2.5 and 2.6.
#[async_trait]
impl Registrations for Site {
    async fn system_secret(&self, _: SystemId) -> Result<Option<Secret>, StoreError> {
        unimplemented!("the Satellite's own affair")
    }

    async fn check_in(&self, _: SystemId, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn register_osad(
        &self,
        system: SystemId,
        name: &ClientName,
        key: &Secret,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        let offline = "(SELECT id FROM rhnPushClientState WHERE label = 'offline')";
        let update = format!(
            "UPDATE rhnPushClient SET name = $1, shared_key = $2, state_id = {offline}, next_action_time = NULL, \
               last_ping_time = NULL WHERE server_id = $3::bigint RETURNING 1"
        );
        let values: [&(dyn ToSql + Sync); 3] = [&name.0, &key.expose(), &system.0];
        if self.satellite.rows(&update, &values).await.is_empty() {
            let insert = format!(
                "INSERT INTO rhnPushClient (id, name, shared_key, server_id, state_id) \
                 VALUES (nextval('rhn_pclient_id_seq'), $1, $2, $3::bigint, {offline})"
            );
            self.satellite.rows(&insert, &values).await;
        }
        Ok(())
    }

    async fn register_osad_jid(&self, system: SystemId, jid: &str, _: Timestamp) -> Result<(), StoreError> {
        let others = "UPDATE rhnPushClient SET jabber_id = NULL WHERE jabber_id = $1 AND server_id <> $2::bigint";
        self.satellite.rows(others, &[&jid, &system.0]).await;
        let own = "UPDATE rhnPushClient SET jabber_id = $1, next_action_time = NULL, last_ping_time = NULL \
             WHERE server_id = $2::bigint";
        self.satellite.rows(own, &[&jid, &system.0]).await;
        Ok(())
    }
}

#[async_trait]
impl Accounts for Site {
    async fn account(&self, username: &str) -> Result<Option<Account>, StoreError> {
        self.store.account(username).await
    }

    async fn create_account(&self, username: &str, verifiers: &str, now: Timestamp) -> Result<(), StoreError> {
        self.store.create_account(username, verifiers, now).await
    }

    async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        self.store.accounts().await
    }

    async fn remove_account(&self, username: &str) -> Result<bool, StoreError> {
        self.store.remove_account(username).await
    }

    async fn expire_accounts(&self, cutoff: Timestamp) -> Result<usize, StoreError> {
        self.store.expire_accounts(cutoff).await
    }
}

#[async_trait]
impl PushStore for Site {
    async fn start_node(&self, node: &str, now: Timestamp) -> Result<Incarnation, StoreError> {
        self.store.start_node(node, now).await
    }

    fn incarnation(&self) -> Option<Incarnation> {
        self.store.incarnation()
    }

    async fn clients_by_jid(&self, jid: &str) -> Result<Vec<Client>, StoreError> {
        self.store.clients_by_jid(jid).await
    }

    async fn client_by_name(&self, name: &ClientName) -> Result<Option<Client>, StoreError> {
        self.store.client_by_name(name).await
    }

    async fn client_of_system(&self, system: SystemId) -> Result<Option<Client>, StoreError> {
        self.store.client_of_system(system).await
    }

    async fn push_records(&self, systems: &[SystemId]) -> Result<Vec<(PushRecord, SystemWork)>, StoreError> {
        self.store.push_records(systems).await
    }

    async fn changed_systems(&self) -> Result<Changes, StoreError> {
        self.store.changed_systems().await
    }

    async fn work(&self, systems: &[SystemId]) -> Result<Vec<SystemWork>, StoreError> {
        self.store.work(systems).await
    }

    async fn claim(
        &self,
        claims: &[Claim],
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<ClaimOutcome>, StoreError> {
        self.store.claim(claims, lease_until, now).await
    }

    async fn record(&self, entries: &[Entry]) -> Result<(), StoreError> {
        self.store.record(entries).await
    }

    async fn make_durable(&self) -> Result<(), StoreError> {
        self.store.make_durable().await
    }

    async fn settle_presence(&self, connected: &[(SystemId, bool)], now: Timestamp) -> Result<Standing, StoreError> {
        self.store.settle_presence(connected, now).await
    }

    async fn prune(&self, cutoff: Timestamp) -> Result<usize, StoreError> {
        self.store.prune(cutoff).await
    }
}
