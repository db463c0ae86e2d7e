//! The part of a Satellite that clients enrol with: it knows its database, and of the dispatcher only what stands there.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use async_trait::async_trait;
use osa::domain::ids::{ClientName, SystemId};
use osa::domain::secret::Secret;
use osa::domain::time::Timestamp;
use osa::host::clock::{OsEntropy, SystemClock};
use osa::net::listener::listen_on;
use osa::net::registration::{Registrar, RegistrationEndpoint};
use osa::net::tls::{ServerFiles, ServerTls};
use osa::ports::clock::Clock;
use osa::ports::registrations::{RegistrationObserver, Registrations};
use osa::ports::service::Service;
use osa::ports::store::{DatabaseLabel, StoreError};
use osa::ports::transport::Listener;
use tokio::sync::Mutex;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::cluster::{Database, OWNER};

impl Database {
    /// The rows of a query, one line each.
    pub fn query(&self, text: &str) -> String {
        let output = self
            .psql()
            .arg("-Atc")
            .arg(text)
            .stdout(Stdio::piped())
            .output()
            .unwrap();
        assert!(output.status.success(), "{text}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

/// Serves until the test ends; clients are told the one dispatcher that the database knows.
pub fn serve(database: &Arc<Database>, tls: &Path) -> SocketAddr {
    serve_as(database, tls, "localhost", "localhost")
}

/// The same, for clients that know it by this name, of a Satellite with that name.
pub fn serve_as(database: &Arc<Database>, tls: &Path, hostname: &str, satellite: &str) -> SocketAddr {
    let registrar = registrar(database, hostname, satellite);
    let tls = server_tls(tls, hostname);
    in_a_thread(move |told| {
        actix_rt::System::new().block_on(async {
            let listener = listen_on(SocketAddr::from(([127, 0, 0, 1], 0)), &tls).unwrap();
            told.send(listener.local_addr()).unwrap();
            endpoint(registrar, listener).serve().await;
        });
    })
}

/// The same as [`serve`]; clients are told the dispatcher that the database knows at that time.
pub fn serve_who_is_there(database: &Arc<Database>, tls: &Path) -> SocketAddr {
    let (database, tls) = (Arc::clone(database), server_tls(tls, "localhost"));
    in_a_thread(move |told| {
        let mut place = SocketAddr::from(([127, 0, 0, 1], 0));
        loop {
            // Its connections end with it.
            actix_rt::System::new().block_on(async {
                let listener = listen_on(place, &tls).unwrap();
                place = listener.local_addr();
                told.send(place).ok();
                let registrar = registrar(&database, "localhost", "localhost");
                let known = registrar.dispatcher.clone();
                tokio::select! {
                    () = endpoint(registrar, listener).serve() => {}
                    () = is_another(&database, &known) => {}
                }
            });
        }
    })
}

/// Returns when the database knows another dispatcher than this.
async fn is_another(database: &Arc<Database>, known: &str) {
    let httpd = Httpd::new(database);
    let others = format!("SELECT 1 FROM rhnPushDispatcher WHERE jabber_id <> '{known}'");
    while !matches!(httpd.ask(&others).await, Ok(Some(_))) {
        actix_rt::time::sleep(Duration::from_millis(100)).await;
    }
}

fn registrar(database: &Arc<Database>, hostname: &str, satellite: &str) -> Registrar {
    let dispatcher = database.query("SELECT jabber_id FROM rhnPushDispatcher");
    assert_eq!(dispatcher.lines().count(), 1, "{dispatcher}");
    Registrar {
        registrations: Arc::new(Httpd::new(database)),
        observer: Arc::new(Nobody),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
        jabber_server: satellite.to_owned(),
        dispatcher,
        domains: vec![hostname.to_owned()],
    }
}

fn server_tls(tls: &Path, hostname: &str) -> Arc<ServerTls> {
    let files = ServerFiles {
        certificate: tls.join("server.crt"),
        key: tls.join("server.key"),
        hostname: hostname.to_owned(),
        authority: None,
    };
    Arc::new(ServerTls::load_all(vec![files], SystemClock.now()).unwrap())
}

fn endpoint(registrar: Registrar, listener: Arc<dyn Listener>) -> RegistrationEndpoint {
    let handshakes = Arc::new(tokio::sync::Semaphore::new(8));
    RegistrationEndpoint::new(registrar, vec![listener], handshakes)
}

/// Until the test ends; returns where it serves.
fn in_a_thread(serve: impl FnOnce(Sender<SocketAddr>) + Send + 'static) -> SocketAddr {
    let (told, address) = channel();
    std::thread::spawn(move || serve(told));
    address.recv().unwrap()
}

struct Nobody;

impl RegistrationObserver for Nobody {
    fn registration_changed(&self, _: SystemId) {}
}

/// Its one connection is made anew when it is gone.
struct Httpd {
    database: Arc<Database>,
    client: Mutex<Option<Client>>,
}

impl Httpd {
    fn new(database: &Arc<Database>) -> Self {
        Self {
            database: Arc::clone(database),
            client: Mutex::new(None),
        }
    }

    /// The first column of the first row, if there is one.
    async fn ask(&self, text: &str) -> Result<Option<String>, tokio_postgres::Error> {
        let mut place = self.client.lock().await;
        let client = match place.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => self.connect().await?,
        };
        let messages = client.simple_query(text).await?;
        *place = Some(client);
        Ok(messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    }

    async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.database.socket).port(self.database.port);
        config.user(OWNER).dbname(&self.database.name);
        let (client, connection) = config.connect(NoTls).await?;
        actix_rt::spawn(connection);
        Ok(client)
    }
}

fn failed(error: &tokio_postgres::Error) -> StoreError {
    StoreError::Unreachable {
        database: DatabaseLabel::new("satellite"),
        reason: error.to_string(),
    }
}

/// Compatibility contract, sections 2.5 and 2.6.
#[async_trait]
impl Registrations for Httpd {
    async fn system_secret(&self, system: SystemId) -> Result<Option<Secret>, StoreError> {
        let text = format!("SELECT secret FROM rhnServer WHERE id = {system}");
        let secret = self.ask(&text).await.map_err(|error| failed(&error))?;
        Ok(secret.map(Secret::new))
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
        let (name, key) = (&name.0, key.expose());
        let offline = "(SELECT id FROM rhnPushClientState WHERE label = 'offline')";
        let text = format!(
            "UPDATE rhnPushClient SET name = '{name}', shared_key = '{key}', state_id = {offline}, \
               next_action_time = NULL, last_ping_time = NULL WHERE server_id = {system}; \
             INSERT INTO rhnPushClient (id, name, shared_key, server_id, state_id) \
             SELECT nextval('rhn_pclient_id_seq'), '{name}', '{key}', {system}, {offline} \
             WHERE NOT EXISTS (SELECT 1 FROM rhnPushClient WHERE server_id = {system})"
        );
        self.ask(&text).await.map(drop).map_err(|error| failed(&error))
    }

    async fn register_osad_jid(&self, system: SystemId, jid: &str, _: Timestamp) -> Result<(), StoreError> {
        let text = format!(
            "UPDATE rhnPushClient SET jabber_id = NULL WHERE jabber_id = '{jid}' AND server_id <> {system}; \
             UPDATE rhnPushClient SET jabber_id = '{jid}', next_action_time = NULL, last_ping_time = NULL \
             WHERE server_id = {system}"
        );
        self.ask(&text).await.map(drop).map_err(|error| failed(&error))
    }
}
