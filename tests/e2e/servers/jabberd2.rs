//! jabberd2, set up as `spacewalk-setup-jabberd` does it: compatibility contract, section 6.1.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_query};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::name_server::NameServer;
use super::{Authority, Processes, XmppServer, offers_features};
use crate::ports::free_port;

/// Tables as the package's `db-setup.sqlite` has them, of the modules that are in use.
const TABLES: &str = include_str!("jabberd2/store.sql");
/// Its configuration, without what differs from one to the next.
const FILES: [(&str, &str); 6] = [
    ("users.xml", include_str!("jabberd2/users.xml")),
    ("filter.xml", include_str!("jabberd2/filter.xml")),
    ("router.xml", include_str!("jabberd2/router.xml")),
    ("sm.xml", include_str!("jabberd2/sm.xml")),
    ("s2s.xml", include_str!("jabberd2/s2s.xml")),
    ("c2s.xml", include_str!("jabberd2/c2s.xml")),
];
/// What a component may open.
const CLIENTS_MAX: u32 = 4_096;

#[derive(QueryableByName)]
struct Contact {
    #[diesel(sql_type = Text)]
    jid: String,
}

/// Four processes: `router`, `sm`, `s2s`, `c2s`.
pub struct Jabberd2 {
    processes: Processes,
    domain: String,
    authority: Authority,
    router: u16,
    c2s: SocketAddr,
    s2s: SocketAddr,
    /// Where it asks for the addresses of other servers.
    names: Option<SocketAddr>,
    /// Removed after the processes have ended.
    directory: TempDir,
}

impl Jabberd2 {
    /// Starts one for a domain, with a certificate from an authority of its own.
    pub fn start(domain: &str) -> Self {
        Self::start_under(None, domain)
    }

    /// The same, with a certificate from the authority in this directory.
    pub fn start_under(authority: Option<&Path>, domain: &str) -> Self {
        let mut server = Self::prepare(authority, domain, None);
        server.launch();
        server
    }

    /// Everything but the processes; for a server that asks this name server for others.
    fn prepare(authority: Option<&Path>, domain: &str, names: Option<SocketAddr>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::in_directory(authority.unwrap_or(directory.path()));
        let server = Self {
            processes: Processes::default(),
            domain: domain.to_owned(),
            authority,
            router: free_port(),
            c2s: SocketAddr::from(([127, 0, 0, 1], free_port())),
            s2s: SocketAddr::from(([127, 0, 0, 1], free_port())),
            names,
            directory,
        };
        server.issue(domain, 0);
        server.configure();
        server
    }

    /// Starts one for each domain, with certificates from one authority; they find each other by names that only they
    /// know, and trust each other by dialback.
    pub fn start_joined(authority: &Path, domains: [&str; 2]) -> [Self; 2] {
        let names = NameServer::start();
        let servers = domains.map(|domain| Self::prepare(Some(authority), domain, Some(names.address())));
        for server in &servers {
            names.add(&server.domain, server.s2s.port());
        }
        servers.map(|mut server| {
            server.launch();
            server
        })
    }

    /// Makes contacts of an account that has not logged in yet, subscribed to both ways.
    pub fn add_contacts(&self, username: &str, contacts: &[String]) {
        let owner = format!("{username}@{}", self.domain);
        let mut store = self.store();
        store.batch_execute("BEGIN").unwrap();
        for contact in contacts {
            sql_query(
                "INSERT INTO \"roster-items\" (\"collection-owner\", jid, name, \"to\", \"from\", ask) \
                 VALUES (?, ?, '', 1, 1, 0)",
            )
            .bind::<Text, _>(&owner)
            .bind::<Text, _>(contact)
            .execute(&mut store)
            .unwrap();
        }
        store.batch_execute("COMMIT").unwrap();
    }

    /// The bare JIDs of an account's contacts, in order.
    pub fn contacts(&self, username: &str) -> Vec<String> {
        let rows = sql_query("SELECT jid FROM \"roster-items\" WHERE \"collection-owner\" = ? ORDER BY jid")
            .bind::<Text, _>(format!("{username}@{}", self.domain))
            .load::<Contact>(&mut self.store())
            .unwrap();
        rows.into_iter().map(|row| row.jid).collect()
    }

    /// Replaces the certificate, from the next start on, by one that has its name as common name only.
    pub fn issue_without_alt_name(&self) {
        self.authority
            .issue_without_alt_name(&self.domain, &self.path("server.pem"));
    }

    /// Ends the part that speaks to other servers; clients stay.
    pub fn end_s2s(&mut self) {
        let s2s = self.processes.0.remove(2);
        Processes(vec![s2s]).end(Signal::SIGKILL);
    }

    /// Starts it again; returns when it can be reached.
    pub fn start_s2s(&mut self) {
        let logs = logs(self.directory.path());
        self.spawn("s2s");
        let s2s = self.s2s;
        self.processes
            .wait_until("servers are served", &logs, || TcpStream::connect(s2s).is_ok());
    }

    /// Another password for an account that it knows, at once.
    pub fn set_password(&self, username: &str, password: &str) {
        let changed = sql_query("UPDATE authreg SET password = ? WHERE username = ?")
            .bind::<Text, _>(password)
            .bind::<Text, _>(username)
            .execute(&mut self.store());
        assert_eq!(changed, Ok(1), "{username} has an account");
    }

