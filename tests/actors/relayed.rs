//! Sessions whose clients are logged in to the site's own server.

use std::time::Duration;

use minidom::Element;
use osa::actors::poller::messages::{NotSentReason, RequestNotSent, SessionEvent};
use osa::actors::session::{EndCause, SessionOrder};
use osa::actors::supervision::Crash;
use osa::actors::tls_supervisor::ReloadTls;
use osa::domain::ids::{ClientName, ConnectionId, RequestNumber, SystemId};
use osa::domain::push::client::{AgentKind, ClientEvent};
use osa::domain::secret::Secret;
use osa::protocol::osa::action::Action;
use osa::protocol::osa::signed::{Content, Signed};
use osa::protocol::stream::server::ClientActivity;

use crate::sessions::{not_sent, push};
use crate::support::client::jid_of;
use crate::support::dispatcher::{Dispatcher, settle};
use crate::support::store::POISON;
use crate::support::upstream::{Client, Upstream};

const SYSTEM: SystemId = SystemId(1000);
const DISPATCHER: &str = "rhn-dispatcher-sat@sat.example.com/superclient";

/// A client that is pushable.
async fn open(dispatcher: &Dispatcher, upstream: &Upstream, name: &str) -> Client {
    dispatcher.store.add_client(SYSTEM, &jid_of(name));
    let client = upstream.meet(dispatcher, name).await;
    client.appear().await;
    client
}

/// An existing agent's answer to a request.
fn answer(client: &Client, name: &str) -> Element {
    let content = Content {
        timestamp: 1,
        serial: "d4e5f6-12",
        action: Action::CheckIn.response(),
    };
    let client_name = ClientName(format!("{:016x}", SYSTEM.0));
    let key = Secret::new("0123456789abcdef0123456789abcdef01234567");
    let signed = Signed::response(&key, DISPATCHER, &client_name.0, &jid_of(name), content);
    let mut message = client.stanza("<message type='normal'/>");
    message.append_child(signed.to_element());
    message
}

/// The closings that the poller was told of.
fn closings(dispatcher: &Dispatcher) -> Vec<Vec<(SystemId, ConnectionId)>> {
    let events = dispatcher.events().into_iter();
    let closings = events.filter_map(|event| match event {
        SessionEvent::Closed(closed) => Some(closed),
        _ => None,
    });
    closings.collect()
}

fn connection(dispatcher: &Dispatcher) -> ConnectionId {
    dispatcher.opened(SYSTEM).expect("opened").connection
}

/// The router and the poller know of no session any more, and the poller was told once.
async fn assert_is_over(dispatcher: &Dispatcher, connection: ConnectionId) {
    settle().await;
    assert_eq!(closings(dispatcher), [[(SYSTEM, connection)]]);
    assert_eq!(dispatcher.roster.counts(), (0, 0));
    push(dispatcher, SYSTEM, 99).await;
    assert_eq!(not_sent(dispatcher).len(), 1, "there is no route to it");
}

#[actix::test]
async fn relayed_client_becomes_pushable_at_its_presence_and_gets_requests() {
    let (dispatcher, upstream) = (Dispatcher::start().await, Upstream::start());
    open(&dispatcher, &upstream, "osad-1").await;
    assert_eq!(dispatcher.roster.counts(), (1, 0), "it is logged in from the start");

    let connection = push(&dispatcher, SYSTEM, 1).await;

    let sent = upstream.sent_to("osad-1");
    assert!(
        matches!(&sent[..], [request] if request.contains("message/request/checkin")),
        "{sent:?}"
    );
    assert_eq!(dispatcher.opened(SYSTEM).expect("opened").kind, AgentKind::Existing);
    let sent = SessionEvent::RequestSent {
        system: SYSTEM,
        number: RequestNumber(1),
        connection,
    };
    assert!(dispatcher.events().contains(&sent));
}

#[actix::test]
async fn answer_of_a_relayed_client_reaches_the_poller() {
    let (dispatcher, upstream) = (Dispatcher::start().await, Upstream::start());
    let client = open(&dispatcher, &upstream, "osad-1").await;
    let connection = push(&dispatcher, SYSTEM, 7).await;

    client.tell(ClientActivity::Message(answer(&client, "osad-1"))).await;
    settle().await;

    let reported = SessionEvent::Reported {
        system: SYSTEM,
        connection,
        events: vec![ClientEvent::Accepted(RequestNumber(7))],
    };
    assert!(dispatcher.events().contains(&reported));
}

#[actix::test]
async fn relayed_client_that_registers_after_its_presence_becomes_pushable_later() {
    let (dispatcher, upstream) = (Dispatcher::start().await, Upstream::start());
    let client = upstream.meet(&dispatcher, "osad-1").await;
    client.appear().await;
    assert!(dispatcher.opened(SYSTEM).is_none());

    dispatcher.store.add_client(SYSTEM, &jid_of("osad-1"));
    settle().await;
    settle().await;

    assert!(dispatcher.opened(SYSTEM).is_some());
}

