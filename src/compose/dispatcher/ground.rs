//! Everything that can fail to start, and the actors on top of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix::Addr;
use tokio::sync::{Notify, Semaphore, oneshot};

use super::actors::{self, Adapters, Addresses, Services, Threads};
use super::database::Database;
use super::database_watch::DatabaseWatch;
use super::dispatcher_row::DispatcherRowKeeper;
use super::housekeeping::Housekeeping;
use super::live::Live;
use super::{ServeError, all_server_files, authority_files, decoy, passwords, sockets, upstream_dialer};
use crate::actors::supervision::{GaveUp, Supervisor};
use crate::actors::tls_supervisor::Roster;
use crate::compose::control::desk::{Desk, Site};
use crate::compose::control::server::ControlServer;
use crate::domain::admission::AdmissionLimits;
use crate::domain::time::Timestamp;
use crate::host::clock::{OsEntropy, SystemClock};
use crate::net::ca::RenewedTls;
use crate::net::control::ControlListener;
use crate::net::listener::connections_possible;
use crate::net::registration::{Registrar, RegistrationEndpoint};
use crate::net::tls::ServerTls;
use crate::ports::clock::Clock;
use crate::ports::service::Service;
use crate::ports::transport::{Dialer, HANDSHAKE_TURNS, Listener};
use crate::ports::vault::Vault;
use crate::protocol::stream::server::ServerConfig;
use crate::settings::database::Deployment;
use crate::settings::dispatcher::DispatcherSettings;
use crate::settings::names::XMPP_PORT;
use crate::settings::upstream::Transport;
use crate::store::postgres::PostgresStore;

/// Descriptors for files, the database, the registration endpoint and the control socket.
const DESCRIPTORS_RESERVED: usize = 1_200;

/// Everything that can fail to start, in the order in which it is looked at.
pub struct Ground {
    /// The certificates; none, where agents connect to another server.
    pub tls: Option<Arc<ServerTls>>,
    /// The way to that server.
    upstream: Option<Arc<dyn Dialer>>,
    database: Database,
    row: Option<DispatcherRowKeeper>,
    /// Where agents connect.
    pub xmpp: Vec<Arc<dyn Listener>>,
    /// Where they register; nowhere here, if a Satellite answers them.
    registration: Vec<Arc<dyn Listener>>,
    control: ControlListener,
    streams: ServerConfig,
    vault: Option<Arc<dyn Vault>>,
    /// How many connections are possible.
    pub limits: AdmissionLimits,
}

