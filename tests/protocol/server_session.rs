//! The server's own conversation with a client that is logged in.

use std::time::Duration;

use osa::protocol::stream::Output;

use crate::scripted_client::{At, Scripted};

const OWN: &str = "osad-0123456789@sat.test/osad";
const DISPATCHER: &str = "rhn-dispatcher-sat@sat.test";

fn open() -> Scripted {
    Scripted::at(At::Open)
}

#[test]
fn roster_holds_the_dispatcher_in_both_directions() {
    let mut server = open();
    let get = "<iq type='get' id='iq-request-d4-3'><query xmlns = 'jabber:iq:roster'  /></iq>";
    server.stream.receive(get.as_bytes(), server.now);

    assert_eq!(
        server.text(),
        "<iq type='result' id='iq-request-d4-3'><query xmlns='jabber:iq:roster'>\
         <item jid='rhn-dispatcher-sat@sat.test' subscription='both'/></query></iq>"
    );
}

#[test]
fn subscription_is_approved_with_the_dispatchers_presence_in_one_write() {
    let mut server = open();
    let subscribe = format!("<presence to='{DISPATCHER}' type='subscribe' id='presence-1'/>");
    server.stream.receive(subscribe.as_bytes(), server.now);

    let outputs = server.outputs();

    let expected = format!(
        "<presence type='subscribed' from='{DISPATCHER}' to='{OWN}' id='presence-1'/>\
         <presence from='{DISPATCHER}/superclient' to='{OWN}'/>"
    );
    assert_eq!(outputs, [Output::Write(expected.into_bytes())]);
}

#[test]
fn presence_has_its_answers() {
    for (attributes, expected) in [
        ("", "available"),
        ("type='unavailable'", "unavailable"),
        (
            "to='rhn-dispatcher-sat@sat.test' type='subscribe'",
            "subscribed presence",
        ),
        (
            "to='RHN-dispatcher-sat@SAT.test' type='subscribe'",
            "subscribed presence",
        ),
        ("to='rhn-dispatcher-sat@sat.test' type='probe'", "presence"),
        ("to='rhn-dispatcher-sat@sat.test' type='subscribed'", ""),
        ("to='rhn-dispatcher-sat@sat.test' type='unsubscribe'", ""),
        ("to='rhn-dispatcher-sat@sat.test' type='error'", ""),
        ("to='osad-other@sat.test' type='subscribe'", ""),
        ("to='osad-other@sat.test/osad'", ""),
        ("to='osad-other@sat.test/osad' type='probe'", ""),
        ("to='osad-other@sat.test' type='unavailable'", ""),
        ("type='bogus'", ""),
    ] {
        assert_eq!(
            open().say(&format!("<presence {attributes}/>")),
            expected,
            "{attributes}"
        );
    }
}

#[test]
fn messages_reach_the_dispatcher_and_nobody_else() {
    for (attributes, expected) in [
        ("to='rhn-dispatcher-sat@sat.test/superclient'", "message"),
        ("to='rhn-dispatcher-sat@sat.test'", "message"),
        ("to='rhn-dispatcher-sat@SAT.test/other'", "message"),
        ("to='osad-other@sat.test/osad'", "service-unavailable:503"),
        ("to='rhn-dispatcher-sat@elsewhere.test'", "service-unavailable:503"),
        ("to='rhn-dispatcher-sat'", "service-unavailable:503"),
        ("to='x/rhn-dispatcher-sat@sat.test'", "service-unavailable:503"),
        ("", "service-unavailable:503"),
        ("to='osad-other@sat.test/osad' type='error'", ""),
    ] {
        assert_eq!(
            open().say(&format!("<message {attributes}/>")),
            expected,
            "{attributes}"
        );
    }
}

#[test]
fn requests_have_their_answers() {
    let ping = "<ping xmlns='urn:xmpp:ping'/>";
    let roster = "<query xmlns='jabber:iq:roster'/>";
    // A dispatcher of old forgets all its obsolete clients at once.
    let removals = "<query xmlns='jabber:iq:roster'><item jid='osad-a@sat.test' subscription='remove'/>\
                    <item jid='osad-b@sat.test' subscription='remove'/></query>";
    let no = "service-unavailable:503";
    for (attributes, payload, expected) in [
        ("type='get' id='1'", ping, "result"),
        ("type='get' id='1' to='sat.test'", ping, "result"),
        (
            "type='get' id='1' to='rhn-dispatcher-sat@sat.test/superclient'",
            ping,
            "result",
        ),
        ("type='get' id='1' to='osad-0123456789@sat.test'", ping, "result"),
        ("type='get' id='1' to='osad-other@sat.test/osad'", ping, no),
        ("type='set' id='1'", ping, no),
        ("type='get' id='1'", roster, "result"),
        ("type='get' id='1' to='osad-0123456789@sat.test'", roster, "result"),
        ("type='get' id='1' to='osad-other@sat.test'", roster, no),
        ("type='set' id='1'", roster, "result"),
        ("type='set' id='1'", removals, "result"),
        ("type='set' id='1' to='osad-other@sat.test'", roster, no),
        ("type='get'", ping, "bad-request:400"),
        ("id='1'", ping, "bad-request:400"),
        ("type='bogus' id='1'", ping, "bad-request:400"),
        ("type='result' id='ping-1'", "", ""),
        ("type='error' id='ping-1'", "", ""),
        ("type='result' id='1' to='osad-other@sat.test/osad'", "", ""),
    ] {
        let iq = format!("<iq {attributes}>{payload}</iq>");

        assert_eq!(open().say(&iq), expected, "{iq}");
    }
}

