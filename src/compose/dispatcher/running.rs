//! From the settings to running actors, and from a signal to the end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix::Addr;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::actors::{self, Adapters, Addresses, Services, Threads};
use super::database_watch::DatabaseWatch;
use super::housekeeping::Housekeeping;
use super::live::Live;
use super::reload::Reloading;
use super::{ServeError, all_server_files, authority_files, decoy, passwords, sockets};
use crate::actors::poller::messages::{DescribeSystems, LookForChanges};
use crate::actors::supervision::{GaveUp, StopChildren, Supervisor};
use crate::actors::tls_supervisor::Roster;
use crate::compose::control::desk::{Desk, Site};
use crate::compose::control::server::ControlServer;
use crate::compose::process::{notify, pid_file::PidFile};
use crate::domain::admission::AdmissionLimits;
use crate::domain::ids::Incarnation;
use crate::host::clock::{OsEntropy, SystemClock};
use crate::net::ca::RenewedTls;
use crate::net::control::ControlListener;
use crate::net::listener::connections_possible;
use crate::net::registration::{Registrar, RegistrationEndpoint};
use crate::net::tls::ServerTls;
use crate::ports::clock::Clock;
use crate::ports::push::PushStore;
use crate::ports::transport::{HANDSHAKE_TURNS, Listener};
use crate::ports::vault::Vault;
use crate::protocol::stream::server::ServerConfig;
use crate::settings::Loaded;
use crate::settings::dispatcher::{DispatcherFlags, DispatcherSettings};
use crate::settings::names::XMPP_PORT;
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::telemetry::Logging;

/// Descriptors for files, the database, the registration endpoint and the control socket.
const DESCRIPTORS_RESERVED: usize = 1_200;
/// On top of the drain timeout, for what is not a session: the poller's last records.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// What a start is given.
pub struct Start {
    /// How the settings are found.
    pub flags: DispatcherFlags,
    /// The settings.
    pub loaded: Loaded<DispatcherSettings>,
    /// The logs.
    pub logging: Logging,
    /// Where the pid file goes, if one is wanted.
    pub pid_file: Option<PathBuf>,
}

/// What the process is told.
enum Event {
    Stop,
    Reload,
    GaveUp(GaveUp),
    DatabaseReplaced,
}

/// Starts, runs until told to stop, and drains.
///
/// # Errors
/// [`ServeError`].
pub async fn run(start: Start) -> Result<(), ServeError> {
    let settings = &start.loaded.settings;
    let ground = Ground::prepare(settings).await?;
    let pid_file = start.pid_file.as_deref().map(PidFile::write).transpose()?;
    let (events, mut told) = mpsc::channel(4);
    listen_to_signals(&events)?;

    let (addresses, threads) = (Addresses::vacant(), Threads::start());
    warn_of_short_descriptors(settings, ground.limits.connections);
    let (xmpp, certificates) = (local_addresses(&ground.xmpp), Arc::clone(&ground.tls));
    actix_rt::spawn(look_after_changes(ground.store.changes(), addresses.clone()));
    actix_rt::spawn(tell_replaced(ground.database_watch(settings), events.clone()));
    let (supervisor, gave_up) = ground.start_actors(settings, &addresses, &threads);
    actix_rt::spawn(tell_gave_up(gave_up, events));
    if let Some(interval) = notify::watchdog() {
        actix_rt::spawn(watch(addresses.clone(), interval));
    }
    tracing::info!(event = "dispatcher_started", hostname = %settings.hostname, xmpp = ?xmpp, version = env!("CARGO_PKG_VERSION"));
    notify::ready();

    let (within, database) = (settings.drain_timeout, settings.database.clone());
    let mut reloading = Reloading {
        flags: start.flags,
        loaded: start.loaded,
        logging: start.logging,
        certificates,
        tls: addresses.tls.clone(),
    };
    let ended = until_told(&mut told, &mut reloading, database).await;
    notify::stopping();
    tracing::info!(event = "dispatcher_stopping", drain_timeout = ?within);
    stop(&supervisor, within).await;
    drop((supervisor, pid_file));
    threads.stop();
    tracing::info!(event = "dispatcher_stopped");
    ended
}

/// Returns when the program is to end, and why.
async fn until_told(
    told: &mut mpsc::Receiver<Event>,
    reloading: &mut Reloading,
    database: PathBuf,
) -> Result<(), ServeError> {
    loop {
        match told.recv().await {
            Some(Event::Reload) => reloading.reload().await,
            Some(Event::Stop) | None => return Ok(()),
            Some(Event::GaveUp(gave_up)) => return Err(ServeError::GaveUp { child: gave_up.child }),
            Some(Event::DatabaseReplaced) => return Err(ServeError::DatabaseReplaced(database)),
        }
    }
}