impl Ground {
    /// Looks at everything, and opens it.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn prepare(settings: &DispatcherSettings) -> Result<Self, ServeError> {
        let now = SystemClock.now();
        let (tls, upstream) = match settings.transport {
            Transport::Embedded => (Some(server_tls(settings, now)?), None),
            Transport::Client | Transport::Component => (None, Some(Arc::new(upstream_dialer(settings)?) as _)),
        };
        let database = Database::open(settings).await?;
        let limits = limits(settings)?;
        let listen = |addresses| match &tls {
            Some(tls) => sockets::listen(addresses, tls),
            None => Ok(Vec::new()),
        };
        let xmpp = listen(&settings.xmpp.listen)?;
        let registration = match settings.deployment {
            Deployment::Standalone => listen(&settings.registration.listen)?,
            Deployment::Satellite => Vec::new(),
        };
        let control = ControlListener::bind(&settings.control_socket)?;
        let now = database.clock.now();
        database.store.start_node(settings.hostname.as_str(), now).await?;
        let streams = streams(settings)?;
        let row = match &database.satellite {
            Some(store) => Some(row(store, settings).await?),
            None => None,
        };
        Ok(Self {
            streams,
            vault: passwords::vault(settings)?,
            limits,
            tls,
            upstream,
            database,
            row,
            xmpp,
            registration,
            control,
        })
    }

    /// Wakes when the database has changed.
    pub fn changes(&self) -> Arc<Notify> {
        Arc::clone(&self.database.changes)
    }

    /// Watches the database's file, if it is one.
    pub fn take_watch(&mut self) -> Option<DatabaseWatch> {
        self.database.file.take()
    }

    /// Starts all actors.
    pub fn start_actors(
        self,
        settings: &DispatcherSettings,
        addresses: &Addresses,
        threads: &Threads,
    ) -> (Addr<Supervisor>, oneshot::Receiver<GaveUp>) {
        let (clock, entropy) = (Arc::clone(&self.database.clock), Arc::new(OsEntropy));
        let roster = Roster::new(self.limits);
        let live = self.live(settings, addresses, &roster);
        let desk = Desk {
            store: Arc::clone(&self.database.store),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy) as _,
            site: site(settings, &live),
            running: Some(Arc::new(live)),
        };
        let services = Services {
            registration: self.registration(&desk, addresses),
            control: ControlServer {
                listener: Arc::new(self.control),
                desk,
            },
            housekeeping: Housekeeping {
                store: Arc::clone(&self.database.store),
                clock: Arc::clone(&clock),
                accounts: settings.accounts.expire_after,
                history: settings.push.history_retention,
            },
        };
        let adapters = Adapters {
            store: self.database.store,
            clock,
            entropy,
            certificates: self.tls.map(|tls| {
                let (authority, files) = (authority_files(settings), all_server_files(settings));
                Arc::new(RenewedTls::new(authority, files, tls)) as _
            }),
            upstream: self.upstream.zip(self.database.satellite.map(|store| store as _)),
            xmpp: self.xmpp,
            roster,
            streams: self.streams,
            vault: self.vault,
        };
        actors::start(settings, adapters, services, addresses, threads)
    }

    fn live(&self, settings: &DispatcherSettings, addresses: &Addresses, roster: &Arc<Roster>) -> Live {
        Live {
            started: self.database.clock.now(),
            clock: Arc::clone(&self.database.clock),
            store: Arc::clone(&self.database.store) as _,
            xmpp: local_addresses(&self.xmpp),
            registration: local_addresses(&self.registration),
            reconcile_interval: settings.push.reconcile_interval,
            database_deleted: Arc::clone(&self.database.deleted),
            roster: Arc::clone(roster),
            certificates: self.tls.clone().map(|tls| tls as _),
            upstream: self.upstream.is_some().then(|| addresses.upstream.clone()),
            poller: addresses.poller.clone(),
            router: addresses.router.clone(),
            #[cfg(debug_assertions)]
            tls: addresses.tls.clone(),
        }
    }

    /// Where agents enrol: here, or with the Satellite, which only needs to know of us.
    fn registration(&self, desk: &Desk, addresses: &Addresses) -> (&'static str, Arc<dyn Service>) {
        match &self.row {
            Some(row) => ("dispatcher_row", Arc::new(row.clone())),
            None => ("registration", Arc::new(self.registration_endpoint(desk, addresses))),
        }
    }

    fn registration_endpoint(&self, desk: &Desk, addresses: &Addresses) -> RegistrationEndpoint {
        let Site {
            hostname, xmpp_port, ..
        } = &desk.site;
        let registrar = Registrar {
            registrations: Arc::clone(&self.database.store) as _,
            observer: Arc::new(addresses.poller.recipient()),
            clock: Arc::clone(&desk.clock),
            entropy: Arc::clone(&desk.entropy),
            // Existing agents expect a name alone, and always connect to the usual port.
            jabber_server: match *xmpp_port {
                XMPP_PORT => hostname.clone(),
                port => format!("{hostname}:{port}"),
            },
            dispatcher: dispatcher_jid(&self.streams),
            domains: self.streams.domains.clone(),
        };
        let handshakes = Arc::new(Semaphore::new(HANDSHAKE_TURNS));
        RegistrationEndpoint::new(registrar, self.registration.clone(), handshakes)
    }
}

fn dispatcher_jid(streams: &ServerConfig) -> String {
    format!("{}/{}", streams.dispatcher, streams.dispatcher_resource)
}

fn server_tls(settings: &DispatcherSettings, now: Timestamp) -> Result<Arc<ServerTls>, ServeError> {
    let tls = ServerTls::load_all(all_server_files(settings), now).map_err(|error| match settings.deployment {
        Deployment::Standalone => error.into(),
        // `init` makes nothing for a Satellite.
        Deployment::Satellite => ServeError::Tls(error),
    });
    Ok(Arc::new(tls?))
}

/// After the incarnation, so that whoever reads of this dispatcher finds it begun.
async fn row(store: &Arc<PostgresStore>, settings: &DispatcherSettings) -> Result<DispatcherRowKeeper, ServeError> {
    let named = (settings.transport, settings.dispatcher_domain().as_str());
    let pause_divisor = settings.push.pauses_divided_by();
    let outside = (store.clock().now(), &OsEntropy as _);
    DispatcherRowKeeper::begin(Arc::clone(store), named, pause_divisor, outside).await
}

fn site(settings: &DispatcherSettings, live: &Live) -> Site {
    let port = |addresses: &[SocketAddr]| addresses.first().map_or(0, SocketAddr::port);
    Site {
        hostname: settings.hostname.to_string(),
        xmpp_port: port(&live.xmpp),
        registration_port: port(&live.registration),
    }
}

/// Where these listen.
pub fn local_addresses(listeners: &[Arc<dyn Listener>]) -> Vec<SocketAddr> {
    listeners.iter().map(|listener| listener.local_addr()).collect()
}

/// As many connections as the settings say, if there are descriptors for so many; clients of the site's own server need none.
fn limits(settings: &DispatcherSettings) -> Result<AdmissionLimits, ServeError> {
    let possible = connections_possible(DESCRIPTORS_RESERVED).map_err(|source| ServeError::System {
        doing: "raise the limit of open files",
        source,
    })?;
    let limits = &settings.limits;
    let wanted = limits.connections.get() as usize;
    Ok(AdmissionLimits {
        connections: match settings.transport {
            Transport::Embedded => wanted.min(possible),
            Transport::Client | Transport::Component => wanted,
        },
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

/// Where the secret is by which accounts that do not exist look as if they did.
pub(super) fn decoy_path(data_dir: &Path) -> PathBuf {
    data_dir.join("decoy.key")
}
