//! The agent's actors as they are; its host is in memory, its server is the dispatcher beside it.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use async_trait::async_trait;
use osa::actors::agent::{AgentActors, AgentParts};
use osa::actors::connector::ReconnectPolicy;
use osa::actors::enroller::AgentServer;
use osa::actors::supervision::{GaveUp, Intensity, StopChildren, Supervisor};
use osa::domain::backoff::Backoff;
use osa::domain::ids::{ClientName, SystemId};
use osa::domain::push::client::Client;
use osa::domain::secret::Secret;
use osa::domain::time::Timestamp;
use osa::ports::account_file::{AccountError, AccountFile, AgentAccount, OpenedAccount, Renewal};
use osa::ports::clock::{Clock, Entropy};
use osa::ports::registrar::{Registrar, RegistrarError, Registration};
use osa::ports::systemid::{FileMark, Systemid, SystemidFileError, SystemidSource};
use osa::ports::transport::{DialError, Dialer, Dialing};
use osa::protocol::systemid::{SystemName, SystemidError};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::dispatcher::{Dispatcher, settle};
use super::duplex::{Network, Pipe};
use super::launcher::FakeLauncher;
use super::status::ShownStatus;
use super::store::FakeStore;

const DISPATCHER: &str = "rhn-dispatcher-sat@sat.example.com/superclient";

/// The runtime's clock, off by as much as wanted.
pub struct AgentClock {
    origin: Instant,
    pub slow_by: AtomicU64,
}

impl Clock for AgentClock {
    fn now(&self) -> Timestamp {
        let now = Timestamp::from_secs(1_790_000_000) + self.origin.elapsed();
        now - Duration::from_secs(self.slow_by.load(Ordering::SeqCst))
    }
}

/// Never the same bytes twice, and spread over their range.
struct Spread(AtomicU64);

impl Entropy for Spread {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let count = self.0.fetch_add(1, Ordering::SeqCst);
            *byte = count.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0];
        }
    }
}

/// Registers in the dispatcher's store.
pub struct FakeRegistrar {
    store: Arc<FakeStore>,
    clock: Arc<AgentClock>,
    pub registered: AtomicUsize,
    pub jids: Mutex<Vec<String>>,
    /// So many calls fail first.
    pub failures: AtomicUsize,
    name: Mutex<Option<ClientName>>,
}

fn system_of(systemid: &Secret) -> SystemId {
    SystemId(systemid.expose().parse().expect("a number"))
}

#[async_trait]
impl Registrar for FakeRegistrar {
    async fn register(&self, _: &Secret) -> Result<Registration, RegistrarError> {
        let fails = |left: usize| left.checked_sub(1);
        if self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails)
            .is_ok()
        {
            return Err(RegistrarError::NoPush("sat.example.com:443".into()));
        }
        let count = self.registered.fetch_add(1, Ordering::SeqCst);
        let name = ClientName(format!("{count:016x}"));
        *self.name.lock().expect("not poisoned") = Some(name.clone());
        let slow_by = self.clock.slow_by.load(Ordering::SeqCst);
        Ok(Registration {
            client: name,
            key: Secret::new("0123456789abcdef0123456789abcdef01234567"),
            dispatchers: vec![DISPATCHER.into()],
            drift_millis: i64::try_from(slow_by).expect("fits") * 1000,
        })
    }

    async fn register_jid(&self, systemid: &Secret, jid: &str) -> Result<(), RegistrarError> {
        self.jids.lock().expect("not poisoned").push(jid.to_owned());
        let name = self.name.lock().expect("not poisoned").clone();
        self.store.replace_client(Client {
            system: system_of(systemid),
            name: name.expect("it registered before"),
            shared_key: Secret::new("0123456789abcdef0123456789abcdef01234567"),
            jid: jid.to_owned(),
            announced: false,
        });
        Ok(())
    }
}

pub struct PipeDialer {
    network: Network,
    pub dialed: AtomicUsize,
    /// So many dials fail first.
    pub failures: AtomicUsize,
}

impl PipeDialer {
    pub fn new(dispatcher: &Dispatcher) -> Arc<Self> {
        Arc::new(Self {
            network: dispatcher.network.clone(),
            dialed: AtomicUsize::new(0),
            failures: AtomicUsize::new(0),
        })
    }
}

impl Dialer for PipeDialer {
    fn dial(&self) -> Dialing {
        self.dialed.fetch_add(1, Ordering::SeqCst);
        let fails = |left: usize| left.checked_sub(1);
        if self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails)
            .is_ok()
        {
            let refused = DialError::Refused {
                server: self.domain().to_owned(),
                error: io::ErrorKind::ConnectionRefused.into(),
            };
            return Box::pin(async { Err(refused) });
        }
        let network = self.network.clone();
        Box::pin(async move { Ok(Box::new(Pipe::to_server(network.connect().await)) as _) })
    }

    fn domain(&self) -> &str {
        "sat.example.com"
    }
}

/// The systemid of a system; `None` while the file is gone.
pub struct FakeSystemid(pub Mutex<Option<SystemId>>);

impl SystemidSource for FakeSystemid {
    fn mark(&self) -> Option<FileMark> {
        let system = (*self.0.lock().expect("not poisoned"))?;
        Some(FileMark {
            inode: (1, 1),
            length: 1,
            modified: i128::from(system.0),
        })
    }

