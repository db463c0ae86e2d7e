//! The poller: from a due action to a recorded report, through crashes of its own and failures of the store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use async_trait::async_trait;
use osa::actors::poller::messages::{
    AcknowledgeReports, DeliverPings, DeliverRequests, DescribeSystems, LookAt, PingSystem, SessionEvent, SessionOpened,
};
use osa::actors::poller::{Poller, PollerParts};
use osa::actors::supervision::{
    ChildSpec, Crash, ExitGuard, Intensity, LiveAddr, Policy as Restart, Shutdown, StopChildren, Supervisor,
};
use osa::actors::tls_supervisor::AnnounceSessions;
use osa::domain::ids::{ActionId, ClientName, ConnectionId, Incarnation, RequestNumber, RunId, SystemId};
use osa::domain::push::action::{ActionKind, SystemWork};
use osa::domain::push::agenda::{Operation, Outcome};
use osa::domain::push::changes::Changes;
use osa::domain::push::client::{AgentKind, Announcement, Client, ClientEvent, RunEnd, RunReport};
use osa::domain::push::policy::{Authority, Policy};
use osa::domain::push::request::{Claim, ClaimOutcome, Entry, PushRecord};
use osa::domain::time::Timestamp;
use osa::ports::push::PushStore;
use osa::ports::store::{DatabaseLabel, StoreError};
use tokio::sync::oneshot;

use crate::simulated_store::{Action, MemStore, Status, TRIES};
use crate::support::dispatcher::{RuntimeClock, settle};

const SYSTEM: SystemId = SystemId(1);
const CONNECTION: ConnectionId = ConnectionId(9);

/// The simulation's database behind the port, which can be made to fail.
struct Store {
    memory: Mutex<MemStore>,
    clock: RuntimeClock,
    fails: AtomicBool,
}

fn stalled() -> StoreError {
    StoreError::Stalled {
        database: DatabaseLabel::new("osa.db"),
        within: Duration::from_secs(20),
    }
}

impl Store {
    fn perform(&self, operation: &Operation) -> Result<Outcome, StoreError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(stalled());
        }
        let now = osa::ports::clock::Clock::now(&self.clock);
        Ok(self.memory.lock().expect("not poisoned").perform(operation, now))
    }

    fn schedule(&self, id: i64) {
        let now = osa::ports::clock::Clock::now(&self.clock);
        let action = Action {
            system: SYSTEM,
            row: id,
            earliest: now,
            kind: ActionKind::Ordinary,
            status: Status::Queued,
            tries: TRIES,
            committed: now,
            prerequisite: None,
        };
        let mut memory = self.memory.lock().expect("not poisoned");
        memory.actions.insert(ActionId(id), action);
        memory.changed.insert(SYSTEM);
    }

    fn status(&self, id: i64) -> Status {
        self.memory.lock().expect("not poisoned").actions[&ActionId(id)].status
    }
}

#[async_trait]
impl PushStore for Store {
    async fn start_node(&self, _: &str, _: Timestamp) -> Result<Incarnation, StoreError> {
        unimplemented!("not asked by the poller")
    }

    async fn clients_by_jid(&self, _: &str) -> Result<Vec<Client>, StoreError> {
        unimplemented!("not asked by the poller")
    }

    async fn client_by_name(&self, _: &ClientName) -> Result<Option<Client>, StoreError> {
        unimplemented!("not asked by the poller")
    }

    async fn client_of_system(&self, system: SystemId) -> Result<Option<Client>, StoreError> {
        Ok(self.memory.lock().expect("not poisoned").client(system))
    }

    async fn push_records(&self, systems: &[SystemId]) -> Result<Vec<(PushRecord, SystemWork)>, StoreError> {
        match self.perform(&Operation::Open(systems.to_vec()))? {
            Outcome::Opened(found) => Ok(found),
            other => panic!("{other:?}"),
        }
    }

    async fn changed_systems(&self) -> Result<Changes, StoreError> {
        match self.perform(&Operation::AskChanged)? {
            Outcome::Changed(changes) => Ok(changes),
            other => panic!("{other:?}"),
        }
    }

    async fn work(&self, systems: &[SystemId]) -> Result<Vec<SystemWork>, StoreError> {
        match self.perform(&Operation::Read(systems.to_vec()))? {
            Outcome::Read(work) => Ok(work),
            other => panic!("{other:?}"),
        }
    }

