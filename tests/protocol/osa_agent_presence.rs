//! The agent's subscriptions over a server that keeps rosters.

use minidom::Element;
use osa::domain::check::Dispatcher;
use osa::domain::secret::Secret;
use osa::protocol::osa::action::{Action, SUBSCRIBE};
use osa::protocol::osa::agent_talk::{AgentTalk, Enrolment, Output};
use osa::protocol::osa::signed::{Content, Signed};
use osa::protocol::roster::{RosterItem, Subscription};

use crate::osa_parties::*;

const BARE: &str = "rhn-dispatcher-sat@sat.example.com";

fn contact(jid: &str, subscription: Subscription, is_asked: bool) -> RosterItem {
    RosterItem {
        jid: jid.into(),
        subscription,
        is_asked,
    }
}

fn written(outputs: Vec<Output>) -> Vec<Element> {
    let written = outputs.into_iter().map(|output| match output {
        Output::Write(stanza) => stanza,
        other => panic!("{other:?}"),
    });
    written.collect()
}

fn summaries(stanzas: &[Element]) -> Vec<String> {
    let text = |stanza: &Element, name| stanza.attr(name).unwrap_or("-").to_owned();
    let summary = |stanza| format!("{} to {}", text(stanza, "type"), text(stanza, "to"));
    stanzas.iter().map(summary).collect()
}

fn presence(from: &str, attributes: &str) -> Element {
    format!("<presence xmlns='jabber:client' from='{from}' {attributes}/>")
        .parse()
        .unwrap()
}

/// What the agent says to a presence.
fn said(agent: &mut AgentTalk, from: &str, attributes: &str) -> Vec<String> {
    summaries(&written(agent.handle_presence(NOW, &presence(from, attributes))))
}

#[test]
fn dispatcher_that_the_roster_does_not_show_is_asked() {
    let asks = format!("subscribe to {BARE}");
    let cases = [
        (Subscription::None, false, 1),
        (Subscription::None, true, 1),
        (Subscription::From, false, 1),
        (Subscription::From, true, 1),
        (Subscription::To, false, 0),
        (Subscription::Both, false, 0),
    ];
    for (subscription, is_asked, asked) in cases {
        let stranger = contact("someone@sat.example.com", Subscription::From, false);
        let roster = [stranger, contact(BARE, subscription, is_asked)];

        let stanzas = written(agent().handle_roster(NOW, &roster));

        assert_eq!(summaries(&stanzas), vec![asks.clone(); asked], "{subscription:?}");
    }
    assert_eq!(summaries(&written(agent().handle_roster(NOW, &[]))), [asks]);
}

#[test]
fn each_dispatcher_is_asked_once_and_no_more_than_eight() {
    let resources = (0..3).map(|number| format!("{BARE}/{number}"));
    let nodes = (0..9).map(|number| format!("rhn-dispatcher-sat-{number}@sat.example.com/superclient"));
    let many = Enrolment {
        dispatchers: resources.chain(nodes).collect(),
        ..enrolment()
    };

    let stanzas = written(AgentTalk::new(AGENT.into(), many, 0).handle_roster(NOW, &[]));

    let asked = summaries(&stanzas);
    assert_eq!(asked.len(), 8);
    assert_eq!(asked[0], format!("subscribe to {BARE}"));
    assert_eq!(asked[7], "subscribe to rhn-dispatcher-sat-6@sat.example.com");
}

#[test]
fn request_to_see_a_dispatcher_is_signed_as_existing_agents_do() {
    let stanzas = written(agent().handle_roster(NOW, &[]));

    let [request] = &stanzas[..] else { panic!("{stanzas:?}") };
    let x = request
        .get_child("x", "http://jabber.rhn.redhat.com/jabber/signed")
        .unwrap();
    let signed = Signed::from_element(x);
    assert!(signed.is_valid_response(&Secret::new(KEY), BARE, AGENT));
    assert_eq!(signed.action.as_deref(), Some(SUBSCRIBE));
    let id = format!("presence-{}", signed.serial.unwrap());
    assert_eq!(request.attr("id"), Some(id.as_str()));
}

#[test]
fn contract_vector_of_a_subscription_is_met() {
    let content = Content {
        timestamp: 1_591_178_399,
        serial: "d4e5f6-11",
        action: SUBSCRIBE,
    };
    let sender = "osad-1a2b3c4d5e@client-proxy.example.com/osad";

    let signed = Signed::response(&Secret::new(KEY), BARE, NAME, sender, content);

    let expected = "97acaa20b2fc0951b9b155053824d92ca9b9e3f0";
    assert_eq!(signed.signature.as_deref(), Some(expected));
}

