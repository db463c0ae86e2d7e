//! Sessions: login, pushes, replacement, slow and bad clients, and crashes around them.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use osa::actors::poller::messages::{DeliverRequests, NotSentReason, RequestDelivery, RequestNotSent, SessionEvent};
use osa::domain::admission::AdmissionLimits;
use osa::domain::ids::{ConnectionId, RequestNumber, SystemId};
use osa::domain::push::client::AgentKind;

use crate::support::client::{TestClient, jid_of};
use crate::support::dispatcher::{Dispatcher, settle};

const SYSTEM: SystemId = SystemId(1000);
const OTHER: SystemId = SystemId(1001);

pub async fn push(dispatcher: &Dispatcher, system: SystemId, number: i64) -> ConnectionId {
    let connection = deliver(dispatcher, system, number).await;
    settle().await;
    connection
}

/// The same, before anything has come of it.
pub async fn deliver(dispatcher: &Dispatcher, system: SystemId, number: i64) -> ConnectionId {
    let opened = dispatcher.opened(system).expect("the system is open");
    let request = RequestDelivery {
        system,
        connection: opened.connection,
        number: RequestNumber(number),
        client: opened.client,
    };
    let delivered = dispatcher.router.send(DeliverRequests(vec![request])).await;
    delivered.expect("the router lives");
    opened.connection
}

pub fn not_sent(dispatcher: &Dispatcher) -> Vec<RequestNotSent> {
    let events = dispatcher.events().into_iter();
    events
        .filter_map(|event| match event {
            SessionEvent::RequestsNotSent(requests) => Some(requests),
            _ => None,
        })
        .flatten()
        .collect()
}

#[actix::test]
async fn client_becomes_pushable_at_its_presence_and_gets_requests() {
    let dispatcher = Dispatcher::start().await;
    let mut client = dispatcher.log_in("osad-1").await;
    assert_eq!(dispatcher.events(), [], "not before its presence");

    dispatcher.store.add_client(SYSTEM, &jid_of("osad-1"));
    client.say("<presence />").await;
    settle().await;
    let connection = push(&dispatcher, SYSTEM, 1).await;

    client.hear("message/request/checkin").await;
    let opened = dispatcher.opened(SYSTEM).expect("opened");
    assert_eq!(opened.kind, AgentKind::Existing);
    let sent = SessionEvent::RequestSent {
        system: SYSTEM,
        number: RequestNumber(1),
        connection,
    };
    assert!(dispatcher.events().contains(&sent));
}

#[actix::test]
async fn client_that_registers_after_its_presence_becomes_pushable_later() {
    let dispatcher = Dispatcher::start().await;
    let mut client = dispatcher.log_in("osad-1").await;
    client.say("<presence />").await;
    settle().await;
    assert!(dispatcher.opened(SYSTEM).is_none());

    dispatcher.store.add_client(SYSTEM, &jid_of("osad-1"));
    settle().await;
    settle().await;

    assert!(dispatcher.opened(SYSTEM).is_some());
    client.assert_served().await;
}

#[actix::test]
async fn vanished_connection_is_reported_at_once() {
    let dispatcher = Dispatcher::start().await;
    let client = dispatcher.open("osad-1", SYSTEM).await;
    let connection = dispatcher.opened(SYSTEM).expect("opened").connection;

    drop(client);
    tokio::time::sleep(Duration::from_millis(10)).await;

    let closed = SessionEvent::Closed(vec![(SYSTEM, connection)]);
    assert!(dispatcher.events().contains(&closed));
    assert_eq!(dispatcher.roster.counts(), (0, 0));
}

#[actix::test]
async fn request_for_a_vanished_connection_comes_back() {
    let dispatcher = Dispatcher::start().await;
    drop(dispatcher.open("osad-1", SYSTEM).await);
    settle().await;

    let connection = push(&dispatcher, SYSTEM, 1).await;

    let expected = RequestNotSent {
        system: SYSTEM,
        number: RequestNumber(1),
        connection,
        reason: NotSentReason::NotConnected,
    };
    assert_eq!(not_sent(&dispatcher), [expected]);
}

