//! What our client and our server do once the client is logged in.

use std::time::Duration;

use osa::protocol::codec::CodecError;
use osa::protocol::roster::{RosterItem, Subscription};
use osa::protocol::stream::StreamFault;
use osa::protocol::stream::client::ClientEnd;
use osa::protocol::stream::server::{ClientActivity, ServerEnd, ServerEvent};
use xmpp_parsers::stream_error::DefinedCondition;

use crate::dialogue::JID;
use crate::pair::Pair;

#[test]
fn replaced_session_is_told_about_the_conflict() {
    let mut pair = Pair::usual().with_account();
    pair.run();

    pair.server.close(StreamFault::Conflict);
    pair.run();

    assert!(matches!(
        pair.client_end,
        Some(ClientEnd::ServerEnded(DefinedCondition::Conflict, _))
    ));
}

#[test]
fn client_says_goodbye() {
    let mut pair = Pair::usual().with_account();
    pair.run();

    pair.client.close();
    pair.run();

    assert_eq!(pair.client_end, Some(ClientEnd::Closed));
    assert_eq!(pair.server_end, Some(ServerEnd::ClosedByClient));
    assert_eq!(
        pair.server_events.last(),
        Some(&ServerEvent::Client(ClientActivity::Unavailable))
    );
}

#[test]
fn announcement_and_messages_arrive_with_the_proven_sender() {
    let mut pair = Pair::usual().with_account();
    pair.run();
    let extra: minidom::Element = "<agent xmlns='urn:osa:push:1' a='1'/>".parse().unwrap();
    let message =
        "<message xmlns='jabber:client' to='rhn-dispatcher-sat@sat.test/superclient' from='forged@sat.test/osad'/>";

    pair.client.announce(Some(extra.clone()));
    pair.client.send(&message.parse().unwrap());
    pair.run();

    let [
        ..,
        ServerEvent::Client(ClientActivity::Available(presence)),
        ServerEvent::Client(ClientActivity::Message(message)),
    ] = pair.server_events.as_slice()
    else {
        panic!("{:?}", pair.server_events)
    };
    assert_eq!(presence.children().next(), Some(&extra));
    assert_eq!(message.attr("from"), Some(JID));
}

#[test]
fn new_agent_answers_pings_and_stays() {
    let mut pair = Pair::usual().with_account();
    pair.run();
    pair.client
        .announce(Some("<agent xmlns='urn:osa:push:1'/>".parse().unwrap()));
    pair.run();

    for _ in 0..100 {
        pair.now = pair.server.next_deadline().unwrap();
        assert!(pair.client.next_deadline().unwrap() > pair.now);
        pair.server.handle_deadline(pair.now);
        pair.client.handle_deadline(pair.now);
        pair.run();
    }

    assert!(pair.server.is_open() && pair.client.is_open());
    assert!(pair.server_writes.concat().contains("id='ping-9'"));
}

#[test]
fn client_notices_a_silent_server() {
    let mut pair = Pair::usual().with_account();
    pair.run();

    pair.client.handle_deadline(pair.now + Duration::from_secs(89));
    assert!(pair.client.is_open());
    pair.client.handle_deadline(pair.now + Duration::from_secs(90));
    pair.run();

    assert_eq!(pair.client_end, Some(ClientEnd::Silent));
}

#[test]
fn stanza_within_the_limit_after_login_is_taken_and_one_beyond_is_not() {
    for (bytes, taken) in [(60_000, true), (70_000, false)] {
        let mut pair = Pair::usual().with_account();
        pair.run();
        let text = format!(
            "<message xmlns='jabber:client' to='rhn-dispatcher-sat@sat.test'><body>{}</body></message>",
            "x".repeat(bytes)
        );

        pair.client.send(&text.parse().unwrap());
        pair.run();

        assert_eq!(pair.server.is_open(), taken);
        if !taken {
            let fault = StreamFault::Codec(CodecError::TooLong { limit: 65_536 });
            assert_eq!(pair.server_end, Some(ServerEnd::Fault(fault)));
        }
    }
}

#[test]
fn roster_of_the_embedded_server_holds_the_dispatcher_both_ways() {
    let mut pair = Pair::usual().with_account();

    pair.run();

    let dispatcher = RosterItem {
        jid: "rhn-dispatcher-sat@sat.test".into(),
        subscription: Subscription::Both,
        is_asked: false,
    };
    assert_eq!(pair.roster, Some(vec![dispatcher]));
}
