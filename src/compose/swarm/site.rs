//! A throw-away site: directory, authority, database, configuration, and the dispatcher on it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use rustls::pki_types::ServerName;

use super::arguments::{HistoryArguments, SiteArguments};
use super::error::SwarmError;
use super::flock::{Flock, Member};
use super::jabberd::Jabberd;
use super::link::Target;
use super::process::Process;
use super::satellite::{Satellite, serve_registration};
use super::transport::{self, Transport};
use crate::domain::ids::ClientName;
use crate::domain::secret::Secret;
use crate::host::clock::{OsEntropy, SystemClock};
use crate::net::ca::{self, AuthorityFiles};
use crate::net::tls::{ServerFiles, client_tls};
use crate::ports::accounts::Accounts;
use crate::ports::clock::{Clock, Entropy};
use crate::ports::inventory::Inventory;
use crate::ports::registrations::Registrations;
use crate::protocol::sasl::{ITERATIONS_DEFAULT, Salts, Verifiers};
use crate::store::sqlite::{SqliteOptions, SqliteStore};

/// The server's name: one that every machine resolves.
pub(super) const HOSTNAME: &str = "localhost";
/// More pushes a second than a dispatcher can make.
const PUSHES_MAX: u32 = 100_000;
/// Systems that are made at the same time; they share a flush to the disk.
const MAKING: usize = 256;
/// How long a dispatcher may take to listen.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// A site; its directory is removed when it is dropped.
pub(super) struct Site {
    pub(super) directory: PathBuf,
    keep: bool,
    pub(super) xmpp: SocketAddr,
    registration: SocketAddr,
    program: PathBuf,
    /// The dispatcher's configuration, without the transport.
    pub(super) configuration: String,
    pub(super) transport: Transport,
    /// The site's own server, which listens where the dispatcher does otherwise.
    pub(super) jabberd: Option<Jabberd>,
    /// Whose database it is, if not the dispatcher's own.
    pub(super) satellite: Option<Arc<Satellite>>,
    /// The dispatcher.
    pub(super) dispatcher: Process,
    /// How long its last start took until it listened.
    pub(super) started_in: Duration,
    /// The agents that have a place there.
    pub(super) members: Vec<Member>,
    pub(super) password: Secret,
}

impl Site {
    /// Makes one with a place for each agent, and starts the dispatcher: on its own, or beside a Satellite with this
    /// history.
    pub(super) async fn open(
        arguments: &SiteArguments,
        history: Option<&HistoryArguments>,
    ) -> Result<Self, SwarmError> {
        let directory = std::env::temp_dir().join(format!("osa-swarm-{}", std::process::id()));
        let data = directory.join("data");
        fs::create_dir_all(data.join("tls")).map_err(SwarmError::file("make", &data))?;
        let [xmpp, registration] = [free_port()?, free_port()?];
        make_certificates(&data)?;
        let password = Secret::new(random_hex(10));
        let verifiers = verifiers(&password)?;
        let mut text = configuration(&data, registration, arguments);
        let (satellite, members) = match history {
            None => (None, make_members(&data, arguments.agents, &verifiers).await?),
            Some(history) => {
                let satellite = Arc::new(Satellite::open(&directory, history).await?);
                text = format!("deployment = \"satellite\"\n{text}{}", satellite.configuration());
                serve_registration(&satellite, registration, &data.join("tls"))?;
                let members = satellite.members(arguments.agents, &verifiers).await?;
                (Some(satellite), members)
            }
        };
        transport::configure(&directory, Transport::Embedded, xmpp, &text)?;
        let ours = || beside_us("osa-dispatcher");
        let program = arguments.dispatcher.clone().unwrap_or_else(ours);
        let dispatcher = start(&program, &directory)?;
        let mut site = Self {
            directory,
            keep: arguments.keep,
            xmpp,
            registration,
            program,
            configuration: text,
            transport: Transport::Embedded,
            jabberd: None,
            satellite,
            dispatcher,
            started_in: Duration::ZERO,
            members,
            password,
        };
        site.wait_until_listening().await?;
        Ok(site)
    }

    /// Everything of this site is below it.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the dispatcher takes requests.
    pub(super) fn control_socket(&self) -> PathBuf {
        self.directory.join("data/control.sock")
    }

    /// The certificate of the authority.
    pub(super) fn authority(&self) -> PathBuf {
        self.directory.join("data/tls/ca.crt")
    }

    /// Port for agents.
    pub(super) fn xmpp_port(&self) -> u16 {
        self.xmpp.port()
    }

    /// Port of the registration endpoint.
    pub(super) fn registration_port(&self) -> u16 {
        self.registration.port()
    }

    /// Where and how agents connect.
    pub(super) fn target(&self) -> Result<Target, SwarmError> {
        let tls = client_tls(&self.authority(), SystemClock.now())?;
        let name = ServerName::try_from(HOSTNAME).map_err(|_| SwarmError::Password)?;
        Ok(Target::new(self.xmpp, name, &tls))
    }

    /// The agents, not started yet.
    pub(super) fn flock(&self, in_flight: u32) -> Result<Rc<Flock>, SwarmError> {
        let target = self.target()?;
        let (password, satellite) = (self.password.clone(), self.satellite.clone());
        Ok(Flock::new(target, HOSTNAME, password, in_flight, satellite))
    }

    /// Ends the dispatcher as a service manager does, and starts it again.
    pub(super) async fn restart(&mut self) -> Result<(), SwarmError> {
        self.dispatcher.terminate();
        self.start().await
    }

