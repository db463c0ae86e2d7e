//! Supervision: who is restarted, when, and when it is given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::prelude::*;
use osa::actors::supervision::{
    ChildSpec, ExitGuard, ExitReason, GaveUp, Intensity, LiveAddr, Policy, Shutdown, StopChildren, Supervisor,
};
use tokio::sync::oneshot;

/// Counts what it is told, and ends as it is told.
struct Counter {
    count: usize,
    guard: ExitGuard,
}

#[derive(Message)]
#[rtype(result = "usize")]
struct Count;

#[derive(Message)]
#[rtype(result = "()")]
struct End(Option<ExitReason>);

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Count> for Counter {
    type Result = usize;

    fn handle(&mut self, _: Count, _: &mut Self::Context) -> usize {
        self.count += 1;
        self.count
    }
}

impl Handler<End> for Counter {
    type Result = ();

    fn handle(&mut self, End(reason): End, ctx: &mut Self::Context) {
        match reason {
            Some(ExitReason::Panicked) => panic!("told to"),
            Some(reason) => self.guard.end_as(reason),
            None => {}
        }
        ctx.stop();
    }
}

impl Handler<Shutdown> for Counter {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.guard.end_as(ExitReason::Shutdown);
        ctx.stop();
    }
}

struct Family {
    live: LiveAddr<Counter>,
    sibling: LiveAddr<Counter>,
    starts: Arc<AtomicUsize>,
    gave_up: oneshot::Receiver<GaveUp>,
    supervisor: Addr<Supervisor>,
}

fn spec(name: &'static str, policy: Policy, live: &LiveAddr<Counter>, starts: Arc<AtomicUsize>) -> ChildSpec {
    ChildSpec::new(name, policy, Arbiter::current(), live.clone(), move |guard| {
        starts.fetch_add(1, Ordering::SeqCst);
        Counter { count: 0, guard }
    })
}

fn start_family(policy: Policy, restarts: usize) -> Family {
    tokio::time::pause();
    let (live, sibling, starts) = (LiveAddr::vacant(), LiveAddr::vacant(), Arc::new(AtomicUsize::new(0)));
    let specs = vec![
        spec("counter", policy, &live, Arc::clone(&starts)),
        spec("sibling", Policy::Permanent, &sibling, Arc::default()),
    ];
    let (give_up, gave_up) = oneshot::channel();
    let intensity = Intensity {
        restarts,
        window: Duration::from_secs(60),
    };
    Family {
        live,
        sibling,
        starts,
        gave_up,
        supervisor: Supervisor::new(specs, intensity, give_up).start(),
    }
}

/// Long enough for any restart; costs no time, since the clock is paused.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

impl Family {
    async fn end_child(&self, reason: Option<ExitReason>) {
        settle().await;
        self.live.send(End(reason)).await.ok();
        settle().await;
    }

    fn starts(&self) -> usize {
        self.starts.load(Ordering::SeqCst)
    }
}

#[actix::test]
async fn panicked_child_is_built_anew_behind_the_same_address() {
    let family = start_family(Policy::Permanent, 5);
    settle().await;
    assert_eq!(family.live.send(Count).await, Ok(1));
    assert_eq!(family.live.send(Count).await, Ok(2));

    family.end_child(Some(ExitReason::Panicked)).await;

    assert_eq!(family.starts(), 2);
    assert_eq!(family.live.send(Count).await, Ok(1), "no state survives a panic");
}

#[actix::test]
async fn siblings_of_a_panicked_child_go_on() {
    let family = start_family(Policy::Permanent, 5);
    settle().await;
    assert_eq!(family.sibling.send(Count).await, Ok(1));

    family.end_child(Some(ExitReason::Panicked)).await;

    assert_eq!(family.sibling.send(Count).await, Ok(2));
}

#[actix::test]
async fn permanent_child_that_ends_by_itself_is_restarted() {
    let family = start_family(Policy::Permanent, 5);

    family.end_child(None).await;

    assert_eq!(family.starts(), 2);
}

#[actix::test]
async fn transient_child_is_restarted_only_after_a_failure() {
    let family = start_family(Policy::Transient, 5);

    family.end_child(Some(ExitReason::Failed)).await;
    assert_eq!(family.starts(), 2);

    family.end_child(None).await;
    assert_eq!(family.starts(), 2);
}