/// Sessions end, the poller records what they said; bounded, since what is left is found out at the next start.
async fn stop(supervisor: &Addr<Supervisor>, within: Duration) {
    let stopped = supervisor.send(StopChildren { within });
    if timeout(within + STOP_MARGIN, stopped).await.is_err() {
        tracing::warn!(event = "drain_timed_out");
    }
}

/// Everything that can fail to start, in the order in which it is looked at.
struct Ground {
    tls: Arc<ServerTls>,
    store: Arc<SqliteStore>,
    xmpp: Vec<Arc<dyn Listener>>,
    registration: Vec<Arc<dyn Listener>>,
    control: ControlListener,
    streams: ServerConfig,
    vault: Option<Arc<dyn Vault>>,
    limits: AdmissionLimits,
    incarnation: Incarnation,
    database_deleted: Arc<AtomicBool>,
}

impl Ground {
    async fn prepare(settings: &DispatcherSettings) -> Result<Self, ServeError> {
        let now = SystemClock.now();
        let tls = Arc::new(ServerTls::load_all(all_server_files(settings), now)?);
        let options = SqliteOptions {
            max_tries: settings.push.max_tries,
            ..SqliteOptions::at(&settings.database)
        };
        let is_new = !settings.database.exists();
        let store = Arc::new(SqliteStore::open_for_serving(&options)?);
        if is_new {
            // Expected once in its life; after a failed mount or restore it is the only sign.
            tracing::warn!(event = "database_created", path = %settings.database.display());
        }
        let limits = limits(settings)?;
        let xmpp = sockets::listen(&settings.xmpp.listen, &tls)?;
        let registration = sockets::listen(&settings.registration.listen, &tls)?;
        let control = ControlListener::bind(&settings.control_socket)?;
        let incarnation = store.start_node(settings.hostname.as_str(), now).await?;
        Ok(Self {
            streams: streams(settings)?,
            vault: passwords::vault(settings)?,
            limits,
            tls,
            store,
            xmpp,
            registration,
            control,
            incarnation,
            database_deleted: Arc::default(),
        })
    }

    fn start_actors(
        self,
        settings: &DispatcherSettings,
        addresses: &Addresses,
        threads: &Threads,
    ) -> (Addr<Supervisor>, oneshot::Receiver<GaveUp>) {
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(OsEntropy));
        let roster = Roster::new(self.limits);
        let live = self.live(settings, addresses, &roster);
        let desk = Desk {
            store: Arc::clone(&self.store) as _,
            clock: Arc::clone(&clock) as _,
            entropy: Arc::clone(&entropy) as _,
            site: site(settings, &live),
            running: Some(Arc::new(live)),
        };
        let services = Services {
            registration: self.registration_endpoint(&desk, addresses),
            control: ControlServer {
                listener: Arc::new(self.control),
                desk,
            },
            housekeeping: Housekeeping {
                store: Arc::clone(&self.store) as _,
                clock: Arc::clone(&clock) as _,
                accounts: settings.accounts.expire_after,
                history: settings.push.history_retention,
            },
        };
        let adapters = Adapters {
            store: self.store,
            clock,
            entropy,
            certificates: Arc::new(RenewedTls::new(
                authority_files(settings),
                all_server_files(settings),
                self.tls,
            )),
            xmpp: self.xmpp,
            roster,
            incarnation: self.incarnation,
            streams: self.streams,
            vault: self.vault,
        };
        actors::start(settings, adapters, services, addresses, threads)
    }

    fn database_watch(&self, settings: &DispatcherSettings) -> DatabaseWatch {
        DatabaseWatch {
            store: Arc::downgrade(&self.store),
            path: settings.database.clone(),
            deleted: Arc::clone(&self.database_deleted),
        }
    }

    fn live(&self, settings: &DispatcherSettings, addresses: &Addresses, roster: &Arc<Roster>) -> Live {
        Live {
            started: SystemClock.now(),
            incarnation: self.incarnation,
            xmpp: local_addresses(&self.xmpp),
            registration: local_addresses(&self.registration),
            reconcile_interval: settings.push.reconcile_interval,
            database_deleted: Arc::clone(&self.database_deleted),
            roster: Arc::clone(roster),
            certificates: Arc::clone(&self.tls) as _,
            poller: addresses.poller.clone(),
            router: addresses.router.clone(),
            #[cfg(debug_assertions)]
            tls: addresses.tls.clone(),
        }
    }

    fn registration_endpoint(&self, desk: &Desk, addresses: &Addresses) -> RegistrationEndpoint {
        let Site {
            hostname, xmpp_port, ..
        } = &desk.site;
        let registrar = Registrar {
            registrations: Arc::clone(&self.store) as _,
            observer: Arc::new(addresses.poller.recipient()),
            clock: Arc::clone(&desk.clock),
            entropy: Arc::clone(&desk.entropy),
            // Existing agents expect a name alone, and always connect to the usual port.
            jabber_server: match *xmpp_port {
                XMPP_PORT => hostname.clone(),
                port => format!("{hostname}:{port}"),
            },
            dispatcher: format!("{}/{}", self.streams.dispatcher, self.streams.dispatcher_resource),
        };
        let handshakes = Arc::new(Semaphore::new(HANDSHAKE_TURNS));
        RegistrationEndpoint::new(registrar, self.registration.clone(), handshakes)
    }
}