#[test]
fn dispatcher_is_approved_and_asked_unless_it_is_seen() {
    let mut agent = agent();
    let (approval, request) = (format!("subscribed to {BARE}"), format!("subscribe to {BARE}"));

    assert_eq!(
        said(&mut agent, BARE, "type='subscribe'"),
        [approval.clone(), request.clone()]
    );
    agent.handle_roster_change(&[contact(BARE, Subscription::To, false)]);
    assert_eq!(said(&mut agent, BARE, "type='subscribe'").join(" "), approval);
    agent.handle_roster_change(&[contact(BARE, Subscription::None, false)]);
    assert_eq!(said(&mut agent, BARE, "type='subscribe'"), [approval, request]);
}

#[test]
fn approval_repeats_the_id_of_the_request_if_there_was_one() {
    for (attributes, id) in [
        ("type='subscribe' id='presence-9'", Some("presence-9")),
        ("type='subscribe'", None),
    ] {
        let stanzas = written(agent().handle_presence(NOW, &presence(BARE, attributes)));
        assert_eq!(stanzas[0].attr("id"), id);
    }
}

#[test]
fn strangers_get_no_answer() {
    let strangers = [
        "someone@sat.example.com",
        "someone@sat.example.com/superclient",
        "sat.example.com",
        "rhn-dispatcher-sat",
    ];
    let kinds = [
        "",
        "type='subscribe'",
        "type='unsubscribe'",
        "type='probe'",
        "type='unavailable'",
        "type='error'",
    ];
    for (stranger, kind) in strangers.into_iter().flat_map(|from| kinds.map(|kind| (from, kind))) {
        let outputs = agent().handle_presence(NOW, &presence(stranger, kind));
        assert_eq!(outputs, [], "{stranger} {kind}");
    }
}

#[test]
fn unknown_dispatcher_is_told_of_when_it_asks_and_gets_no_answer() {
    let unknown = "rhn-dispatcher-sat-0a1b2c3d@sat.example.com";

    let asked = agent().handle_presence(NOW, &presence(unknown, "type='subscribe'"));

    assert_eq!(asked, [Output::DispatcherUnknown(unknown.into())]);
    assert_eq!(agent().handle_presence(NOW, &presence(unknown, "")), []);
}

#[test]
fn only_the_presence_of_a_full_jid_says_that_a_dispatcher_is_there() {
    let came = agent().handle_presence(NOW, &presence(DISPATCHER, ""));
    assert_eq!(came, [Output::DispatcherCame(DISPATCHER.into())]);

    for (from, kind) in [
        (BARE, ""),
        (BARE, "type='subscribed'"),
        (BARE, "type='unavailable'"),
        (DISPATCHER, "type='error'"),
    ] {
        assert_eq!(agent().handle_presence(NOW, &presence(from, kind)), [], "{from} {kind}");
    }
}

#[test]
fn link_is_known_anew_after_its_dispatcher_left() {
    let mut agent = agent();
    let ping = |serial| {
        let content = Content {
            timestamp: NOW.as_secs(),
            serial,
            action: Action::Ping.request(),
        };
        let mut message: Element = format!("<message xmlns='jabber:client' from='{DISPATCHER}' type='normal'/>")
            .parse()
            .unwrap();
        message.append_child(Signed::request(&Secret::new(KEY), AGENT, DISPATCHER, content).to_element());
        message
    };
    let link_up = Output::LinkUp(Dispatcher::Original);
    assert_eq!(agent.handle_message(NOW, &ping("1")).first(), Some(&link_up));
    assert_ne!(agent.handle_message(NOW, &ping("2")).first(), Some(&link_up));

    let left = agent.handle_presence(NOW, &presence(DISPATCHER, "type='unavailable'"));

    assert_eq!(left, [Output::DispatcherLeft(DISPATCHER.into())]);
    assert_eq!(agent.handle_message(NOW, &ping("3")).first(), Some(&link_up));
}

#[test]
fn another_dispatcher_that_leaves_takes_no_link_along() {
    let mut agent = agent();
    let (mut ours, _) = new_session();
    ours.request(NOW, osa::domain::ids::RequestNumber(1), &client())
        .unwrap();
    let request = stanzas(&drain(&mut ours)).remove(0);
    agent.handle_message(NOW, &request);

    let other = format!("{BARE}/other");
    assert_eq!(agent.handle_presence(NOW, &presence(&other, "type='unavailable'")), []);
    let left = agent.handle_presence(NOW, &presence(DISPATCHER, "type='unavailable'"));
    assert_eq!(left, [Output::DispatcherLeft(DISPATCHER.into())]);
}