    /// Kills the dispatcher as a crash does, and starts it again.
    pub(super) async fn crash_and_restart(&mut self) -> Result<(), SwarmError> {
        self.dispatcher.kill();
        self.start().await
    }

    /// Starts the dispatcher, which does not run.
    pub(super) async fn start(&mut self) -> Result<(), SwarmError> {
        self.dispatcher = start(&self.program, &self.directory)?;
        self.wait_until_listening().await
    }

    /// Waits until agents can reach the dispatcher, or it is where they are.
    async fn wait_until_listening(&mut self) -> Result<(), SwarmError> {
        let log = self.dispatcher.log().to_owned();
        let began = Instant::now();
        let listening = async {
            while !self.is_reachable().await {
                self.dispatcher.check()?;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        };
        let timed_out = |_| SwarmError::TimedOut("the dispatcher's start", START_PATIENCE.as_secs(), log);
        let listens = tokio::time::timeout(START_PATIENCE, listening).await;
        self.started_in = began.elapsed();
        listens.map_err(timed_out)?
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.dispatcher.terminate();
        self.jabberd = None;
        if !self.keep {
            // What is left in a temporary directory is the system's to clean.
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

fn start(program: &Path, directory: &Path) -> Result<Process, SwarmError> {
    let mut command = Command::new(program);
    command
        .args(["serve", "--nodetach"])
        .arg("--config")
        .arg(directory.join("osa-dispatcher.toml"));
    Process::start("the dispatcher", &mut command, &directory.join("dispatcher.log"))
}

/// The program of this name in the directory of ours.
pub(super) fn beside_us(name: &str) -> PathBuf {
    let ours = std::env::current_exe().unwrap_or_default();
    ours.with_file_name(name)
}

/// Lower-case hex digits of so many random bytes.
pub(super) fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    OsEntropy.fill(&mut random);
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A random number from 0 to 1.
pub(super) fn random_share() -> f64 {
    let mut random = [0; 4];
    OsEntropy.fill(&mut random);
    f64::from(u32::from_ne_bytes(random)) / f64::from(u32::MAX)
}

/// Another program could take it before the dispatcher does; then that one says so.
pub(super) fn free_port() -> Result<SocketAddr, SwarmError> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let port = TcpListener::bind(any).and_then(|listener| listener.local_addr());
    port.map_err(SwarmError::file("listen on", "a free port"))
}

fn make_certificates(data: &Path) -> Result<(), SwarmError> {
    let authority = AuthorityFiles {
        certificate: data.join("tls/ca.crt"),
        key: data.join("tls/ca.key"),
    };
    let server = ServerFiles {
        certificate: data.join("tls/server.crt"),
        key: data.join("tls/server.key"),
        hostname: HOSTNAME.to_owned(),
        authority: None,
    };
    ca::ensure(&authority, &server, SystemClock.now())?;
    Ok(())
}

fn configuration(data: &Path, registration: SocketAddr, arguments: &SiteArguments) -> String {
    let data = data.display();
    // All agents come from one address here, which no site does; the limit in total stays as it is. A limit on pushes
    // would be measured instead of what a push costs.
    let per_address = arguments.agents.max(2_048);
    let threshold = arguments.notify_threshold;
    let threshold = threshold.map_or_else(String::new, |most| format!("notify_threshold = {most}\n"));
    format!(
        "hostname = \"{HOSTNAME}\"\ndata_dir = \"{data}\"\n\
         [registration]\nlisten = [\"{registration}\"]\n\
         [push]\npushes_per_second = {PUSHES_MAX}\n{threshold}\
         [limits]\nlogging_in_per_address = {per_address}\n\
         [log]\nlevel = \"warn\"\n"
    )
}

/// Puts systems, registrations and accounts into the database, as enrolling would.
async fn make_members(data: &Path, count: usize, verifiers: &str) -> Result<Vec<Member>, SwarmError> {
    let store = SqliteStore::open_for_command(&SqliteOptions::at(data.join("osa.sqlite3")))?;
    let makings = (0..count).map(|number| make_member(&store, number, verifiers));
    stream::iter(makings).buffered(MAKING).try_collect().await
}

async fn make_member(store: &SqliteStore, number: usize, verifiers: &str) -> Result<Member, SwarmError> {
    let now = SystemClock.now();
    let name = format!("swarm-{number}");
    let system = store.add_system(&name, &Secret::new(random_hex(32)), now).await?;
    let member = Member {
        username: format!("osad-{number:010x}"),
        client: ClientName(random_hex(8)),
        key: Secret::new(random_hex(20)),
        system: system.0,
    };
    store.create_account(&member.username, verifiers, now).await?;
    store.register_osad(system, &member.client, &member.key, now).await?;
    store.register_osad_jid(system, &member.jid(HOSTNAME), now).await?;
    Ok(member)
}

/// One password for all: deriving thousands of verifiers would only take time.
fn verifiers(password: &Secret) -> Result<String, SwarmError> {
    let mut salts = [[0; 16]; 3];
    salts.iter_mut().for_each(|salt| OsEntropy.fill(salt));
    let [sha256, sha1, fast] = salts;
    let salts = Salts {
        sha256,
        sha1,
        fast: Some(fast),
    };
    let derived = Verifiers::derive(password, &salts, ITERATIONS_DEFAULT);
    Ok(derived.map_err(|_| SwarmError::Password)?.to_stored())
}
