//! An agent with several servers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use osa::actors::router::EndAccountSessions;
use osa::domain::ids::SystemId;

use crate::support::agent::{Agent, PipeDialer};
use crate::support::dispatcher::{Dispatcher, settle};

const SYSTEM: SystemId = SystemId(1000);
const AWAY: usize = 1_000_000;

/// An agent whose first server is away.
async fn failed_over(dispatcher: &Dispatcher) -> (Agent, [Arc<PipeDialer>; 2]) {
    let dialers = [PipeDialer::new(dispatcher), PipeDialer::new(dispatcher)];
    dialers[0].failures.store(AWAY, Ordering::SeqCst);
    let mut agent = Agent::new(dispatcher, SYSTEM).through(dialers.clone().map(|dialer| dialer as _));
    agent.start().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(counts(&dialers), [3, 1]);
    assert!(dispatcher.opened(SYSTEM).is_some());
    (agent, dialers)
}

fn counts(dialers: &[Arc<PipeDialer>; 2]) -> [usize; 2] {
    dialers.each_ref().map(|dialer| dialer.dialed.load(Ordering::SeqCst))
}

#[actix::test]
async fn agent_stays_with_the_second_server_while_the_first_is_away() {
    let dispatcher = Dispatcher::for_agents().await;
    let (agent, dialers) = failed_over(&dispatcher).await;

    tokio::time::sleep(Duration::from_secs(3600)).await;

    let [looks, connections] = counts(&dialers);
    assert!((12..=24).contains(&(looks - 3)), "every 2.5 to 5 minutes: {looks}");
    assert_eq!((connections, agent.registrations()), (1, 2));
}

#[actix::test]
async fn agent_returns_to_the_first_server_when_it_is_back() {
    let dispatcher = Dispatcher::for_agents().await;
    let (agent, dialers) = failed_over(&dispatcher).await;
    dispatcher.forget_events();

    dialers[0].failures.store(0, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(300)).await;
    settle().await;

    assert!(dispatcher.opened(SYSTEM).is_some());
    assert_eq!(
        (counts(&dialers), agent.registrations()),
        ([5, 1], 3),
        "one look, one connection"
    );
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(
        (counts(&dialers), agent.registrations()),
        ([5, 1], 3),
        "and stays there"
    );
}

#[actix::test]
async fn first_server_that_fails_again_is_looked_at_ever_later() {
    let dispatcher = Dispatcher::for_agents().await;
    let (agent, dialers) = failed_over(&dispatcher).await;
    dialers[0].failures.store(0, Ordering::SeqCst);
    while counts(&dialers)[0] < 5 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    // It is looked at, connected to, and gone again.
    dialers[0].failures.store(AWAY, Ordering::SeqCst);
    let username = agent.last_jid().expect("registered");
    let username = username.split('@').next().expect("a node").to_owned();
    let end = EndAccountSessions { username };
    settle().await;
    dispatcher.router.send(end).await.expect("the router lives");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = counts(&dialers);
    assert_eq!(before[1], 2, "the second server is used again");
    tokio::time::sleep(Duration::from_secs(220)).await;

    assert_eq!(counts(&dialers), before, "the next look comes after 5 to 10 minutes");
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert!(counts(&dialers)[0] > before[0]);
}
