//! The agent's half.

use std::time::Duration;

use minidom::Element;
use osa::domain::check::Dispatcher;
use osa::domain::ids::{ClientName, RequestNumber};
use osa::domain::push::client::{Announcement, ClientEvent, Refusal};
use osa::domain::secret::Secret;
use osa::protocol::osa::action::Action;
use osa::protocol::osa::agent_talk::{AgentTalk, Enrolment, Ignored, Output};
use osa::protocol::osa::replay::Stale;
use osa::protocol::osa::signed::{Content, Signed};

use crate::osa_parties::*;

fn original_request(from: &str, action: &str, timestamp: i64, serial: &str) -> Element {
    let content = Content {
        timestamp,
        serial,
        action,
    };
    let signed = Signed::request(&Secret::new(KEY), AGENT, DISPATCHER, content);
    let mut message: Element = format!("<message xmlns='jabber:client' from='{from}' type='normal'/>")
        .parse()
        .unwrap();
    message.append_child(signed.to_element());
    message
}

fn checkin(serial: &str) -> Element {
    original_request(DISPATCHER, Action::CheckIn.request(), NOW.as_secs(), serial)
}

/// A stanza of our dispatcher with one request.
fn our_request(number: i64) -> Element {
    let (mut talk, _) = new_session();
    talk.request(NOW, RequestNumber(number), &client()).unwrap();
    stanzas(&drain(&mut talk)).remove(0)
}

