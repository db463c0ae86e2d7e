//! A jabberd2 of one measurement's own: from Debian's package, and set up as that of the tests.
//!
//! It runs without the part that speaks to other servers.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Text};
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_query};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::error::SwarmError;
use super::process::{Process, Usage};
use super::site::HOSTNAME;
use crate::domain::dispatcher_rows;
use crate::domain::secret::Secret;
use crate::protocol::stanza::bare;

/// Tables of its store, and its configuration without what differs from one to the next.
const TABLES: &str = include_str!("../../../tests/e2e/servers/jabberd2/store.sql");
const FILES: [(&str, &str); 5] = [
    (
        "users.xml",
        include_str!("../../../tests/e2e/servers/jabberd2/users.xml"),
    ),
    (
        "filter.xml",
        include_str!("../../../tests/e2e/servers/jabberd2/filter.xml"),
    ),
    (
        "router.xml",
        include_str!("../../../tests/e2e/servers/jabberd2/router.xml"),
    ),
    ("sm.xml", include_str!("../../../tests/e2e/servers/jabberd2/sm.xml")),
    ("c2s.xml", include_str!("../../../tests/e2e/servers/jabberd2/c2s.xml")),
];
/// What a component may open: one for each client. Below what this process may, which it inherits.
const CLIENTS_MAX: u32 = 16_384;
/// How long each part may take to start.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked whether it has.
const ASK_INTERVAL: Duration = Duration::from_millis(5);
/// Rows in one transaction.
const ROWS_AT_ONCE: usize = 1_000;

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// The server; its processes end when it is dropped.
pub(super) struct Jabberd {
    directory: PathBuf,
    clients: SocketAddr,
    router: SocketAddr,
    processes: Vec<Process>,
}

impl Jabberd {
    /// Makes directory, configuration and an empty store, for a server that is to listen at `clients` with the
    /// certificate of that directory.
    pub(super) fn prepare(
        directory: PathBuf,
        clients: SocketAddr,
        router: SocketAddr,
        tls: &Path,
    ) -> Result<Self, SwarmError> {
        fs::create_dir_all(&directory).map_err(SwarmError::file("make", &directory))?;
        let (path, libraries) = (directory.display().to_string(), libraries()?);
        for (name, text) in FILES {
            let text = [
                ("@directory@", path.as_str()),
                ("@libraries@", &libraries),
                ("@domain@", HOSTNAME),
                ("@router@", &router.port().to_string()),
                ("@c2s@", &clients.port().to_string()),
                ("@max_fds@", &CLIENTS_MAX.to_string()),
            ]
            .into_iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
            write(&directory.join(name), &text)?;
        }
        let read = |path: PathBuf| fs::read_to_string(&path).map_err(SwarmError::file("read", path));
        let pair = read(tls.join("server.crt"))? + &read(tls.join("server.key"))?;
        write(&directory.join("server.pem"), &pair)?;
        let server = Self {
            directory,
            clients,
            router,
            processes: Vec::new(),
        };
        server.store()?.batch_execute(TABLES)?;
        Ok(server)
    }

    /// Starts it; returns when clients are served.
    pub(super) async fn launch(&mut self) -> Result<(), SwarmError> {
        // After a kill the first to open the store repairs it, and the others would find it locked, and end.
        self.store()?.batch_execute("BEGIN IMMEDIATE; COMMIT")?;
        let routes = self.directory.join("router.log");
        // It may never have run.
        let _ = fs::remove_file(&routes);
        self.start("router")?;
        let router = self.router;
        // A component that comes too early tries again in 2 s.
        self.wait(async move || TcpStream::connect(router).await.is_ok())
            .await?;
        self.start("sm")?;
        let joined = format!("[{HOSTNAME}] online");
        self.wait(async move || fs::read_to_string(&routes).is_ok_and(|log| log.contains(&joined)))
            .await?;
        self.start("c2s")?;
        let clients = self.clients;
        self.wait(async move || offers_features(clients).await).await
    }

    /// Ends it as an administrator does.
    pub(super) fn stop(&mut self) {
        self.processes.iter_mut().rev().for_each(Process::terminate);
        self.processes.clear();
    }

    /// Ends all its processes as a crash does.
    pub(super) fn kill(&mut self) {
        self.processes.iter_mut().rev().for_each(Process::kill);
        self.processes.clear();
    }

    /// What its processes used since they were started.
    pub(super) fn usage(&self) -> Usage {
        let usages = self.processes.iter().map(Process::usage);
        usages.fold(Usage::default(), |sum, usage| Usage {
            cpu: sum.cpu + usage.cpu,
            store_cpu: sum.store_cpu,
            resident: sum.resident + usage.resident,
        })
    }