    async fn claim(
        &self,
        claims: &[Claim],
        _: Incarnation,
        lease_until: Timestamp,
        _: Timestamp,
    ) -> Result<Vec<ClaimOutcome>, StoreError> {
        match self.perform(&Operation::Claim(claims.to_vec(), lease_until))? {
            Outcome::Claimed(outcomes) => Ok(outcomes),
            other => panic!("{other:?}"),
        }
    }

    async fn record(&self, entries: &[Entry]) -> Result<(), StoreError> {
        self.perform(&Operation::Record(entries.to_vec())).map(drop)
    }

    async fn make_durable(&self) -> Result<(), StoreError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(stalled());
        }
        Ok(())
    }

    async fn settle_presence(
        &self,
        _: Incarnation,
        connected: &[(SystemId, bool)],
        _: Timestamp,
    ) -> Result<(), StoreError> {
        self.perform(&Operation::Settle(connected.to_vec())).map(drop)
    }

    async fn prune(&self, _: Timestamp) -> Result<usize, StoreError> {
        unimplemented!("not asked by the poller")
    }
}

/// Stands for router and sessions: writes down what it is to deliver, and announces one session when asked.
struct Post {
    poller: LiveAddr<Poller>,
    announces: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<RequestNumber>>>,
    acknowledged: Arc<Mutex<Vec<RunId>>>,
    #[expect(dead_code, reason = "held for its drop")]
    guard: ExitGuard,
}

impl Actor for Post {
    type Context = Context<Self>;
}

impl Handler<DeliverRequests> for Post {
    type Result = ();

    fn handle(&mut self, DeliverRequests(requests): DeliverRequests, _: &mut Self::Context) {
        for request in requests {
            self.requests.lock().expect("not poisoned").push(request.number);
            let (system, number, connection) = (request.system, request.number, request.connection);
            let sent = SessionEvent::RequestSent {
                system,
                number,
                connection,
            };
            self.poller.try_send(sent).expect("room");
        }
    }
}

impl Handler<DeliverPings> for Post {
    type Result = ();

    fn handle(&mut self, DeliverPings(pings): DeliverPings, ctx: &mut Self::Context) {
        for ping in pings {
            let (system, connection) = (ping.system, ping.connection);
            let events = vec![ClientEvent::Ponged];
            let poller = self.poller.clone();
            ctx.run_later(Duration::from_millis(250), move |_, _| {
                poller
                    .try_send(SessionEvent::Reported {
                        system,
                        connection,
                        events,
                    })
                    .expect("room");
            });
        }
    }
}

impl Handler<AcknowledgeReports> for Post {
    type Result = ();

    fn handle(&mut self, AcknowledgeReports(reports): AcknowledgeReports, _: &mut Self::Context) {
        let runs = reports.into_iter().map(|(_, _, run)| run);
        self.acknowledged.lock().expect("not poisoned").extend(runs);
    }
}

impl Handler<AnnounceSessions> for Post {
    type Result = ();

    fn handle(&mut self, _: AnnounceSessions, _: &mut Self::Context) {
        if self.announces.load(Ordering::SeqCst) {
            self.poller.try_send(opened(None)).expect("room");
        }
    }
}