    fn read(&self) -> Result<Systemid, SystemidFileError> {
        let Some(system) = *self.0.lock().expect("not poisoned") else {
            return Err(SystemidFileError::Damaged {
                path: "/systemid".into(),
                error: SystemidError::NotOneStruct,
            });
        };
        Ok(Systemid {
            text: Secret::new(system.0.to_string()),
            system: SystemName::Id(system),
        })
    }
}

/// Accounts counted up.
pub struct FakeAccount {
    made: AtomicUsize,
    system: Mutex<Option<String>>,
}

impl FakeAccount {
    fn make(&self) -> AgentAccount {
        self.made.fetch_add(1, Ordering::SeqCst);
        self.current()
    }

    fn current(&self) -> AgentAccount {
        let number = self.made.load(Ordering::SeqCst);
        AgentAccount {
            username: format!("osad-{number:010x}"),
            password: Secret::new(format!("password{number:012x}")),
            resource: "osad".into(),
        }
    }
}

impl AccountFile for FakeAccount {
    fn open(&self, system_id: &str) -> Result<OpenedAccount, AccountError> {
        let before = self.system.lock().expect("not poisoned").replace(system_id.to_owned());
        let renewal = match before {
            None => Some(Renewal::Absent),
            Some(before) if before != system_id => Some(Renewal::OtherSystem),
            Some(_) => None,
        };
        let account = renewal.map_or_else(|| self.current(), |_| self.make());
        Ok(OpenedAccount { account, renewal })
    }

    fn renew(&self, _: &str) -> Result<AgentAccount, AccountError> {
        Ok(self.make())
    }
}

pub struct Agent {
    pub actors: AgentActors,
    pub clock: Arc<AgentClock>,
    pub registrar: Arc<FakeRegistrar>,
    pub dialer: Arc<PipeDialer>,
    pub systemid: Arc<FakeSystemid>,
    pub launcher: Arc<FakeLauncher>,
    pub status: Arc<ShownStatus>,
    parts: AgentParts,
    supervisor: Option<Addr<Supervisor>>,
    gave_up: Option<oneshot::Receiver<GaveUp>>,
}

impl Agent {
    /// An agent of this dispatcher that has not started.
    pub fn new(dispatcher: &Dispatcher, system: SystemId) -> Self {
        let clock = Arc::new(AgentClock {
            origin: Instant::now(),
            slow_by: AtomicU64::new(0),
        });
        let registrar = Arc::new(FakeRegistrar {
            store: Arc::clone(&dispatcher.store),
            clock: Arc::clone(&clock),
            registered: AtomicUsize::new(0),
            jids: Mutex::default(),
            failures: AtomicUsize::new(0),
            name: Mutex::default(),
        });
        let dialer = PipeDialer::new(dispatcher);
        let systemid = Arc::new(FakeSystemid(Mutex::new(Some(system))));
        let launcher = Arc::new(FakeLauncher::default());
        let backoff = Backoff {
            first: Duration::from_secs(1),
            limit: Duration::from_secs(300),
        };
        let server = AgentServer {
            registrar: Arc::clone(&registrar) as _,
            dialer: Arc::clone(&dialer) as _,
        };
        let status = Arc::new(ShownStatus::default());
        let parts = AgentParts {
            servers: Arc::from([server]),
            systemid: Arc::clone(&systemid) as _,
            account: Arc::new(FakeAccount {
                made: AtomicUsize::new(0),
                system: Mutex::default(),
            }),
            launcher: Arc::clone(&launcher) as _,
            clock: Arc::clone(&clock) as _,
            entropy: Arc::new(Spread(AtomicU64::new(1))),
            checks_enabled: true,
            reconnect: ReconnectPolicy {
                backoff,
                stable_after: Duration::from_secs(60),
            },
            silence_timeout: Duration::from_secs(90),
            status: Arc::clone(&status) as _,
        };
        Self {
            actors: AgentActors::vacant(),
            clock,
            registrar,
            dialer,
            systemid,
            launcher,
            status,
            parts,
            supervisor: None,
            gave_up: None,
        }
    }

    /// Connects through these instead, best first; registers at the same place for all of them.
    pub fn through(mut self, dialers: impl IntoIterator<Item = Arc<dyn Dialer>>) -> Self {
        let server = |dialer| AgentServer {
            registrar: Arc::clone(&self.registrar) as _,
            dialer,
        };
        self.parts.servers = dialers.into_iter().map(server).collect();
        self
    }

    /// Starts it, and waits until nothing more happens.
    pub async fn start(&mut self) {
        let intensity = Intensity {
            restarts: 5,
            window: Duration::from_secs(300),
        };
        let (give_up, gave_up) = oneshot::channel();
        let children = self.actors.children(&self.parts, &Arbiter::current());
        self.supervisor = Some(Supervisor::new(children, intensity, give_up).start());
        self.gave_up = Some(gave_up);
        settle().await;
    }

    /// An agent that runs.
    pub async fn started(dispatcher: &Dispatcher, system: SystemId) -> Self {
        let mut agent = Self::new(dispatcher, system);
        agent.start().await;
        agent
    }

    pub async fn stop(&self) {
        let within = Duration::from_secs(5);
        let supervisor = self.supervisor.as_ref().expect("it was started");
        supervisor.send(StopChildren { within }).await.expect("it lives");
    }

    pub fn registrations(&self) -> usize {
        self.registrar.registered.load(Ordering::SeqCst)
    }

    pub fn dials(&self) -> usize {
        self.dialer.dialed.load(Ordering::SeqCst)
    }

    pub fn last_jid(&self) -> Option<String> {
        self.registrar.jids.lock().expect("not poisoned").last().cloned()
    }
}