    /// From the next start on it lets nobody make an account.
    pub fn refuse_registration(&self) {
        let text = fs::read_to_string(self.path("c2s.xml")).unwrap();
        let refusing = text.replace(" register-enable='true'", "");
        assert_ne!(text, refusing, "it allowed it before");
        fs::write(self.path("c2s.xml"), refusing).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Fills in the components' files.
    fn configure(&self) {
        let [directory, libraries] = [self.directory.path(), &libraries()].map(|path| path.display().to_string());
        let [router, c2s, s2s] = [self.router, self.c2s.port(), self.s2s.port()].map(|port| port.to_string());
        for (name, text) in FILES {
            let text = [
                ("@directory@", &directory),
                ("@libraries@", &libraries),
                ("@domain@", &self.domain),
                ("@router@", &router),
                ("@c2s@", &c2s),
                ("@s2s@", &s2s),
                ("@max_fds@", &CLIENTS_MAX.to_string()),
            ]
            .into_iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
            fs::write(self.path(name), text).unwrap();
        }
    }

    fn spawn(&mut self, component: &str) {
        let output = fs::File::create(self.path(&format!("{component}.out"))).unwrap();
        let mut command = Command::new(format!("/usr/sbin/jabberd2-{component}"));
        command.arg("-c").arg(self.path(&format!("{component}.xml")));
        if let Some(names) = self.names {
            command.env("NAMESERVERS", names.ip().to_string());
            command.env("RES_OPTIONS", format!("port:{}", names.port()));
        }
        let errors = output.try_clone().unwrap();
        let process = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        self.processes
            .push(process.unwrap_or_else(|error| panic!("jabberd2-{component}: {error}: run scripts/test once")));
    }

    fn store(&self) -> SqliteConnection {
        let mut store = SqliteConnection::establish(self.path("sqlite.db").to_str().unwrap()).unwrap();
        store.batch_execute("PRAGMA busy_timeout = 10000").unwrap();
        store
    }
}

impl XmppServer for Jabberd2 {
    fn domain(&self) -> &str {
        &self.domain
    }

    fn address(&self) -> SocketAddr {
        self.c2s
    }

    fn ca(&self) -> PathBuf {
        self.authority.certificate()
    }

    fn tls(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    fn launch(&mut self) {
        if !self.path("sqlite.db").exists() {
            self.store().batch_execute(TABLES).unwrap();
        }
        // After a kill the first to open the store repairs it, and the others would find it locked, and end.
        self.store().batch_execute("BEGIN IMMEDIATE; COMMIT").unwrap();
        let routes = self.path("router.log");
        fs::remove_file(&routes).ok();
        let logs = logs(self.directory.path());
        self.spawn("router");
        let router = SocketAddr::from(([127, 0, 0, 1], self.router));
        // A component that comes too early tries again in 2 s.
        self.processes
            .wait_until("the router listens", &logs, || TcpStream::connect(router).is_ok());
        for component in ["sm", "s2s"] {
            self.spawn(component);
        }
        let bound = [format!("[{}] online", self.domain), "[s2s] online".to_owned()];
        self.processes.wait_until("its parts are joined", &logs, || {
            let routes = fs::read_to_string(&routes).unwrap_or_default();
            bound.iter().all(|line| routes.contains(line))
        });
        self.spawn("c2s");
        let (address, domain) = (self.c2s, self.domain.clone());
        self.processes
            .wait_until("clients are served", &logs, || offers_features(address, &domain));
    }

    fn stop(&mut self) {
        self.processes.end(Signal::SIGTERM);
    }

    fn kill(&mut self) {
        self.processes.end(Signal::SIGKILL);
    }

    fn delete_store(&self) {
        assert!(self.processes.0.is_empty(), "it runs");
        for suffix in ["", "-wal", "-shm"] {
            fs::remove_file(self.path(&format!("sqlite.db{suffix}"))).ok();
        }
    }

    fn add_account(&self, username: &str, password: &str) {
        let mut store = self.store();
        sql_query("INSERT INTO authreg (username, realm, password) VALUES (?, '', ?)")
            .bind::<Text, _>(username)
            .bind::<Text, _>(password)
            .execute(&mut store)
            .unwrap();
        sql_query("INSERT INTO active (\"collection-owner\", time) VALUES (?, 1)")
            .bind::<Text, _>(format!("{username}@{}", self.domain))
            .execute(&mut store)
            .unwrap();
    }

    fn remove_account(&self, username: &str) {
        let mut store = self.store();
        sql_query("DELETE FROM authreg WHERE username = ?")
            .bind::<Text, _>(username)
            .execute(&mut store)
            .unwrap();
        for table in ["active", "roster-items"] {
            sql_query(format!("DELETE FROM \"{table}\" WHERE \"collection-owner\" = ?"))
                .bind::<Text, _>(format!("{username}@{}", self.domain))
                .execute(&mut store)
                .unwrap();
        }
    }

    fn issue(&self, hostname: &str, days_ago: u32) {
        self.authority.issue(hostname, days_ago, &self.path("server.pem"));
    }

    fn log(&self) -> String {
        logs(self.directory.path())()
    }
}

/// Reads every log of a directory.
fn logs(directory: &Path) -> impl Fn() -> String + use<> {
    let directory = directory.to_owned();
    move || {
        let files = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.extension().is_some_and(|end| end == "log" || end == "out"))
            .map(|path| {
                format!(
                    "{}:\n{}\n",
                    path.display(),
                    fs::read_to_string(&path).unwrap_or_default()
                )
            })
            .collect()
    }
}

/// Where Debian keeps the modules.
fn libraries() -> PathBuf {
    let found = fs::read_dir("/usr/lib").unwrap().find_map(|entry| {
        let path = entry.unwrap().path().join("jabberd2");
        path.join("storage_sqlite.so").exists().then_some(path)
    });
    found.unwrap_or_else(|| panic!("jabberd2 is not installed: run scripts/test once"))
}
