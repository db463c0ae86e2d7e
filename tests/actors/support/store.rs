//! A database of accounts and registrations in memory.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use osa::domain::ids::{ClientName, Incarnation, SystemId};
use osa::domain::push::action::SystemWork;
use osa::domain::push::changes::Changes;
use osa::domain::push::client::Client;
use osa::domain::push::request::{Claim, ClaimOutcome, Entry, PushRecord};
use osa::domain::secret::Secret;
use osa::domain::time::Timestamp;
use osa::ports::accounts::{Account, Accounts};
use osa::ports::push::{PushStore, Standing};
use osa::ports::registrations::Registrations;
use osa::ports::store::StoreError;

/// Whoever reads this system's registration panics.
pub const POISON: SystemId = SystemId(666);

#[derive(Default)]
pub struct FakeStore {
    accounts: Mutex<HashMap<String, Account>>,
    clients: Mutex<Vec<Client>>,
    secrets: Mutex<HashMap<SystemId, Secret>>,
    /// How long reading a row by JID takes.
    pub reading_takes: Mutex<Duration>,
    /// Systems that checked in, in order.
    pub check_ins: Mutex<Vec<SystemId>>,
}

impl FakeStore {
    pub fn add_client(&self, system: SystemId, jid: &str) -> Client {
        let client = Client {
            system,
            name: ClientName(format!("{:016x}", system.0)),
            shared_key: Secret::new("0123456789abcdef0123456789abcdef01234567"),
            jid: jid.to_owned(),
            announced: false,
        };
        self.clients.lock().expect("not poisoned").push(client.clone());
        client
    }

    /// The system's registration, made anew.
    pub fn replace_client(&self, client: Client) {
        let mut clients = self.clients.lock().expect("not poisoned");
        clients.retain(|other| other.system != client.system && other.jid != client.jid);
        clients.push(client);
    }

    /// All registrations are lost.
    pub fn forget_clients(&self) {
        self.clients.lock().expect("not poisoned").clear();
    }

    pub fn add_system(&self, system: SystemId, secret: &Secret) {
        self.secrets
            .lock()
            .expect("not poisoned")
            .insert(system, secret.clone());
    }

    /// The registration now belongs to another system.
    pub fn rename_system(&self, from: SystemId, to: SystemId) {
        let mut clients = self.clients.lock().expect("not poisoned");
        for client in clients.iter_mut().filter(|client| client.system == from) {
            client.system = to;
        }
    }

    fn find_all(&self, is_it: impl Fn(&Client) -> bool) -> Vec<Client> {
        let clients = self.clients.lock().expect("not poisoned");
        clients.iter().filter(|client| is_it(client)).cloned().collect()
    }

    fn find(&self, is_it: impl Fn(&Client) -> bool) -> Option<Client> {
        let clients = self.clients.lock().expect("not poisoned");
        clients.iter().find(|client| is_it(client)).cloned()
    }
}

#[async_trait]
impl Accounts for FakeStore {
    async fn account(&self, username: &str) -> Result<Option<Account>, StoreError> {
        Ok(self.accounts.lock().expect("not poisoned").get(username).cloned())
    }

    async fn create_account(&self, username: &str, verifiers: &str, now: Timestamp) -> Result<(), StoreError> {
        let account = Account {
            username: username.to_owned(),
            verifiers: verifiers.to_owned(),
            created: now,
            linked: false,
        };
        let before = self
            .accounts
            .lock()
            .expect("not poisoned")
            .insert(username.to_owned(), account);
        match before {
            None => Ok(()),
            Some(_) => Err(StoreError::Exists {
                what: username.to_owned(),
            }),
        }
    }

    async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        unimplemented!("not asked by sessions")
    }

    async fn remove_account(&self, _: &str) -> Result<bool, StoreError> {
        unimplemented!("not asked by sessions")
    }

    async fn expire_accounts(&self, _: Timestamp) -> Result<usize, StoreError> {
        unimplemented!("not asked by sessions")
    }
}

#[async_trait]
impl PushStore for FakeStore {
    async fn start_node(&self, _: &str, _: Timestamp) -> Result<Incarnation, StoreError> {
        unimplemented!("not asked by sessions")
    }

    fn incarnation(&self) -> Option<Incarnation> {
        unimplemented!("not asked by sessions")
    }

    async fn clients_by_jid(&self, jid: &str) -> Result<Vec<Client>, StoreError> {
        let clients = self.find_all(|client| client.jid == jid);
        assert!(clients.iter().all(|client| client.system != POISON), "told to");
        let takes = *self.reading_takes.lock().expect("not poisoned");
        tokio::time::sleep(takes).await;
        Ok(clients)
    }

    async fn client_by_name(&self, name: &ClientName) -> Result<Option<Client>, StoreError> {
        Ok(self.find(|client| client.name == *name))
    }

    async fn client_of_system(&self, system: SystemId) -> Result<Option<Client>, StoreError> {
        Ok(self.find(|client| client.system == system))
    }

    async fn push_records(&self, _: &[SystemId]) -> Result<Vec<(PushRecord, SystemWork)>, StoreError> {
        unimplemented!("not asked by sessions")
    }

    async fn changed_systems(&self) -> Result<Changes, StoreError> {
        unimplemented!("not asked by sessions")
    }

    async fn work(&self, _: &[SystemId]) -> Result<Vec<SystemWork>, StoreError> {
        unimplemented!("not asked by sessions")
    }

    async fn claim(&self, _: &[Claim], _: Timestamp, _: Timestamp) -> Result<Vec<ClaimOutcome>, StoreError> {
        unimplemented!("not asked by sessions")
    }

    async fn record(&self, _: &[Entry]) -> Result<(), StoreError> {
        unimplemented!("not asked by sessions")
    }

    async fn make_durable(&self) -> Result<(), StoreError> {
        unimplemented!("not asked by sessions")
    }

    async fn settle_presence(&self, _: &[(SystemId, bool)], _: Timestamp) -> Result<Standing, StoreError> {
        unimplemented!("not asked by sessions")
    }

    async fn prune(&self, _: Timestamp) -> Result<usize, StoreError> {
        unimplemented!("not asked by sessions")
    }
}

#[async_trait]
impl Registrations for FakeStore {
    async fn system_secret(&self, system: SystemId) -> Result<Option<Secret>, StoreError> {
        Ok(self.secrets.lock().expect("not poisoned").get(&system).cloned())
    }

    async fn check_in(&self, system: SystemId, _: Timestamp) -> Result<(), StoreError> {
        self.check_ins.lock().expect("not poisoned").push(system);
        Ok(())
    }

    async fn register_osad(
        &self,
        system: SystemId,
        name: &ClientName,
        shared_key: &Secret,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        let mut clients = self.clients.lock().expect("not poisoned");
        clients.retain(|client| client.system != system);
        clients.push(Client {
            system,
            name: name.clone(),
            shared_key: shared_key.clone(),
            jid: String::new(),
            announced: false,
        });
        Ok(())
    }

    async fn register_osad_jid(&self, system: SystemId, jid: &str, _: Timestamp) -> Result<(), StoreError> {
        let mut clients = self.clients.lock().expect("not poisoned");
        let client = clients.iter_mut().find(|client| client.system == system);
        let Some(client) = client else {
            return Err(StoreError::NotFound {
                what: system.to_string(),
            });
        };
        client.jid = jid.to_owned();
        Ok(())
    }
}