fn site(settings: &DispatcherSettings, live: &Live) -> Site {
    let port = |addresses: &[SocketAddr]| addresses.first().map_or(0, SocketAddr::port);
    Site {
        hostname: settings.hostname.to_string(),
        xmpp_port: port(&live.xmpp),
        registration_port: port(&live.registration),
    }
}

fn local_addresses(listeners: &[Arc<dyn Listener>]) -> Vec<SocketAddr> {
    listeners.iter().map(|listener| listener.local_addr()).collect()
}

/// As many connections as the settings say, if there are descriptors for so many.
fn limits(settings: &DispatcherSettings) -> Result<AdmissionLimits, ServeError> {
    let possible = connections_possible(DESCRIPTORS_RESERVED).map_err(|source| ServeError::System {
        doing: "raise the limit of open files",
        source,
    })?;
    let limits = &settings.limits;
    Ok(AdmissionLimits {
        connections: possible.min(limits.connections.get() as usize),
        logging_in: limits.logging_in.get() as usize,
        logging_in_per_address: limits.logging_in_per_address.get() as usize,
    })
}

fn streams(settings: &DispatcherSettings) -> Result<ServerConfig, ServeError> {
    let secret = decoy::secret(&decoy_path(&settings.data_dir), &OsEntropy)?;
    let own = ServerConfig::new(settings.hostname.as_str(), secret);
    let names = settings.xmpp.names.iter().flatten().map(ToString::to_string);
    Ok(ServerConfig {
        domains: own.domains.iter().cloned().chain(names).collect(),
        registration: settings.accounts.registration_open,
        login_timeout: settings.limits.login_timeout,
        white_space_interval: settings.xmpp.keepalive_interval,
        ..own
    })
}

/// Said once everything else is known to be right, so that an error of the start stands alone.
fn warn_of_short_descriptors(settings: &DispatcherSettings, possible: usize) {
    let wanted = settings.limits.connections.get() as usize;
    if possible < wanted {
        tracing::warn!(
            event = "descriptors_short",
            wanted,
            possible,
            "raise LimitNOFILE= of the service, or lower limits.connections"
        );
    }
}

fn decoy_path(data_dir: &Path) -> PathBuf {
    data_dir.join("decoy.key")
}

fn listen_to_signals(events: &mpsc::Sender<Event>) -> Result<(), ServeError> {
    let kinds: [(SignalKind, fn() -> Event); 3] = [
        (SignalKind::terminate(), || Event::Stop),
        (SignalKind::interrupt(), || Event::Stop),
        (SignalKind::hangup(), || Event::Reload),
    ];
    for (kind, event) in kinds {
        let mut signals = signal(kind).map_err(|source| ServeError::System {
            doing: "listen to signals",
            source,
        })?;
        let events = events.clone();
        actix_rt::spawn(async move {
            while signals.recv().await.is_some() {
                // A signal that does not fit is one of many of its kind.
                events.try_send(event()).ok();
            }
        });
    }
    Ok(())
}

async fn tell_replaced(watch: DatabaseWatch, events: mpsc::Sender<Event>) {
    watch.replaced().await;
    // Nobody listens only while the program is ending anyway.
    events.send(Event::DatabaseReplaced).await.ok();
}

async fn tell_gave_up(gave_up: oneshot::Receiver<GaveUp>, events: mpsc::Sender<Event>) {
    if let Ok(gave_up) = gave_up.await {
        // Nobody listens only while the program is ending anyway.
        events.send(Event::GaveUp(gave_up)).await.ok();
    }
}

/// Sends the poller looking as soon as this process has committed something: who scheduled it hears of it only when the
/// disk has it, milliseconds later.
async fn look_after_changes(changes: Arc<Notify>, addresses: Addresses) {
    loop {
        changes.notified().await;
        // A poller that is full or gone looks by itself within `poll_interval`.
        addresses.poller.try_send(LookForChanges).ok();
    }
}

/// Says that the dispatcher works, for as long as the poller answers.
async fn watch(addresses: Addresses, interval: Duration) {
    let pause = interval / 3;
    loop {
        let asked = addresses.poller.send(DescribeSystems(Some(Vec::new())));
        if let Ok(Ok(_)) = timeout(pause, asked).await {
            notify::alive();
        }
        tokio::time::sleep(pause).await;
    }
}
