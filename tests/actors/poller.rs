//! The poller: from a due action to a recorded report, through crashes of its own and failures of the store.

mod doubles;
mod logged;

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
use osa::ports::push::{PushStore, Standing};
use osa::ports::store::{DatabaseLabel, StoreError};
use tokio::sync::oneshot;

use crate::simulated_store::{Action, MemStore, Status, TRIES};
use crate::support::dispatcher::{RuntimeClock, settle};

use doubles::*;

const SYSTEM: SystemId = SystemId(1);
const CONNECTION: ConnectionId = ConnectionId(9);

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
            standing: Mutex::new(Standing::Current),
        });
        let (poller, post) = (LiveAddr::<Poller>::vacant(), LiveAddr::<Post>::vacant());
        let parts = PollerParts {
            store: Arc::clone(&store) as _,
            clock: Arc::new(store.clock),
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
        asked
            .await
            .expect("the poller lives")
            .store
            .is_some_and(|trouble| trouble.stalled)
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