    /// Makes accounts, as an administrator does.
    pub(super) fn add_accounts(&self, usernames: &[String], password: &Secret) -> Result<(), SwarmError> {
        self.insert(usernames, |store, username| {
            sql_query("INSERT INTO authreg (username, realm, password) VALUES (?, '', ?)")
                .bind::<Text, _>(username)
                .bind::<Text, _>(password.expose())
                .execute(store)?;
            sql_query("INSERT INTO active (\"collection-owner\", time) VALUES (?, 1)")
                .bind::<Text, _>(jid(username))
                .execute(store)
        })
    }

    /// Has the dispatcher and all these see each other, and forgets what waits for them; it must be stopped.
    pub(super) fn subscribe_all(&self, usernames: &[String]) -> Result<(), SwarmError> {
        self.store()?
            .batch_execute("DELETE FROM \"roster-items\"; DELETE FROM queue")?;
        let dispatcher = dispatcher();
        self.insert(usernames, |store, username| {
            let agent = jid(username);
            add_contact(store, &dispatcher, &agent)?;
            add_contact(store, &agent, &dispatcher)
        })
    }

    /// How many contacts the dispatcher has, asked or seen.
    pub(super) fn contacts(&self) -> Result<usize, SwarmError> {
        let counted = sql_query("SELECT count(*) AS count FROM \"roster-items\" WHERE \"collection-owner\" = ?")
            .bind::<Text, _>(dispatcher())
            .get_result::<Count>(&mut self.store()?)?;
        Ok(usize::try_from(counted.count).unwrap_or(0))
    }

    fn insert(
        &self,
        usernames: &[String],
        row: impl Fn(&mut SqliteConnection, &str) -> diesel::QueryResult<usize>,
    ) -> Result<(), SwarmError> {
        let mut store = self.store()?;
        for chunk in usernames.chunks(ROWS_AT_ONCE) {
            store.transaction(|store| chunk.iter().try_for_each(|username| row(store, username).map(drop)))?;
        }
        Ok(())
    }

    fn start(&mut self, component: &'static str) -> Result<(), SwarmError> {
        // However the swarm ends, nothing of it stays.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .arg(format!("/usr/sbin/jabberd2-{component}"))
            .arg("-c")
            .arg(self.directory.join(component).with_extension("xml"));
        let log = self.directory.join(component).with_extension("out");
        self.processes.push(Process::spawn("jabberd2", &mut command, &log)?);
        Ok(())
    }

    async fn wait(&mut self, holds: impl AsyncFn() -> bool) -> Result<(), SwarmError> {
        let waiting = async {
            while !holds().await {
                self.processes.iter_mut().try_for_each(Process::check)?;
                tokio::time::sleep(ASK_INTERVAL).await;
            }
            Ok(())
        };
        let log = self.directory.clone();
        let timed_out = |_| SwarmError::TimedOut("the start of jabberd2", START_PATIENCE.as_secs(), log);
        tokio::time::timeout(START_PATIENCE, waiting).await.map_err(timed_out)?
    }

    fn store(&self) -> Result<SqliteConnection, SwarmError> {
        let path = self.directory.join("sqlite.db");
        let mut store = SqliteConnection::establish(&path.to_string_lossy())?;
        store.batch_execute("PRAGMA busy_timeout = 10000")?;
        Ok(store)
    }
}

impl Drop for Jabberd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn add_contact(store: &mut SqliteConnection, owner: &str, contact: &str) -> diesel::QueryResult<usize> {
    sql_query(
        "INSERT INTO \"roster-items\" (\"collection-owner\", jid, name, \"to\", \"from\", ask) \
         VALUES (?, ?, '', 1, 1, 0)",
    )
    .bind::<Text, _>(owner)
    .bind::<Text, _>(contact)
    .execute(store)
}

fn jid(username: &str) -> String {
    format!("{username}@{HOSTNAME}")
}

fn dispatcher() -> String {
    bare(&dispatcher_rows::jid(HOSTNAME)).to_owned()
}

fn write(path: &Path, text: &str) -> Result<(), SwarmError> {
    fs::write(path, text).map_err(SwarmError::file("write", path))
}

/// Where Debian keeps the modules.
fn libraries() -> Result<String, SwarmError> {
    let mut paths = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let found = paths.find_map(|entry| {
        let path = entry.path().join("jabberd2");
        path.join("storage_sqlite.so")
            .exists()
            .then(|| path.display().to_string())
    });
    found.ok_or(SwarmError::NoJabberd)
}

/// Whether it answers a client's header with stream features.
async fn offers_features(clients: SocketAddr) -> bool {
    let asking = async {
        let mut stream = TcpStream::connect(clients).await?;
        let header = format!(
            "<?xml version='1.0'?><stream:stream to='{HOSTNAME}' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
        );
        stream.write_all(header.as_bytes()).await?;
        let (mut heard, mut buffer) = (Vec::new(), [0; 4_096]);
        while !String::from_utf8_lossy(&heard).contains("</stream:features>") {
            let count = stream.read(&mut buffer).await?;
            if count == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            heard.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
        stream.write_all(b"</stream:stream>").await
    };
    asking.await.is_ok()
}