#[actix::test]
async fn unavailable_presence_ends_a_relayed_session_and_the_poller_is_told_once() {
    let (dispatcher, upstream) = (Dispatcher::start().await, Upstream::start());
    let client = open(&dispatcher, &upstream, "osad-1").await;
    let connection = connection(&dispatcher);

    client.tell(ClientActivity::Unavailable).await;

    assert_is_over(&dispatcher, connection).await;
}

#[actix::test]
async fn relayed_session_that_is_told_to_end_says_nothing_to_its_client() {
    let causes = [
        EndCause::Conflict,
        EndCause::AccountReset,
        EndCause::Displaced,
        EndCause::Shutdown,
        EndCause::Unavailable,
    ];
    let (dispatcher, upstream) = (Dispatcher::start().await, Upstream::start());
    dispatcher.store.add_client(SYSTEM, &jid_of("osad-1"));
    for cause in causes {
        dispatcher.forget_events();
        let client = upstream.meet(&dispatcher, "osad-1").await;
        client.appear().await;
        let connection = connection(&dispatcher);

        client.session.send(SessionOrder::End(cause)).await.ok();

        assert_is_over(&dispatcher, connection).await;
        assert_eq!(upstream.sent_to("osad-1"), [""; 0], "{cause:?}");
    }
}

#[actix::test]
async fn relayed_sessions_end_with_the_connection_they_belong_to() {
    let (dispatcher, upstream) = (Dispatcher::start().await, Upstream::start());
    open(&dispatcher, &upstream, "osad-1").await;
    let connection = connection(&dispatcher);

    upstream.hang_up().await;

    assert_is_over(&dispatcher, connection).await;
}

#[actix::test]
async fn panic_of_their_connection_ends_relayed_sessions_and_no_others() {
    let (dispatcher, upstream) = (Dispatcher::start().await, Upstream::start());
    let other_upstream = Upstream::start();
    open(&dispatcher, &upstream, "osad-1").await;
    let connection = connection(&dispatcher);
    let other = SystemId(1001);
    dispatcher.store.add_client(other, &jid_of("osad-2"));
    other_upstream.meet(&dispatcher, "osad-2").await.appear().await;

    upstream.parent.send(Crash).await.expect_err("it panics");
    settle().await;

    assert_eq!(closings(&dispatcher), [[(SYSTEM, connection)]]);
    push(&dispatcher, other, 1).await;
    assert_eq!(other_upstream.sent_to("osad-2").len(), 1);
}

#[actix::test]
async fn relayed_session_that_panics_takes_nobody_with_it() {
    let (dispatcher, upstream) = (Dispatcher::start().await, Upstream::start());
    open(&dispatcher, &upstream, "osad-1").await;
    dispatcher.store.add_client(POISON, &jid_of("osad-2"));

    upstream.meet(&dispatcher, "osad-2").await.appear().await;

    assert_eq!(dispatcher.roster.counts(), (1, 0));
    push(&dispatcher, SYSTEM, 1).await;
    assert_eq!(upstream.sent_to("osad-1").len(), 1);
}

#[actix::test]
async fn request_that_the_way_has_no_room_for_comes_back_as_busy() {
    let (dispatcher, upstream) = (Dispatcher::start().await, Upstream::start());
    let client = open(&dispatcher, &upstream, "osad-1").await;
    let stalled = upstream.stall().await;
    let connection = push(&dispatcher, SYSTEM, 1).await;

    push(&dispatcher, SYSTEM, 2).await;
    let busy = RequestNotSent {
        system: SYSTEM,
        number: RequestNumber(2),
        connection,
        reason: NotSentReason::Busy,
    };
    assert_eq!(not_sent(&dispatcher), [busy]);

    stalled.notify_one();
    settle().await;
    push(&dispatcher, SYSTEM, 3).await;
    assert_eq!(upstream.sent_to("osad-1").len(), 2);
    for _ in 0..2 {
        client.tell(ClientActivity::Message(answer(&client, "osad-1"))).await;
    }
    settle().await;
    assert_eq!(
        answered(&dispatcher),
        [1, 3],
        "nothing is credited to what was not sent"
    );
}

#[actix::test]
async fn congested_connection_takes_no_requests_and_waiting_stanzas_are_taken_afterwards() {
    let (dispatcher, upstream) = (Dispatcher::start().await, Upstream::start());
    let client = open(&dispatcher, &upstream, "osad-1").await;
    push(&dispatcher, SYSTEM, 1).await;
    upstream.congest(true).await;

    client.tell(ClientActivity::Message(answer(&client, "osad-1"))).await;
    push(&dispatcher, SYSTEM, 2).await;
    assert_eq!(answered(&dispatcher), [0; 0]);
    assert!(matches!(&not_sent(&dispatcher)[..], [busy] if busy.reason == NotSentReason::Busy));

    upstream.congest(false).await;
    assert_eq!(answered(&dispatcher), [1]);
    push(&dispatcher, SYSTEM, 3).await;
    assert_eq!(upstream.sent_to("osad-1").len(), 2);
}

