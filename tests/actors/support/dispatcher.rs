//! Supervisor, router, owner of TLS and sessions as they are; a poller that writes down what it is told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use osa::actors::poller::messages::{SessionEvent, SessionOpened};
use osa::actors::router::Router;
use osa::actors::session::{Audience, Complaints, SessionParts, Sessions};
use osa::actors::supervision::{
    ChildSpec, Crash, ExitGuard, GaveUp, Intensity, LiveAddr, Policy, Shutdown, StopChildren, Supervisor,
};
use osa::actors::tls_supervisor::{AnnounceSessions, Roster, TlsParts, TlsSupervisor};
use osa::domain::admission::AdmissionLimits;
use osa::domain::ids::SystemId;
use osa::domain::time::Timestamp;
use osa::ports::clock::{Clock, Entropy};
use osa::ports::tls::{CertificateInfo, Certificates, TlsError};
use osa::protocol::stream::server::ServerConfig;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use super::client::{TestClient, jid_of};
use super::duplex::{Network, PipeListener};
use super::store::FakeStore;

/// The runtime's clock, which tests pause.
#[derive(Clone, Copy)]
pub struct RuntimeClock(Instant);

impl RuntimeClock {
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_790_000_000) + self.0.elapsed()
    }
}

/// Never the same bytes twice.
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let count = self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        for (byte, value) in bytes.iter_mut().zip(count.iter().cycle()) {
            *byte = *value;
        }
    }
}

struct NoCertificates;

impl Certificates for NoCertificates {
    fn reload(&self, _: Timestamp) -> Result<CertificateInfo, TlsError> {
        Ok(self.in_use())
    }

    fn in_use(&self) -> CertificateInfo {
        CertificateInfo {
            common_name: None,
            alt_names: Vec::new(),
            not_before: Timestamp::default(),
            not_after: Timestamp::default(),
            warnings: Vec::new(),
        }
    }
}

type Log = Arc<Mutex<Vec<SessionEvent>>>;

/// Writes down what it is told.
pub struct Recorder {
    log: Log,
    sessions: LiveAddr<TlsSupervisor>,
    #[expect(dead_code, reason = "held for its drop")]
    guard: ExitGuard,
}

impl Actor for Recorder {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.sessions.try_send(AnnounceSessions(Audience::Poller)).ok();
    }
}

impl Handler<SessionEvent> for Recorder {
    type Result = ();

    fn handle(&mut self, event: SessionEvent, _: &mut Self::Context) {
        self.log.lock().expect("not poisoned").push(event);
    }
}

impl Handler<Shutdown> for Recorder {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Handler<Crash> for Recorder {
    type Result = ();

    fn handle(&mut self, _: Crash, _: &mut Self::Context) {
        panic!("told to");
    }
}

pub struct Dispatcher {
    pub network: Network,
    pub listener: Arc<PipeListener>,
    pub store: Arc<FakeStore>,
    pub router: LiveAddr<Router>,
    pub tls: LiveAddr<TlsSupervisor>,
    pub poller: LiveAddr<Recorder>,
    pub roster: Arc<Roster>,
    pub sessions: Sessions,
    gave_up: oneshot::Receiver<GaveUp>,
    supervisor: Addr<Supervisor>,
    log: Log,
}

impl Dispatcher {
    /// Starts everything, on a paused clock.
    pub async fn start() -> Self {
        Self::start_with(AdmissionLimits::default()).await
    }

    /// The same for agents of ours, which refuse the short derivation of passwords that saves time elsewhere.
    pub async fn for_agents() -> Self {
        Self::start_deriving(AdmissionLimits::default(), 4_096).await
    }

    /// One whose clients are all logged in to another server: it listens nowhere and has no certificate.
    pub async fn for_relayed() -> Self {
        Self::start_as(AdmissionLimits::default(), 1, None).await
    }

    pub async fn start_with(limits: AdmissionLimits) -> Self {
        Self::start_deriving(limits, 1).await
    }

    async fn start_deriving(limits: AdmissionLimits, scram_iterations: u32) -> Self {
        Self::start_as(limits, scram_iterations, Some(Arc::new(NoCertificates))).await
    }

