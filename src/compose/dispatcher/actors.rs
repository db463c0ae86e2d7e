//! The actors of the dispatcher, and what each is built from.

use std::pin::Pin;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, ArbiterHandle};
use tokio::sync::{Semaphore, oneshot};

use super::database;
use super::housekeeping::Housekeeping;
use crate::actors::endpoint::Endpoint;
use crate::actors::poller::{Poller, PollerParts};
use crate::actors::router::Router;
use crate::actors::session::{Complaints, SessionParts, Sessions};
use crate::actors::supervision::{ChildSpec, GaveUp, Intensity, LiveAddr, Policy, Supervisor};
use crate::actors::tls_supervisor::{Roster, TlsParts, TlsSupervisor};
use crate::actors::upstream::{Component, Upstream, UpstreamParts};
use crate::compose::control::server::ControlServer;
use crate::domain::push::policy::{Authority, Policy as PushPolicy};
use crate::ports::clock::{Clock, Entropy};
use crate::ports::service::Service;
use crate::ports::store::Store;
use crate::ports::tls::Certificates;
use crate::ports::transport::{Dialer, HANDSHAKE_TURNS, Listener};
use crate::ports::upstream::UpstreamAccounts;
use crate::ports::vault::Vault;
use crate::protocol::stream::server::ServerConfig;
use crate::settings::dispatcher::{DispatcherSettings, PushSettings};
use crate::settings::upstream::Transport;

/// More than these restarts of children in this time are no accident any more.
const INTENSITY: Intensity = Intensity {
    restarts: 10,
    window: Duration::from_secs(60),
};

/// Addresses that stay, whichever generation is behind them.
#[derive(Clone)]
pub struct Addresses {
    /// Who pushes.
    pub poller: LiveAddr<Poller>,
    /// Who knows the sessions.
    pub router: LiveAddr<Router>,
    /// Who owns TLS.
    pub tls: LiveAddr<TlsSupervisor>,
    /// Who is logged in to the site's own server; vacant where agents connect to us.
    pub upstream: LiveAddr<Upstream>,
}

impl Addresses {
    /// Nobody is behind them yet.
    pub fn vacant() -> Self {
        Self {
            poller: LiveAddr::vacant(),
            router: LiveAddr::vacant(),
            tls: LiveAddr::vacant(),
            upstream: LiveAddr::vacant(),
        }
    }
}

/// The adapters that actors are built from.
pub struct Adapters {
    /// The database.
    pub store: Arc<dyn Store>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Keeps passwords, if agents may log in by digest.
    pub vault: Option<Arc<dyn Vault>>,
    /// The certificates in use.
    pub certificates: Option<Arc<dyn Certificates>>,
    /// The site's own server, and the account there, where agents are reached through it.
    pub upstream: Option<(Arc<dyn Dialer>, Arc<dyn UpstreamAccounts>)>,
    /// Where agents connect.
    pub xmpp: Vec<Arc<dyn Listener>>,
    /// The sessions.
    pub roster: Arc<Roster>,
    /// What the embedded server's streams go by.
    pub streams: ServerConfig,
}

/// The servers beside the push path.
pub struct Services {
    /// Who answers agents that register: the registration endpoint; or with a Satellite, which answers them, who keeps the
    /// row that it tells them. By what it is called.
    pub registration: (&'static str, Arc<dyn Service>),
    /// The control socket.
    pub control: ControlServer,
    /// What is removed, and when.
    pub housekeeping: Housekeeping,
}

/// The threads that actors run on.
pub struct Threads {
    /// Router and poller.
    push: Arbiter,
    /// Sessions, one thread per core.
    sessions: Vec<Arbiter>,
}

impl Threads {
    /// Starts them.
    pub fn start() -> Self {
        Self {
            push: Arbiter::new(),
            sessions: (0..cores()).map(|_| Arbiter::new()).collect(),
        }
    }

    /// Runs something beside the poller, on whose way to it no other thread has to wake.
    pub fn beside_poller(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.push.spawn(work);
    }