/// The requests that clients answered.
fn answered(dispatcher: &Dispatcher) -> Vec<i64> {
    let events = dispatcher.events().into_iter().flat_map(|event| match event {
        SessionEvent::Reported { events, .. } => events,
        _ => Vec::new(),
    });
    let numbers = events.filter_map(|event| match event {
        ClientEvent::Accepted(number) => Some(number.0),
        _ => None,
    });
    numbers.collect()
}

/// A client that said so much while its row was being read, which takes a while, that some of it was dropped.
async fn overwhelm(dispatcher: &Dispatcher, upstream: &Upstream) -> Client {
    let client = open(dispatcher, upstream, "osad-1").await;
    let row = Box::new(dispatcher.opened(SYSTEM).expect("opened").client);
    // While a ping is outstanding the key is kept, and nothing is read for what the client says.
    let ping = SessionOrder::Ping { client: row };
    client.session.send(ping).await.expect("it lives");
    dispatcher.forget_events();
    *dispatcher.store.reading_takes.lock().expect("not poisoned") = Duration::from_secs(5);
    let presence = client.stanza("<presence/>");
    client.tell(ClientActivity::Available(presence)).await;
    for _ in 0..30 {
        client.tell(ClientActivity::Message(answer(&client, "osad-1"))).await;
    }
    client
}

#[actix::test]
async fn sixteen_stanzas_of_a_relayed_client_wait_and_more_are_dropped() {
    let (dispatcher, upstream) = (Dispatcher::start().await, Upstream::start());
    overwhelm(&dispatcher, &upstream).await;
    assert_eq!(dispatcher.events(), [], "nothing is heard before the row is read");

    settle().await;

    let is_report = |event: &SessionEvent| matches!(event, SessionEvent::Reported { .. });
    let events = dispatcher.events();
    assert_eq!(events.iter().filter(|event| is_report(event)).count(), 16);
}

#[actix::test]
async fn unavailable_presence_is_not_dropped_and_does_not_wait() {
    let (dispatcher, upstream) = (Dispatcher::start().await, Upstream::start());
    let client = overwhelm(&dispatcher, &upstream).await;

    client.tell(ClientActivity::Unavailable).await;
    tokio::time::sleep(Duration::from_millis(10)).await;

    assert_eq!(dispatcher.roster.counts(), (0, 0));
    assert_eq!(closings(&dispatcher).len(), 1);
}

#[actix::test]
async fn second_relayed_session_of_a_jid_displaces_the_first() {
    let (dispatcher, upstream) = (Dispatcher::start().await, Upstream::start());
    open(&dispatcher, &upstream, "osad-1").await;
    let first = connection(&dispatcher);

    upstream.meet(&dispatcher, "osad-1").await.appear().await;

    assert_eq!(dispatcher.roster.counts(), (1, 0));
    assert_eq!(closings(&dispatcher), [[(SYSTEM, first)]]);
    assert_ne!(push(&dispatcher, SYSTEM, 1).await, first);
    assert_eq!(upstream.sent_to("osad-1").len(), 1);
}

#[actix::test]
async fn presence_that_is_sent_again_goes_to_the_same_session() {
    let (dispatcher, upstream) = (Dispatcher::start().await, Upstream::start());
    let client = open(&dispatcher, &upstream, "osad-1").await;
    let first = connection(&dispatcher);
    dispatcher.forget_events();

    client.appear().await;

    assert_eq!(connection(&dispatcher), first);
    assert_eq!(closings(&dispatcher).len(), 0);
}

#[actix::test]
async fn relayed_clients_are_found_again_after_crashes_of_router_and_poller() {
    let (dispatcher, upstream) = (Dispatcher::start().await, Upstream::start());
    open(&dispatcher, &upstream, "osad-1").await;
    dispatcher.forget_events();

    dispatcher.router.send(Crash).await.expect_err("it panics");
    dispatcher.poller.send(Crash).await.expect_err("it panics");
    settle().await;

    let opened = dispatcher.opened(SYSTEM).expect("the new poller was told");
    assert_eq!(opened.announcement, None, "the session goes on");
    push(&dispatcher, SYSTEM, 1).await;
    assert_eq!(upstream.sent_to("osad-1").len(), 1, "the new router knows the way");
}

#[actix::test]
async fn stopped_dispatcher_ends_relayed_sessions() {
    let (dispatcher, upstream) = (Dispatcher::start().await, Upstream::start());
    open(&dispatcher, &upstream, "osad-1").await;

    dispatcher.stop().await;

    assert_eq!(dispatcher.roster.counts(), (0, 0));
}

#[actix::test]
async fn dispatcher_without_listener_and_certificate_serves_relayed_clients() {
    let (dispatcher, upstream) = (Dispatcher::for_relayed().await, Upstream::start());
    let client = open(&dispatcher, &upstream, "osad-1").await;
    let connection = connection(&dispatcher);

    let reloaded = dispatcher.tls.send(ReloadTls).await.expect("it lives");
    assert!(matches!(reloaded, Ok(None)), "{reloaded:?}");
    client.tell(ClientActivity::Unavailable).await;

    assert_is_over(&dispatcher, connection).await;
}
