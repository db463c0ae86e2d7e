//! A panic in one actor under traffic: who loses what.

use osa::actors::poller::messages::SessionEvent;
use osa::actors::supervision::Crash;
use osa::domain::ids::SystemId;

use crate::sessions::push;
use crate::support::client::{TestClient, jid_of};
use crate::support::dispatcher::{Dispatcher, settle};
use crate::support::store::POISON;

const SYSTEM: SystemId = SystemId(1000);
const CLIENTS: i64 = 20;

async fn open_clients(dispatcher: &Dispatcher) -> Vec<TestClient> {
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let name = format!("osad-{number}");
        clients.push(dispatcher.open(&name, SystemId(SYSTEM.0 + number)).await);
    }
    clients
}

/// Every client is still connected, and gets what is sent now.
async fn assert_all_are_pushed(dispatcher: &Dispatcher, clients: &mut [TestClient], number: i64) {
    for (client, system) in clients.iter_mut().zip(SYSTEM.0..) {
        client.assert_served().await;
        push(dispatcher, SystemId(system), number).await;
        client.hear("message/request/checkin").await;
    }
}

#[actix::test]
async fn router_crash_costs_no_connection() {
    let mut dispatcher = Dispatcher::start().await;
    let mut clients = open_clients(&dispatcher).await;

    dispatcher.router.send(Crash).await.expect_err("it panics");
    settle().await;

    assert_all_are_pushed(&dispatcher, &mut clients, 1).await;
    assert!(dispatcher.is_running());
}

#[actix::test]
async fn conflict_is_found_after_a_router_crash() {
    let dispatcher = Dispatcher::start().await;
    let mut first = dispatcher.open("osad-1", SYSTEM).await;
    dispatcher.router.send(Crash).await.expect_err("it panics");
    settle().await;

    dispatcher.log_in_again("osad-1").await.assert_served().await;

    assert!(first.hear_out().await.contains("<conflict"));
}

#[actix::test]
async fn client_that_logs_in_while_the_router_is_down_is_found_later() {
    let dispatcher = Dispatcher::start().await;
    let crash = dispatcher.router.send(Crash);
    let (_, mut client) = tokio::join!(crash, dispatcher.open("osad-1", SYSTEM));
    settle().await;

    push(&dispatcher, SYSTEM, 1).await;

    client.hear("message/request/checkin").await;
}

#[actix::test]
async fn tls_supervisor_crash_costs_no_connection_and_new_ones_are_served() {
    let mut dispatcher = Dispatcher::start().await;
    let mut clients = open_clients(&dispatcher).await;

    dispatcher.tls.send(Crash).await.expect_err("it panics");
    // Before its successor is there: this one waits in the listener's queue.
    let mut late = dispatcher.connect().await;
    late.start_tls().await;

    assert_all_are_pushed(&dispatcher, &mut clients, 1).await;
    assert!(dispatcher.is_running());
}

#[actix::test]
async fn connection_that_ends_while_the_tls_supervisor_is_down_is_reported() {
    let dispatcher = Dispatcher::start().await;
    let client = dispatcher.open("osad-1", SYSTEM).await;
    let connection = dispatcher.opened(SYSTEM).expect("opened").connection;

    dispatcher.tls.send(Crash).await.expect_err("it panics");
    drop(client);
    settle().await;

    let closed = SessionEvent::Closed(vec![(SYSTEM, connection)]);
    assert!(dispatcher.events().contains(&closed));
}

#[actix::test]
async fn session_crash_costs_its_own_connection_only_and_its_parent_cleans_up() {
    let mut dispatcher = Dispatcher::start().await;
    let mut clients = open_clients(&dispatcher).await;
    let mut victim = dispatcher.open("osad-victim", SystemId(2000)).await;
    let connection = dispatcher.opened(SystemId(2000)).expect("opened").connection;

    dispatcher.store.rename_system(SystemId(2000), POISON);
    victim.say("<presence />").await;
    victim.hear_out().await;
    settle().await;

    let closed = SessionEvent::Closed(vec![(SystemId(2000), connection)]);
    assert!(dispatcher.events().contains(&closed));
    assert_eq!(dispatcher.roster.counts().0, clients.len());
    assert_all_are_pushed(&dispatcher, &mut clients, 1).await;
    assert!(dispatcher.is_running(), "a session is nobody's restart");
}

#[actix::test]
async fn poller_crash_costs_no_connection_and_its_successor_learns_of_all() {
    let mut dispatcher = Dispatcher::start().await;
    let mut clients = open_clients(&dispatcher).await;
    dispatcher.forget_events();

    dispatcher.poller.send(Crash).await.expect_err("it panics");
    settle().await;

    for system in (SYSTEM.0..).take(clients.len()) {
        let opened = dispatcher.opened(SystemId(system)).expect("announced again");
        assert_eq!(opened.announcement, None, "what it announced was handled before");
    }
    assert_all_are_pushed(&dispatcher, &mut clients, 1).await;
    assert!(dispatcher.is_running());
}

#[actix::test]
async fn client_that_reports_while_the_poller_is_down_is_heard_later() {
    let dispatcher = Dispatcher::start().await;
    let mut client = dispatcher.log_in("osad-1").await;
    dispatcher.store.add_client(SYSTEM, &jid_of("osad-1"));

    dispatcher.poller.send(Crash).await.expect_err("it panics");
    client.say("<presence />").await;
    settle().await;

    assert!(dispatcher.opened(SYSTEM).is_some());
    client.assert_served().await;
}

#[actix::test]
async fn supervisor_gives_up_on_a_router_that_crashes_again_and_again() {
    let mut dispatcher = Dispatcher::start().await;

    for _ in 0..6 {
        assert!(dispatcher.is_running());
        dispatcher.router.send(Crash).await.expect_err("it panics");
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    }

    assert!(!dispatcher.is_running());
}