#[actix::test]
async fn caller_waiting_for_a_child_that_panics_gets_an_error() {
    let family = start_family(Policy::Permanent, 5);
    settle().await;

    let reply = family.live.send(End(Some(ExitReason::Panicked))).await;

    assert_eq!(reply, Err(MailboxError::Closed));
    assert!(!family.live.is_connected(), "until the pause is over");
}

#[actix::test]
async fn one_exit_too_many_is_reported_and_nothing_is_restarted() {
    let mut family = start_family(Policy::Permanent, 2);
    for _ in 0..2 {
        family.end_child(Some(ExitReason::Panicked)).await;
    }
    assert!(family.gave_up.try_recv().is_err());

    family.end_child(Some(ExitReason::Panicked)).await;

    let gave_up = GaveUp {
        child: "counter",
        reason: ExitReason::Panicked,
    };
    assert_eq!(family.gave_up.await, Ok(gave_up));
    assert_eq!(family.starts.load(Ordering::SeqCst), 3);
}

#[actix::test]
async fn exits_spread_over_more_than_the_window_are_borne() {
    let mut family = start_family(Policy::Permanent, 2);

    for _ in 0..6 {
        family.end_child(Some(ExitReason::Panicked)).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
    }

    assert!(family.gave_up.try_recv().is_err());
    assert_eq!(family.starts(), 7);
}

#[actix::test]
async fn exit_of_an_older_generation_changes_nothing() {
    let family = start_family(Policy::Permanent, 5);
    family.end_child(Some(ExitReason::Panicked)).await;

    let parent = family.supervisor.clone().recipient();
    let child = osa::actors::supervision::ChildId(0);
    let first = osa::actors::supervision::Generation(1);
    drop(ExitGuard::new(child, first, parent));
    settle().await;

    assert_eq!(family.starts(), 2);
}

#[actix::test]
async fn stopped_children_stay_stopped() {
    let mut family = start_family(Policy::Permanent, 5);
    settle().await;

    let within = Duration::from_secs(1);
    family
        .supervisor
        .send(StopChildren { within })
        .await
        .expect("supervisor lives");
    settle().await;

    assert!(!family.live.is_connected());
    assert!(!family.sibling.is_connected());
    assert_eq!(family.starts(), 1);
    assert!(family.gave_up.try_recv().is_err());
}

/// Never replies to `Shutdown`.
struct Stuck(#[expect(dead_code, reason = "held for its drop")] ExitGuard);

impl Actor for Stuck {
    type Context = Context<Self>;
}

impl Handler<Shutdown> for Stuck {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Shutdown, _: &mut Self::Context) -> Self::Result {
        Box::pin(std::future::pending())
    }
}

#[actix::test]
async fn child_that_does_not_stop_in_time_is_left_behind() {
    tokio::time::pause();
    let (live, counter) = (LiveAddr::<Stuck>::vacant(), LiveAddr::vacant());
    let specs = vec![
        spec("counter", Policy::Permanent, &counter, Arc::default()),
        ChildSpec::new("stuck", Policy::Permanent, Arbiter::current(), live, Stuck),
    ];
    let intensity = Intensity {
        restarts: 1,
        window: Duration::from_secs(60),
    };
    let supervisor = Supervisor::new(specs, intensity, oneshot::channel().0).start();
    settle().await;

    let before = tokio::time::Instant::now();
    let within = Duration::from_secs(3);
    supervisor
        .send(StopChildren { within })
        .await
        .expect("supervisor lives");

    assert_eq!(before.elapsed().as_secs(), 3);
    settle().await;
    assert!(!counter.is_connected(), "the others are stopped all the same");
}

#[actix::test]
async fn full_mailbox_gives_the_message_back_however_many_hold_the_address() {
    let family = start_family(Policy::Permanent, 5);
    settle().await;

    // Nothing runs between these sends, so nothing is taken from the mailbox.
    let clones: Vec<_> = (0..100).map(|_| family.live.clone()).collect();
    let taken = clones.iter().filter(|live| live.try_send(Count).is_ok()).count();

    assert!(taken <= 17, "{taken} messages were taken by a mailbox of 16");
}