#[test]
fn request_of_an_original_dispatcher_is_answered_in_its_form() {
    let mut agent = agent();

    let outputs = agent.handle_message(NOW, &checkin("a1b2c3-7"));

    let [Output::LinkUp(Dispatcher::Original), Output::RequestReceived(request)] = &outputs[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(request.number(), None);
    let answer = agent.answer(NOW, request, Ok(()), &[ClientEvent::Ponged]).unwrap();
    assert_eq!(answer.attr("to"), Some(DISPATCHER));
    assert_eq!(answer.attr("id"), None);
    assert_eq!(
        answer.children().count(),
        1,
        "an original dispatcher understands nothing else"
    );
    let signed = Signed::in_message(&answer).unwrap();
    assert!(signed.is_valid_response(&Secret::new(KEY), DISPATCHER, AGENT));
    assert_eq!(signed.responded(), Some(Action::CheckIn));
    assert_eq!(
        agent.report(NOW, &[ClientEvent::Ponged]),
        [],
        "nor is anything reported to it"
    );
}

#[test]
fn original_agents_habit_of_answering_when_disabled_is_kept() {
    let mut agent = agent();
    let outputs = agent.handle_message(NOW, &checkin("1"));
    let Some(Output::RequestReceived(request)) = outputs.last() else {
        panic!("{outputs:?}")
    };

    assert!(agent.answer(NOW, request, Err(Refusal::Disabled), &[]).is_some());
    assert!(agent.answer(NOW, request, Err(Refusal::Draining), &[]).is_none());
}

#[test]
fn original_ping_is_answered_at_once() {
    let mut agent = agent();
    let ping = original_request(DISPATCHER, Action::Ping.request(), NOW.as_secs(), "1");

    let replies = replies(&agent.handle_message(NOW, &ping));

    let signed = Signed::in_message(&replies[0]).unwrap();
    assert_eq!(signed.responded(), Some(Action::Ping));
    assert!(signed.is_valid_response(&Secret::new(KEY), DISPATCHER, AGENT));
}

fn forged(serial: &str) -> Element {
    let mut forged = checkin(serial);
    let x = forged
        .get_child_mut("x", "http://jabber.rhn.redhat.com/jabber/signed")
        .unwrap();
    let signature = format!("{:0<40}", "");
    x.set_attr(rxml::Namespace::NONE, "signature".try_into().unwrap(), signature);
    forged
}

#[test]
fn original_requests_that_must_not_count_are_ignored() {
    let action = Action::CheckIn.request();
    let now = NOW.as_secs();
    let hour = LEGACY_LIMIT.as_secs().cast_signed();
    let unknown = "http://jabber.rhn.redhat.com/jabber/message/request/reboot";
    let cases = [
        (
            original_request("someone@sat.example.com/else", action, now, "1"),
            Ignored::UnknownSender,
        ),
        (forged("2"), Ignored::BadSignature),
        (original_request(DISPATCHER, unknown, now, "3"), Ignored::UnknownAction),
        (
            original_request(DISPATCHER, action, now - hour - 1, "4"),
            Ignored::Stale(Stale::Clock { off_secs: -hour - 1 }),
        ),
    ];

    for (stanza, why) in cases {
        let outputs = agent().handle_message(NOW, &stanza);
        assert_eq!(outputs.last(), Some(&Output::Ignored(why)));
        assert!(
            !outputs
                .iter()
                .any(|output| matches!(output, Output::RequestReceived(_) | Output::Write(_)))
        );
    }
}

const LEGACY_LIMIT: Duration = osa::protocol::osa::replay::LEGACY_DRIFT_MAX;

#[test]
fn original_request_counts_once() {
    let mut agent = agent();
    agent.handle_message(NOW, &checkin("1"));

    assert_eq!(
        agent.handle_message(NOW, &checkin("1")),
        [Output::Ignored(Ignored::Stale(Stale::Replayed))]
    );
    assert!(matches!(
        agent.handle_message(NOW, &checkin("2"))[..],
        [Output::RequestReceived(_)]
    ));
}

#[test]
fn any_sender_with_the_key_is_believed_when_no_dispatcher_was_named() {
    let nobody = Enrolment {
        dispatchers: Vec::new(),
        ..enrolment()
    };
    let mut agent = AgentTalk::new(AGENT.into(), nobody, 0);

    let outputs = agent.handle_message(NOW, &checkin("1"));

    assert!(
        matches!(outputs.last(), Some(Output::RequestReceived(_))),
        "{outputs:?}"
    );
}

#[test]
fn after_a_strong_signature_weak_ones_are_ignored_until_the_next_registration() {
    let mut agent = agent();
    agent.handle_message(NOW, &our_request(1));

    assert_eq!(
        agent.handle_message(NOW, &checkin("1")),
        [Output::Ignored(Ignored::WeakSignature)]
    );
    agent.reconnect(AGENT.into());
    assert_eq!(
        agent.handle_message(NOW, &checkin("1")),
        [Output::Ignored(Ignored::WeakSignature)]
    );
}

#[test]
fn our_request_is_taken_once_and_only_by_its_addressee() {
    let stanza = our_request(5);
    let mut agent = agent();
    let outputs = agent.handle_message(NOW, &stanza);
    let [Output::LinkUp(Dispatcher::Ours), Output::RequestReceived(request)] = &outputs[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(request.number(), Some(RequestNumber(5)));
    assert_eq!(
        agent.handle_message(NOW, &stanza),
        [Output::Ignored(Ignored::Stale(Stale::Replayed))]
    );

    let other_jid = "osad-other@sat.example.com/osad";
    let mut other = AgentTalk::new(other_jid.into(), enrolment(), 0);
    assert_eq!(
        other.handle_message(NOW, &stanza),
        [Output::Ignored(Ignored::BadSignature)]
    );

    let renamed = Enrolment {
        client: ClientName("b".into()),
        ..enrolment()
    };
    let mut renamed = AgentTalk::new(AGENT.into(), renamed, 0);
    assert_eq!(
        renamed.handle_message(NOW, &stanza),
        [Output::KeyVoid, Output::Ignored(Ignored::UnknownClient)]
    );

    let from_elsewhere = String::from(&stanza)
        .replace(DISPATCHER, "evil@sat.example.com/x")
        .parse()
        .unwrap();
    assert_eq!(
        agent.handle_message(NOW, &from_elsewhere),
        [Output::Ignored(Ignored::UnknownSender)]
    );
}

/// Nobody tells an agent that another process registered as its system, but that its dispatcher signs with another key.
#[test]
fn dispatcher_that_signs_with_another_key_makes_the_agent_register_anew() {
    let older = || Enrolment {
        client: ClientName("older".into()),
        key: Secret::new("older"),
        ..enrolment()
    };
    let from = |stanza: &Element, sender: &str| {
        let mut stanza = stanza.clone();
        stanza.set_attr(rxml::Namespace::NONE, "from".try_into().unwrap(), sender.to_owned());
        stanza
    };
    for stanza in [our_request(5), checkin("6")] {
        let mut agent = AgentTalk::new(AGENT.into(), older(), 0);
        assert!(agent.handle_message(NOW, &stanza).contains(&Output::KeyVoid));

        let mut agent = AgentTalk::new(AGENT.into(), older(), 0);
        let stranger = from(&stanza, "someone@sat.example.com/else");
        assert_eq!(
            agent.handle_message(NOW, &stranger),
            [Output::Ignored(Ignored::UnknownSender)]
        );
    }

    let mut strong = agent();
    strong.handle_message(NOW, &our_request(5));
    let weak = strong.handle_message(NOW, &forged("7"));
    assert_eq!(
        weak,
        [Output::Ignored(Ignored::BadSignature)],
        "ours would have named the key"
    );
}

#[test]
fn agent_complains_of_its_clock_while_its_dispatcher_still_believes_it() {
    let stanza = our_request(5);
    let mut agent = agent();
    // Ten seconds for whole seconds in stamps and for the way.
    let outputs = agent.handle_message(NOW - Duration::from_secs(111), &stanza);

    assert!(outputs.contains(&Output::ClockOff));
}

#[test]
fn request_at_the_wrong_time_is_refused_for_the_clock() {
    let stanza = our_request(5);
    let mut agent = agent();

    let outputs = agent.handle_message(NOW + Duration::from_secs(121), &stanza);

    assert!(outputs.contains(&Output::ClockOff));
    assert!(
        !outputs
            .iter()
            .any(|output| matches!(output, Output::RequestReceived(_)))
    );
    let refusal = String::from(&replies(&outputs)[0]);
    assert!(
        refusal.contains("reason='clock'") && refusal.contains("number='5'"),
        "{refusal}"
    );
}

#[test]
fn measured_drift_is_applied_both_ways() {
    let slow = Enrolment {
        drift_millis: 3_600_000,
        ..enrolment()
    };
    let mut agent = AgentTalk::new(AGENT.into(), slow, 0);
    let own_time = NOW - Duration::from_secs(3_600);

    let outputs = agent.handle_message(own_time, &our_request(1));
    assert!(
        matches!(outputs.last(), Some(Output::RequestReceived(_))),
        "{outputs:?}"
    );

    let presence = agent.presence(own_time, "0.1.0", &Announcement::default());
    let stamped = presence.children().next().unwrap().attr("timestamp");
    assert_eq!(stamped, Some(NOW.as_secs().to_string().as_str()));
}

#[test]
fn reports_go_out_once_ours_is_heard_on_this_connection() {
    let mut agent = agent();
    let events = vec![ClientEvent::Finished(report(1, 1)); 20];
    assert_eq!(agent.report(NOW, &events), []);

    agent.handle_message(NOW, &our_request(1));
    let messages = agent.report(NOW, &events);
    let counts: Vec<usize> = messages.iter().map(|message| message.children().count()).collect();
    assert_eq!(counts, [16, 4], "no message has more elements than are looked at");

    agent.reconnect(AGENT.into());
    assert_eq!(agent.report(NOW, &events), []);
}

#[test]
fn each_named_dispatcher_gets_an_announcement_of_its_own() {
    let two = vec![
        DISPATCHER.to_owned(),
        "rhn-dispatcher-sat@two.example.com/superclient".to_owned(),
    ];
    let mut agent = AgentTalk::new(
        AGENT.into(),
        Enrolment {
            dispatchers: two.clone(),
            ..enrolment()
        },
        0,
    );

    let presence = agent.presence(NOW, "0.1.0", &Announcement::default());

    let addressed: Vec<_> = presence.children().filter_map(|child| child.attr("to")).collect();
    assert_eq!(addressed, two);
    assert_eq!(presence.attr("to"), None, "it is the initial presence");
}

#[test]
fn unsigned_and_strange_stanzas_have_no_effect() {
    let mut agent = agent();
    let message = |inner: &str, kind: &str| {
        let text = format!("<message xmlns='jabber:client' from='{DISPATCHER}' type='{kind}'>{inner}</message>");
        text.parse::<Element>().unwrap()
    };
    let request = String::from(our_request(1).children().next().unwrap());

    assert_eq!(
        agent.handle_message(NOW, &message("<body>check in</body>", "normal")),
        []
    );
    assert_eq!(agent.handle_message(NOW, &message(&request, "chat")), []);
    assert_eq!(
        agent.handle_message(
            NOW,
            &message(&format!("{request}<x xmlns='jabber:x:delay'/>"), "normal")
        ),
        []
    );
    let bare = agent.handle_message(
        NOW,
        &message(
            "<request xmlns='urn:osa:push:1' number='1' action='checkin'/>",
            "normal",
        ),
    );
    assert!(matches!(bare[..], [Output::Ignored(Ignored::Payload(_))]));
    let unknown = agent.handle_message(NOW, &message("<reboot xmlns='urn:osa:push:1'/>", "normal"));
    assert!(matches!(unknown[..], [Output::Ignored(Ignored::Payload(_))]));
}