    async fn start_as(
        limits: AdmissionLimits,
        scram_iterations: u32,
        certificates: Option<Arc<dyn Certificates>>,
    ) -> Self {
        tokio::time::pause();
        let (network, listener) = Network::new();
        let (listener, store) = (Arc::new(listener), Arc::new(FakeStore::default()));
        let (router, tls, poller) = (LiveAddr::vacant(), LiveAddr::vacant(), LiveAddr::<Recorder>::vacant());
        let (log, roster) = (Log::default(), Roster::new(limits));
        let mut config = ServerConfig::new("sat.example.com", [7; 32]);
        config.scram_iterations = scram_iterations;
        let parts = TlsParts {
            listeners: certificates.iter().map(|_| Arc::clone(&listener) as _).collect(),
            certificates,
            sessions: Sessions {
                roster: Arc::clone(&roster),
                arbiters: vec![Arbiter::current()],
                parts: Arc::new(SessionParts {
                    dispatcher: format!("{}/{}", config.dispatcher, config.dispatcher_resource).into(),
                    config: Arc::new(config),
                    accounts: Arc::clone(&store) as _,
                    vault: None,
                    existing_drift_max: None,
                    registrations: Arc::clone(&store) as _,
                    clock: Arc::new(RuntimeClock::start()),
                    entropy: Arc::new(Counting(AtomicU64::new(1))),
                    router: router.clone(),
                    poller: poller.recipient(),
                    handshakes: Arc::new(Semaphore::new(4)),
                    derivations: Arc::new(Semaphore::new(2)),
                    complaints: Complaints::default(),
                }),
            },
        };
        let sessions = parts.sessions.clone();
        let specs = children(&router, &tls, &poller, parts, &log);
        let (give_up, gave_up) = oneshot::channel();
        let intensity = Intensity {
            restarts: 5,
            window: Duration::from_secs(60),
        };
        let supervisor = Supervisor::new(specs, intensity, give_up).start();
        settle().await;
        Self {
            network,
            listener,
            store,
            router,
            tls,
            poller,
            roster,
            sessions,
            gave_up,
            supervisor,
            log,
        }
    }

    pub async fn stop(&self) {
        let within = Duration::from_secs(5);
        self.supervisor.send(StopChildren { within }).await.expect("it lives");
    }

    pub async fn connect(&self) -> TestClient {
        TestClient::new(self.network.connect().await)
    }

    /// A client that is logged in under a new account.
    pub async fn log_in(&self, name: &str) -> TestClient {
        let mut client = self.connect().await;
        client.start_tls().await;
        client.register(name).await;
        client.log_in(name).await;
        client
    }

    /// A client that is logged in under an account that exists.
    pub async fn log_in_again(&self, name: &str) -> TestClient {
        let mut client = self.connect().await;
        client.start_tls().await;
        client.log_in(name).await;
        client
    }

    /// A client that is pushable.
    pub async fn open(&self, name: &str, system: SystemId) -> TestClient {
        let mut client = self.log_in(name).await;
        self.store.add_client(system, &jid_of(name));
        client.say("<presence />").await;
        settle().await;
        client
    }

    /// Whether the supervisor has not given up.
    pub fn is_running(&mut self) -> bool {
        self.gave_up.try_recv().is_err()
    }

    pub fn events(&self) -> Vec<SessionEvent> {
        self.log.lock().expect("not poisoned").clone()
    }

    pub fn forget_events(&self) {
        self.log.lock().expect("not poisoned").clear();
    }

    /// Forgets everything but which systems are open.
    pub fn forget_all_but_openings(&self) {
        let is_opening = |event: &SessionEvent| matches!(event, SessionEvent::Opened(_));
        self.log.lock().expect("not poisoned").retain(is_opening);
    }

    /// The last opening of this system.
    pub fn opened(&self, system: SystemId) -> Option<SessionOpened> {
        self.events().into_iter().rev().find_map(|event| match event {
            SessionEvent::Opened(opened) if opened.system == system => Some(*opened),
            _ => None,
        })
    }
}

fn children(
    router: &LiveAddr<Router>,
    tls: &LiveAddr<TlsSupervisor>,
    poller: &LiveAddr<Recorder>,
    parts: TlsParts,
    log: &Log,
) -> Vec<ChildSpec> {
    let here = Arbiter::current;
    let (events, announce) = (poller.recipient(), tls.recipient());
    let (log, sessions) = (Arc::clone(log), tls.clone());
    vec![
        ChildSpec::new("router", Policy::Permanent, here(), router.clone(), move |guard| {
            Router::new(events.clone(), announce.clone(), guard)
        }),
        ChildSpec::new("poller", Policy::Permanent, here(), poller.clone(), move |guard| {
            Recorder {
                log: Arc::clone(&log),
                sessions: sessions.clone(),
                guard,
            }
        }),
        ChildSpec::new("tls", Policy::Permanent, here(), tls.clone(), move |guard| {
            TlsSupervisor::new(parts.clone(), guard)
        }),
    ]
}

/// Long enough for restarts and retries; the clock is paused, so it costs no time. Shorter than a white-space interval.
pub async fn settle() {
    tokio::time::sleep(Duration::from_secs(10)).await;
}