#[actix::test]
async fn unavailable_client_is_no_longer_pushable_and_may_come_back() {
    let dispatcher = Dispatcher::start().await;
    let mut client = dispatcher.open("osad-1", SYSTEM).await;
    let connection = dispatcher.opened(SYSTEM).expect("opened").connection;

    client.say("<presence type='unavailable' />").await;
    settle().await;
    assert!(
        dispatcher
            .events()
            .contains(&SessionEvent::Closed(vec![(SYSTEM, connection)]))
    );

    dispatcher.forget_events();
    client.say("<presence />").await;
    settle().await;
    assert!(dispatcher.opened(SYSTEM).is_some());
}

#[actix::test]
async fn second_login_replaces_the_first_with_conflict() {
    let dispatcher = Dispatcher::start().await;
    let mut first = dispatcher.open("osad-1", SYSTEM).await;

    let mut second = dispatcher.log_in_again("osad-1").await;
    second.say("<presence />").await;
    settle().await;
    push(&dispatcher, SYSTEM, 2).await;

    assert!(first.hear_out().await.contains("<conflict"));
    second.hear("message/request/checkin").await;
    assert_eq!(dispatcher.roster.counts(), (1, 0));
}

#[actix::test]
async fn idle_client_gets_white_space_every_minute() {
    let dispatcher = Dispatcher::start().await;
    let mut client = dispatcher.log_in("osad-1").await;

    let before = tokio::time::Instant::now();
    client.hear(" ").await;
    client.hear(" ").await;

    let minutes = before.elapsed().as_secs() / 60;
    assert_eq!(minutes, 2);
}

#[actix::test]
async fn garbage_ends_only_its_own_session() {
    let dispatcher = Dispatcher::start().await;
    let mut good = dispatcher.log_in("osad-1").await;
    let mut bad = dispatcher.log_in("osad-2").await;

    bad.say("<message><<<").await;

    assert!(bad.hear_out().await.contains("not-well-formed"));
    good.assert_served().await;
    assert_eq!(dispatcher.roster.counts(), (1, 0));
}

#[actix::test]
async fn stranger_who_says_nothing_is_sent_away_in_time() {
    let dispatcher = Dispatcher::start().await;
    let mut stranger = dispatcher.connect().await;

    let before = tokio::time::Instant::now();
    stranger.hear_out().await;

    assert_eq!(before.elapsed().as_secs(), 30);
    settle().await;
    assert_eq!(dispatcher.roster.counts(), (0, 0));
}

#[actix::test]
async fn client_that_does_not_read_is_cut_off() {
    let dispatcher = Dispatcher::start().await;
    let mut deaf = dispatcher.log_in("osad-1").await;
    let mut good = dispatcher.log_in("osad-2").await;

    let before = tokio::time::Instant::now();
    deaf.pester("<iq type='get' id='x'><query xmlns='jabber:iq:roster'/></iq>")
        .await;

    assert_eq!(before.elapsed().as_secs(), 10, "after the write deadline");
    good.assert_served().await;
    assert_eq!(dispatcher.roster.counts(), (1, 0));
}

#[actix::test]
async fn account_reset_ends_its_sessions() {
    let dispatcher = Dispatcher::start().await;
    let mut client = dispatcher.log_in("osad-1").await;
    let mut other = dispatcher.log_in("osad-11").await;

    let username = "osad-1".to_owned();
    let reset = osa::actors::router::EndAccountSessions { username };
    dispatcher.router.send(reset).await.expect("the router lives");

    assert!(client.hear_out().await.contains("not-authorized"));
    other.assert_served().await;
}