impl Handler<Shutdown> for Post {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

fn opened(announcement: Option<Announcement>) -> SessionEvent {
    let client = MemStore::new(Authority::Dispatcher, [SYSTEM].into_iter())
        .client(SYSTEM)
        .expect("it exists");
    SessionEvent::Opened(Box::new(SessionOpened {
        system: SYSTEM,
        connection: CONNECTION,
        client,
        kind: AgentKind::New,
        announcement,
        at: Timestamp::default(),
    }))
}

struct Bench {
    store: Arc<Store>,
    poller: LiveAddr<Poller>,
    supervisor: Addr<Supervisor>,
    requests: Arc<Mutex<Vec<RequestNumber>>>,
    acknowledged: Arc<Mutex<Vec<RunId>>>,
    gave_up: oneshot::Receiver<osa::actors::supervision::GaveUp>,
}

impl Bench {
    /// A poller with one pushable system.
    async fn start() -> Self {
        tokio::time::pause();
        let store = Arc::new(Store {
            memory: Mutex::new(MemStore::new(Authority::Dispatcher, [SYSTEM].into_iter())),
            clock: RuntimeClock::start(),
            fails: AtomicBool::new(false),
        });
        let (poller, post) = (LiveAddr::<Poller>::vacant(), LiveAddr::<Post>::vacant());
        let parts = PollerParts {
            store: Arc::clone(&store) as _,
            clock: Arc::new(store.clock),
            node: Incarnation(1),
            policy: Policy::default(),
            poll_interval: Duration::from_secs(1),
            reconcile_interval: Duration::from_secs(30),
            requests: post.recipient(),
            pings: post.recipient(),
            acknowledgements: post.recipient(),
            sessions: post.recipient(),
        };
        let announces = Arc::new(AtomicBool::new(false));
        let (requests, acknowledged) = (Arc::default(), Arc::default());
        let own = (
            poller.clone(),
            Arc::clone(&announces),
            Arc::clone(&requests),
            Arc::clone(&acknowledged),
        );
        let specs = vec![
            ChildSpec::new("post", Restart::Permanent, Arbiter::current(), post, move |guard| {
                let (poller, announces, requests, acknowledged) = own.clone();
                Post {
                    poller,
                    announces,
                    requests,
                    acknowledged,
                    guard,
                }
            }),
            ChildSpec::new(
                "poller",
                Restart::Permanent,
                Arbiter::current(),
                poller.clone(),
                move |guard| Poller::new(parts.clone(), guard),
            ),
        ];
        let (give_up, gave_up) = oneshot::channel();
        let intensity = Intensity {
            restarts: 5,
            window: Duration::from_secs(60),
        };
        let supervisor = Supervisor::new(specs, intensity, give_up).start();
        settle().await;
        poller
            .send(opened(Some(Announcement::default())))
            .await
            .expect("it lives");
        settle().await;
        announces.store(true, Ordering::SeqCst);
        Self {
            store,
            poller,
            supervisor,
            requests,
            acknowledged,
            gave_up,
        }
    }

    async fn hear(&self, event: ClientEvent) {
        let events = vec![event];
        let reported = SessionEvent::Reported {
            system: SYSTEM,
            connection: CONNECTION,
            events,
        };
        self.poller.send(reported).await.expect("it lives");
    }

    fn requests(&self) -> Vec<i64> {
        self.requests
            .lock()
            .expect("not poisoned")
            .iter()
            .map(|number| number.0)
            .collect()
    }

    /// Answers the last request and reports a successful run for it.
    async fn run_check(&self, run: RunId) {
        let covers = RequestNumber(*self.requests().last().expect("a request was sent"));
        let run_time = Duration::from_secs(1);
        self.hear(ClientEvent::Accepted(covers)).await;
        self.hear(ClientEvent::Finished(RunReport {
            run,
            covers,
            end: RunEnd::Exited(0),
            run_time,
        }))
        .await;
        settle().await;
    }