    /// Stops them, and waits until what runs on them is dropped.
    pub fn stop(self) {
        for arbiter in self.sessions.into_iter().chain([self.push]) {
            arbiter.stop();
            // A thread that panicked has nothing left to wait for.
            arbiter.join().ok();
        }
    }
}

/// How many threads can work at once.
pub fn cores() -> usize {
    available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Starts all actors. They are stopped in reverse order: first nobody new comes in, then sessions end, then the poller
/// records what they said.
pub fn start(
    settings: &DispatcherSettings,
    adapters: Adapters,
    services: Services,
    addresses: &Addresses,
    threads: &Threads,
) -> (Addr<Supervisor>, oneshot::Receiver<GaveUp>) {
    let main = Arbiter::current();
    let push = threads.push.handle();
    let (registration, who_registers) = services.registration;
    let sessions = sessions(settings.push.existing_drift_max, &adapters, addresses, threads);
    let upstream = adapters.upstream.clone().map(|(dialer, accounts)| UpstreamParts {
        dialer,
        accounts,
        component: component(settings),
        sessions: sessions.clone(),
        silence_timeout: settings.upstream.silence_timeout(),
        entropy: Arc::clone(&adapters.entropy),
    });
    let upstream = upstream.map(|parts| self::upstream(parts, addresses, main.clone()));
    let mut specs = vec![
        router(addresses, push.clone()),
        poller(settings, &adapters, addresses, push),
        tls_supervisor(adapters, sessions, addresses, main.clone()),
    ];
    specs.extend(upstream);
    specs.extend([
        endpoint(registration, who_registers, main.clone()),
        endpoint("control", Arc::new(services.control), main.clone()),
        endpoint("housekeeping", Arc::new(services.housekeeping), main),
    ]);
    let (give_up, gave_up) = oneshot::channel();
    (Supervisor::new(specs, INTENSITY, give_up).start(), gave_up)
}

fn router(addresses: &Addresses, arbiter: ArbiterHandle) -> ChildSpec {
    let (poller, sessions) = (addresses.poller.recipient(), addresses.tls.recipient());
    let factory = move |guard| Router::new(poller.clone(), sessions.clone(), guard);
    ChildSpec::new("router", Policy::Permanent, arbiter, addresses.router.clone(), factory)
}

fn poller(
    settings: &DispatcherSettings,
    adapters: &Adapters,
    addresses: &Addresses,
    arbiter: ArbiterHandle,
) -> ChildSpec {
    let push = &settings.push;
    let parts = PollerParts {
        store: Arc::clone(&adapters.store) as _,
        clock: Arc::clone(&adapters.clock),
        policy: policy(push, database::authority(settings.deployment)),
        poll_interval: push.poll_interval,
        reconcile_interval: push.reconcile_interval,
        requests: addresses.router.recipient(),
        pings: addresses.router.recipient(),
        acknowledgements: addresses.router.recipient(),
        sessions: addresses.tls.recipient(),
    };
    let factory = move |guard| Poller::new(parts.clone(), guard);
    ChildSpec::new("poller", Policy::Permanent, arbiter, addresses.poller.clone(), factory)
}

/// The life cycle's numbers.
fn policy(push: &PushSettings, authority: Authority) -> PushPolicy {
    PushPolicy {
        authority,
        lease: push.lease,
        notify_threshold: push.notify_threshold.map(|limit| limit.get() as usize),
        slot_age: push.slot_age,
        pushes_per_second: push.pushes_per_second.map(std::num::NonZero::get),
        pause_divisor: push.pauses_divided_by(),
    }
}

fn sessions(
    existing_drift_max: Option<Duration>,
    adapters: &Adapters,
    addresses: &Addresses,
    threads: &Threads,
) -> Sessions {
    let config = adapters.streams.clone();
    let parts = SessionParts {
        dispatcher: format!("{}/{}", config.dispatcher, config.dispatcher_resource).into(),
        config: Arc::new(config),
        accounts: Arc::clone(&adapters.store) as _,
        vault: adapters.vault.clone(),
        existing_drift_max,
        registrations: Arc::clone(&adapters.store) as _,
        clock: Arc::clone(&adapters.clock),
        entropy: Arc::clone(&adapters.entropy),
        router: addresses.router.clone(),
        poller: addresses.poller.recipient(),
        handshakes: Arc::new(Semaphore::new(HANDSHAKE_TURNS)),
        derivations: Arc::new(Semaphore::new(cores())),
        complaints: Complaints::default(),
    };
    Sessions {
        parts: Arc::new(parts),
        roster: Arc::clone(&adapters.roster),
        arbiters: threads.sessions.iter().map(Arbiter::handle).collect(),
    }
}

fn tls_supervisor(adapters: Adapters, sessions: Sessions, addresses: &Addresses, arbiter: ArbiterHandle) -> ChildSpec {
    let parts = TlsParts {
        certificates: adapters.certificates,
        listeners: adapters.xmpp,
        sessions,
    };
    let factory = move |guard| TlsSupervisor::new(parts.clone(), guard);
    ChildSpec::new(
        "tls_supervisor",
        Policy::Permanent,
        arbiter,
        addresses.tls.clone(),
        factory,
    )
}

fn component(settings: &DispatcherSettings) -> Option<Component> {
    let secret = settings.upstream.secret.clone();
    let secret = secret.filter(|_| settings.transport == Transport::Component)?;
    let domain = settings.dispatcher_domain().to_string();
    Some(Component { domain, secret })
}

fn upstream(parts: UpstreamParts, addresses: &Addresses, arbiter: ArbiterHandle) -> ChildSpec {
    let factory = move |guard| Upstream::new(parts.clone(), guard);
    ChildSpec::new(
        "upstream",
        Policy::Permanent,
        arbiter,
        addresses.upstream.clone(),
        factory,
    )
}

fn endpoint(name: &'static str, service: Arc<dyn Service>, arbiter: ArbiterHandle) -> ChildSpec {
    let factory = move |guard| Endpoint::new(Arc::clone(&service), guard);
    ChildSpec::new(name, Policy::Permanent, arbiter, LiveAddr::vacant(), factory)
}

impl Service for Housekeeping {
    fn serve(&self) -> Pin<Box<dyn Future<Output = ()>>> {
        let housekeeping = self.clone();
        Box::pin(async move { housekeeping.keep().await })
    }
}
