//! Several registrations that claim one JID: a profile that was registered anew, or a stranger.

use osa::actors::poller::messages::SessionEvent;
use osa::domain::ids::SystemId;
use osa::domain::push::client::{AgentKind, Client, ClientEvent};
use osa::protocol::osa::signed::{Content, Signed};

use crate::support::client::{TestClient, jid_of};
use crate::support::dispatcher::{Dispatcher, settle};

const LIVING: SystemId = SystemId(1000);
const CLAIMANT: SystemId = SystemId(1001);
const DISPATCHER: &str = "rhn-dispatcher-sat@sat.example.com/superclient";

/// An existing agent whose JID two registrations claim, the first of them shown to be alive.
async fn contested() -> (Dispatcher, TestClient, Client) {
    let dispatcher = Dispatcher::start().await;
    let mut client = dispatcher.log_in("osad-1").await;
    dispatcher.store.add_client(LIVING, &jid_of("osad-1"));
    let claimant = dispatcher.store.add_client(CLAIMANT, &jid_of("osad-1"));
    client.say("<presence />").await;
    settle().await;
    (dispatcher, client, claimant)
}

/// What an existing agent answers to a ping that is signed with its key.
fn pong(client: &Client) -> String {
    let content = Content {
        timestamp: 1,
        serial: "abc-1",
        action: "http://jabber.rhn.redhat.com/jabber/message/response/ping",
    };
    let signed = Signed::response(&client.shared_key, DISPATCHER, &client.name.0, &client.jid, content);
    let x = String::from(&signed.to_element());
    format!("<message to='{DISPATCHER}' type='normal'>{x}</message>")
}

#[actix::test]
async fn claim_of_a_stranger_leaves_a_living_client_its_requests() {
    let (dispatcher, mut client, _) = contested().await;

    client.hear("message/request/ping").await;
    crate::sessions::push(&dispatcher, LIVING, 1).await;

    client.hear("message/request/checkin").await;
    assert!(dispatcher.opened(CLAIMANT).is_none());
    client.assert_served().await;
}

#[actix::test]
async fn existing_agent_that_was_registered_anew_shows_it_by_its_answer() {
    let (dispatcher, mut client, claimant) = contested().await;
    let before = dispatcher.opened(LIVING).expect("taken for what it was").connection;
    client.hear("message/request/ping").await;

    client.say(&pong(&claimant)).await;
    settle().await;

    let opened = dispatcher.opened(CLAIMANT).expect("now it is this system's");
    assert_eq!((opened.connection, opened.kind), (before, AgentKind::Existing));
    let events = dispatcher.events();
    assert!(
        events.contains(&SessionEvent::Closed(vec![(LIVING, before)])),
        "{events:?}"
    );
    let heard = SessionEvent::Reported {
        system: CLAIMANT,
        connection: before,
        events: vec![ClientEvent::Ponged],
    };
    assert_eq!(events.last(), Some(&heard), "it is shown to be alive");
    crate::sessions::push(&dispatcher, CLAIMANT, 1).await;
    client.hear("message/request/checkin").await;
}

#[actix::test]
async fn new_agent_says_which_registration_is_its_own() {
    let dispatcher = Dispatcher::start().await;
    let mut client = dispatcher.log_in("osad-1").await;
    dispatcher.store.add_client(LIVING, &jid_of("osad-1"));
    let own = dispatcher.store.add_client(CLAIMANT, &jid_of("osad-1"));

    let name = own.name;
    client
        .say(&format!(
            "<presence><agent xmlns='urn:osa:push:1' to='{DISPATCHER}' client-id='{name}'/></presence>"
        ))
        .await;
    settle().await;

    assert!(dispatcher.opened(LIVING).is_none());
    assert!(dispatcher.opened(CLAIMANT).is_some());
}