    async fn crash(&self) {
        self.poller.send(Crash).await.expect_err("it panics");
    }
}

#[actix::test]
async fn action_is_requested_answered_reported_and_acknowledged() {
    let bench = Bench::start().await;
    bench.store.schedule(1);
    bench.poller.send(LookAt(vec![SYSTEM])).await.expect("it lives");
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(bench.requests(), [1], "at once, since it was told where to look");

    bench.run_check(RunId([1; 16])).await;

    assert_eq!(bench.store.status(1), Status::Completed);
    assert_eq!(*bench.acknowledged.lock().expect("not poisoned"), [RunId([1; 16])]);
}

#[actix::test]
async fn action_that_nobody_told_of_is_found_by_the_next_tick() {
    let bench = Bench::start().await;
    bench.store.schedule(1);

    tokio::time::sleep(Duration::from_millis(1_100)).await;

    assert_eq!(bench.requests(), [1]);
}

#[actix::test]
async fn change_that_every_hint_missed_is_found_by_the_reconciliation() {
    let bench = Bench::start().await;
    bench.store.schedule(1);
    bench.store.memory.lock().expect("not poisoned").changed.clear();

    tokio::time::sleep(Duration::from_secs(31)).await;

    assert_eq!(bench.requests(), [1]);
}

#[actix::test]
async fn request_on_its_way_is_not_repeated_by_a_new_poller_before_its_lease_ends() {
    let mut bench = Bench::start().await;
    bench.store.schedule(1);
    settle().await;
    bench.crash().await;
    settle().await;
    assert_eq!(bench.requests(), [1]);

    tokio::time::sleep(Duration::from_secs(60)).await;

    assert_eq!(bench.requests(), [1, 2]);
    bench.run_check(RunId([1; 16])).await;
    assert_eq!(bench.store.status(1), Status::Completed);
    assert!(bench.gave_up.try_recv().is_err());
}

#[actix::test]
async fn action_scheduled_while_the_poller_is_down_is_requested_by_the_next() {
    let bench = Bench::start().await;
    bench.crash().await;
    bench.store.schedule(1);

    settle().await;

    assert_eq!(bench.requests(), [1]);
}

/// One push, during which the poller crashes before the given step.
async fn push_with_a_crash_before(crash_before: &str) {
    let bench = Bench::start().await;
    bench.store.schedule(1);
    let crash_if = async |step: &str| {
        if step == crash_before {
            bench.crash().await;
        }
        settle().await;
    };
    crash_if("request").await;
    crash_if("answer").await;
    let covers = RequestNumber(*bench.requests().last().expect("a request was sent"));
    bench.hear(ClientEvent::Accepted(covers)).await;
    crash_if("report").await;
    let report = RunReport {
        run: RunId([1; 16]),
        covers,
        end: RunEnd::Exited(0),
        run_time: Duration::ZERO,
    };
    bench.hear(ClientEvent::Finished(report)).await;
    crash_if("acknowledgement").await;
    // What an agent does whose report is not acknowledged within a minute.
    bench.hear(ClientEvent::Finished(report)).await;
    settle().await;

    assert_eq!(bench.store.status(1), Status::Completed);
    assert!(bench.acknowledged.lock().expect("not poisoned").contains(&report.run));
}

#[actix::test]
async fn crash_before_the_request_loses_no_action() {
    push_with_a_crash_before("request").await;
}

#[actix::test]
async fn crash_before_the_answer_loses_no_action() {
    push_with_a_crash_before("answer").await;
}

#[actix::test]
async fn crash_before_the_report_loses_no_action() {
    push_with_a_crash_before("report").await;
}

#[actix::test]
async fn crash_before_the_acknowledgement_loses_no_action() {
    push_with_a_crash_before("acknowledgement").await;
}

#[actix::test]
async fn store_that_fails_delays_and_loses_nothing() {
    let bench = Bench::start().await;
    bench.store.schedule(1);
    settle().await;
    bench.store.fails.store(true, Ordering::SeqCst);
    bench.run_check(RunId([1; 16])).await;
    assert!(
        bench.acknowledged.lock().expect("not poisoned").is_empty(),
        "nothing is acknowledged unrecorded"
    );

    bench.store.fails.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;

    assert_eq!(bench.store.status(1), Status::Completed);
    assert_eq!(*bench.acknowledged.lock().expect("not poisoned"), [RunId([1; 16])]);
}

#[actix::test]
async fn store_that_hangs_is_told_until_it_answers() {
    let bench = Bench::start().await;
    let stalled = async || {
        let asked = bench.poller.send(DescribeSystems(Some(vec![])));
        asked.await.expect("the poller lives").stalled.is_some()
    };
    assert!(!stalled().await);

    bench.store.fails.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(stalled().await);

    bench.store.fails.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!stalled().await);
    bench.store.schedule(1);
    settle().await;
    assert_eq!(bench.requests.lock().expect("not poisoned").len(), 1);
}

#[actix::test]
async fn shutdown_records_what_was_heard() {
    let bench = Bench::start().await;
    bench.store.schedule(1);
    settle().await;
    let covers = RequestNumber(1);
    let report = RunReport {
        run: RunId([1; 16]),
        covers,
        end: RunEnd::Exited(0),
        run_time: Duration::ZERO,
    };
    bench.hear(ClientEvent::Finished(report)).await;

    bench
        .supervisor
        .send(StopChildren {
            within: Duration::from_secs(5),
        })
        .await
        .expect("it lives");

    assert_eq!(bench.store.status(1), Status::Completed);
}

#[actix::test]
async fn ping_tells_how_long_the_answer_took() {
    let bench = Bench::start().await;
    let within = Duration::from_secs(5);

    let pong = bench
        .poller
        .send(PingSystem { system: SYSTEM, within })
        .await
        .expect("it lives");
    let nobody = bench
        .poller
        .send(PingSystem {
            system: SystemId(2),
            within,
        })
        .await
        .expect("it lives");

    assert!(pong.is_some_and(|took| took >= Duration::from_millis(250)), "{pong:?}");
    assert_eq!(nobody, None);
}

#[actix::test]
async fn poller_describes_the_systems_that_are_connected() {
    let bench = Bench::start().await;
    bench.store.schedule(1);
    settle().await;

    let status = bench
        .poller
        .send(DescribeSystems(Some(vec![SYSTEM, SystemId(2)])))
        .await
        .expect("it lives");

    assert_eq!(status.connected, 1);
    assert_eq!(status.systems.len(), 1);
    assert_eq!(status.systems[0].1.outstanding, Some(RequestNumber(1)));
}