#[actix::test]
async fn strangers_of_one_address_cannot_shut_out_others() {
    let limits = AdmissionLimits {
        connections: 100,
        logging_in: 50,
        logging_in_per_address: 3,
    };
    let dispatcher = Dispatcher::start_with(limits).await;
    let mut strangers = Vec::new();
    for _ in 0..10 {
        strangers.push(dispatcher.connect().await);
    }
    settle().await;
    assert_eq!(dispatcher.roster.counts(), (3, 3));

    let neighbour = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
    let mut client = TestClient::new(dispatcher.network.connect_from(neighbour).await);
    client.start_tls().await;
}

#[actix::test]
async fn listener_waits_while_too_many_are_logging_in() {
    let limits = AdmissionLimits {
        connections: 100,
        logging_in: 2,
        logging_in_per_address: 100,
    };
    let dispatcher = Dispatcher::start_with(limits).await;
    let _strangers = (dispatcher.connect().await, dispatcher.connect().await);
    let mut third = dispatcher.connect().await;

    // The strangers are sent away after 30 s.
    third.start_tls().await;
}

#[actix::test]
async fn peers_that_stall_in_tls_cannot_keep_others_waiting() {
    let dispatcher = Dispatcher::start().await;
    let mut stuck = Vec::new();
    // There are four turns at a time.
    for _ in 0..20 {
        let mut peer = TestClient::new(dispatcher.network.connect_stuck().await);
        peer.ask_for_tls().await;
        stuck.push(peer);
    }

    let before = tokio::time::Instant::now();
    dispatcher.connect().await.start_tls().await;

    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
}

#[actix::test]
async fn accepting_neither_spins_nor_ends_when_descriptors_run_out() {
    let dispatcher = Dispatcher::start().await;
    for _ in 0..30 {
        dispatcher.network.fail(io::Error::from_raw_os_error(24)).await;
    }
    let before = dispatcher.listener.polls.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let polls = dispatcher.listener.polls.load(Ordering::SeqCst) - before;
    assert!((5..20).contains(&polls), "{polls} tries in 10 s");

    let mut client = dispatcher.connect().await;
    client.start_tls().await;
}

#[actix::test]
async fn stopped_dispatcher_tells_its_clients() {
    let dispatcher = Dispatcher::start().await;
    let mut client = dispatcher.log_in("osad-1").await;

    dispatcher.stop().await;

    assert!(client.hear_out().await.contains("system-shutdown"));
    assert_eq!(dispatcher.roster.counts(), (0, 0));
}

#[actix::test]
async fn two_systems_are_pushed_apart() {
    let dispatcher = Dispatcher::start().await;
    let mut one = dispatcher.open("osad-1", SYSTEM).await;
    let mut other = dispatcher.open("osad-2", OTHER).await;

    push(&dispatcher, OTHER, 1).await;

    let heard = other.hear("checkin").await;
    assert!(heard.contains(&jid_of("osad-2")), "{heard}");
    one.say("</stream:stream>").await;
    assert!(!one.hear_out().await.contains("checkin"));
}

#[actix::test]
async fn older_agent_of_a_system_is_told_when_another_registers_as_it() {
    let dispatcher = Dispatcher::start().await;
    let mut older = dispatcher.open("osad-1", SYSTEM).await;
    let mut newer = dispatcher.log_in("osad-2").await;
    dispatcher.store.add_client(SYSTEM, &jid_of("osad-2"));
    newer.say("<presence />").await;
    settle().await;

    assert!(
        older.hear_out().await.contains("<not-authorized"),
        "not a conflict: its account is its own"
    );
    newer.assert_served().await;
}

#[actix::test]
async fn strangers_are_counted_by_why_they_left() {
    let dispatcher = Dispatcher::start().await;
    let counted = || Vec::from_iter(dispatcher.roster.take_strangers());
    let friend = dispatcher.log_in("osad-1").await;
    let (first, second, mut silent) = (
        dispatcher.connect().await,
        dispatcher.connect().await,
        dispatcher.connect().await,
    );

    drop((friend, first, second));
    tokio::time::sleep(Duration::from_millis(10)).await;

    assert_eq!(
        counted(),
        [("closed by the client", 2)],
        "not the one that had logged in"
    );
    silent.hear_out().await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(counted(), [("no login in time", 1)]);
}