#[test]
fn everything_one_read_caused_goes_into_one_write() {
    let mut server = open();
    let ping = "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>";
    server.stream.receive(ping.repeat(3).as_bytes(), server.now);

    assert_eq!(server.outputs().len(), 1);
}

#[test]
fn ids_of_clients_cannot_break_out_of_answers() {
    let mut server = open();
    let iq = "<iq type='get' id='&apos;/>&lt;message/>&quot;'/>";
    server.stream.receive(iq.as_bytes(), server.now);

    assert!(server.text().contains(" id='&apos;/&gt;&lt;message/&gt;&quot;'>"));
}

#[test]
fn white_space_is_sent_after_a_minute_without_writes() {
    let mut server = open();
    let start = server.now;
    assert_eq!(server.stream.next_deadline(), Some(start + Duration::from_secs(60)));
    server.stream.handle_deadline(start + Duration::from_secs(59));
    assert_eq!(server.outputs(), []);

    server.stream.handle_deadline(start + Duration::from_secs(60));

    assert_eq!(server.outputs(), [Output::Write(b" ".to_vec())]);
    assert_eq!(server.stream.next_deadline(), Some(start + Duration::from_secs(120)));
}

#[test]
fn writes_and_answers_put_white_space_off() {
    let mut server = open();
    let start = server.now;
    let message: minidom::Element = "<message xmlns='jabber:client'/>".parse().unwrap();

    server.stream.send(&message, start + Duration::from_secs(10));
    assert_eq!(server.stream.next_deadline(), Some(start + Duration::from_secs(70)));

    server.now = start + Duration::from_secs(20);
    server.say("<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert_eq!(server.stream.next_deadline(), Some(start + Duration::from_secs(80)));

    server.now = start + Duration::from_secs(30);
    server.say("<message to='rhn-dispatcher-sat@sat.test'/>");
    assert_eq!(server.stream.next_deadline(), Some(start + Duration::from_secs(80)));
}

/// Goes from deadline to deadline until `end`; all that was written.
fn run_until(server: &mut Scripted, end: Duration) -> String {
    let end = server.now + end;
    let mut text = String::new();
    while let Some(deadline) = server.stream.next_deadline().filter(|deadline| *deadline <= end) {
        server.now = deadline;
        server.stream.handle_deadline(deadline);
        text.push_str(&server.text());
    }
    server.now = end;
    text
}

#[test]
fn existing_agents_are_never_pinged() {
    let mut server = open();
    server.say("<presence />");

    let text = run_until(&mut server, Duration::from_secs(3_600));

    assert_eq!(text, " ".repeat(60));
}

#[test]
fn new_agent_that_does_not_answer_a_ping_is_gone() {
    let mut server = open();
    server.say("<presence><agent xmlns='urn:osa:push:1'/></presence>");

    let text = run_until(&mut server, Duration::from_secs(659));
    assert!(text.ends_with("<iq type='get' id='ping-1' from='sat.test'><ping xmlns='urn:xmpp:ping'/></iq>"));
    let text = run_until(&mut server, Duration::from_secs(60));

    assert!(text.contains("<connection-timeout"), "{text}");
    assert!(!server.stream.is_open());
}

#[test]
fn anything_from_a_new_agent_counts_as_its_answer() {
    let mut server = open();
    server.say("<presence><agent xmlns='urn:osa:push:1'/></presence>");
    run_until(&mut server, Duration::from_secs(601));

    server.say(" ");
    run_until(&mut server, Duration::from_secs(500));

    assert!(server.stream.is_open());
}

#[test]
fn announcing_again_does_not_put_the_ping_off() {
    let mut server = open();
    let announce = "<presence><agent xmlns='urn:osa:push:1'/></presence>";
    server.say(announce);
    run_until(&mut server, Duration::from_secs(599));

    server.say(announce);

    assert!(run_until(&mut server, Duration::from_secs(2)).contains("ping-1"));
}

#[test]
fn nothing_is_sent_before_login() {
    let mut server = Scripted::at(At::Login);
    let message: minidom::Element = "<message xmlns='jabber:client'/>".parse().unwrap();

    server.stream.send(&message, server.now);

    assert_eq!(server.outputs(), []);
}
