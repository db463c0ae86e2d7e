//! The dispatcher's half of a session with an existing agent.

use std::time::Duration;

use minidom::Element;
use osa::domain::ids::{ClientName, RequestNumber};
use osa::domain::push::client::{AgentKind, Announcement, Client, ClientEvent};
use osa::domain::secret::Secret;
use osa::domain::time::Timestamp;
use osa::protocol::osa::action::Action;
use osa::protocol::osa::dispatcher_talk::{DispatcherTalk, Ignored, NotSent, Output};
use osa::protocol::osa::signed::{Content, Signed};

use crate::osa_parties::*;

#[test]
fn presence_makes_an_existing_agent_pushable_once_its_row_is_read() {
    let mut talk = dispatcher();

    talk.handle_presence(NOW, &available());
    assert_eq!(drain(&mut talk), [Output::Ask(by_jid())]);
    assert_eq!(
        talk.request(NOW, RequestNumber(1), &client()),
        Err(NotSent::NotPushable)
    );

    talk.handle_client(NOW, &by_jid(), Some(client()));
    let pushable = Output::Pushable {
        client: client(),
        kind: AgentKind::Existing,
        announcement: Some(Announcement::default()),
    };
    assert_eq!(drain(&mut talk), [pushable]);
}

#[test]
fn absent_row_is_read_again_after_1_s_doubling_to_60_s() {
    let mut talk = dispatcher();
    talk.handle_presence(NOW, &available());
    let mut now = NOW;

    for delay in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(drain(&mut talk), [Output::Ask(by_jid())]);
        talk.handle_client(now, &by_jid(), None);
        let next = now + Duration::from_secs(delay);
        assert_eq!(talk.next_deadline(), Some(next));
        talk.handle_deadline(next - Duration::from_millis(1));
        assert_eq!(drain(&mut talk), [], "not before its time");
        now = next;
        talk.handle_deadline(now);
    }
}

#[test]
fn row_of_another_jid_makes_nobody_pushable() {
    let mut talk = dispatcher();
    talk.handle_presence(NOW, &available());
    let other = Client {
        jid: "osad-other@sat.example.com/osad".into(),
        ..client()
    };

    talk.handle_client(NOW, &by_jid(), Some(other.clone()));

    assert!(
        !drain(&mut talk)
            .iter()
            .any(|output| matches!(output, Output::Pushable { .. }))
    );
    let mut talk = existing_session();
    assert_eq!(talk.request(NOW, RequestNumber(1), &other), Err(NotSent::OtherJid));
    assert_eq!(talk.ping(NOW, &other), Err(NotSent::OtherJid));
    assert_eq!(drain(&mut talk), []);
}

#[test]
fn repeated_presences_cause_one_reading_a_second() {
    let mut talk = existing_session();

    for _ in 0..10 {
        talk.handle_presence(NOW, &available());
    }
    assert_eq!(drain(&mut talk), []);
    talk.handle_deadline(talk.next_deadline().unwrap());
    assert_eq!(drain(&mut talk), [Output::Ask(by_jid())]);
}

#[test]
fn unavailable_session_is_not_pushed() {
    let mut talk = existing_session();
    talk.request(NOW, RequestNumber(1), &client()).unwrap();
    drain(&mut talk);

    talk.handle_presence(
        NOW,
        &"<presence xmlns='jabber:client' type='unavailable'/>".parse().unwrap(),
    );

    assert_eq!(
        talk.request(NOW, RequestNumber(2), &client()),
        Err(NotSent::NotPushable)
    );
    assert_eq!(talk.next_deadline(), None);
}

#[test]
fn existing_agent_gets_a_signed_x_in_a_normal_message_without_id() {
    let mut talk = existing_session();
    talk.request(NOW, RequestNumber(7), &client()).unwrap();

    let stanza = stanzas(&drain(&mut talk)).remove(0);

    assert_eq!(stanza.attr("id"), None);
    assert_eq!(stanza.attr("to"), Some(AGENT));
    let signed = Signed::in_message(&stanza).expect("existing agents look for it");
    assert!(signed.is_valid_request(&Secret::new(KEY), AGENT));
    assert_eq!(signed.requested(), Some(Action::CheckIn));
    assert_eq!(signed.unix_seconds(), Some(NOW.as_secs()));
}

#[test]
fn existing_answers_are_credited_to_the_oldest_unanswered_request() {
    let mut talk = existing_session();
    for number in [3, 4] {
        talk.request(NOW, RequestNumber(number), &client()).unwrap();
    }
    talk.ping(NOW, &client()).unwrap();
    drain(&mut talk);
    let answer = existing_answer(NAME, KEY, Action::CheckIn);
    let pong = existing_answer(NAME, KEY, Action::Ping);

    assert_eq!(
        events(&heard(&mut talk, &answer)),
        [ClientEvent::Accepted(RequestNumber(3))]
    );
    assert_eq!(events(&heard(&mut talk, &pong)), [ClientEvent::Ponged]);
    assert_eq!(
        events(&heard(&mut talk, &answer)),
        [ClientEvent::Accepted(RequestNumber(4))]
    );

    assert_eq!(talk.next_deadline(), None, "no key is kept when nothing is outstanding");
    assert_eq!(heard(&mut talk, &answer), [Output::Ask(by_name(NAME))]);
    talk.handle_client(NOW, &by_name(NAME), Some(client()));
    assert_eq!(
        events(&drain(&mut talk)),
        [ClientEvent::Ponged],
        "a late answer proves life and no more"
    );
}

#[test]
fn answer_to_a_request_is_not_credited_to_an_older_ping() {
    let mut talk = existing_session();
    talk.ping(NOW, &client()).unwrap();
    talk.request(NOW, RequestNumber(3), &client()).unwrap();
    drain(&mut talk);

    let answer = heard(&mut talk, &existing_answer(NAME, KEY, Action::CheckIn));

    assert_eq!(events(&answer), [ClientEvent::Accepted(RequestNumber(3))]);
}

#[test]
fn existing_agents_clock_is_not_held_against_it() {
    let mut talk = existing_session();
    talk.request(NOW, RequestNumber(1), &client()).unwrap();
    talk.request(NOW, RequestNumber(2), &client()).unwrap();
    drain(&mut talk);
    let answer = existing_answer(NAME, KEY, Action::CheckIn);

    heard(&mut talk, &answer);
    assert_eq!(
        events(&heard(&mut talk, &answer)),
        [ClientEvent::Accepted(RequestNumber(2))],
        "the same stanza again"
    );
}

#[test]
fn new_key_empties_the_list_of_unanswered_requests() {
    let mut talk = existing_session();
    talk.request(NOW, RequestNumber(1), &client()).unwrap();
    let renewed = Client {
        name: ClientName("0123456789abcdef".into()),
        shared_key: Secret::new("k2"),
        ..client()
    };
    talk.request(NOW, RequestNumber(2), &renewed).unwrap();
    drain(&mut talk);

    let late = heard(&mut talk, &existing_answer(NAME, KEY, Action::CheckIn));
    assert_eq!(late, [Output::Ask(by_name(NAME))]);
    talk.handle_client(NOW, &by_name(NAME), None);
    assert_eq!(drain(&mut talk), [Output::Ignored(Ignored::UnknownClient)]);

    let answer = heard(&mut talk, &existing_answer("0123456789abcdef", "k2", Action::CheckIn));
    assert_eq!(events(&answer), [ClientEvent::Accepted(RequestNumber(2))]);
}

#[test]
fn forged_and_foreign_answers_have_no_effect() {
    let mut talk = existing_session();
    talk.request(NOW, RequestNumber(1), &client()).unwrap();
    drain(&mut talk);

    let forged = heard(&mut talk, &existing_answer(NAME, "another key", Action::CheckIn));
    assert_eq!(forged, [Output::Ignored(Ignored::BadSignature)]);

    let other = Client {
        name: ClientName("b".into()),
        jid: "osad-b@sat.example.com/osad".into(),
        ..client()
    };
    heard(&mut talk, &existing_answer("b", KEY, Action::CheckIn));
    talk.handle_client(NOW, &by_name("b"), Some(other));
    assert_eq!(
        drain(&mut talk),
        [Output::Ignored(Ignored::UnknownClient)],
        "the row is another client's"
    );

    let mut unsigned = existing_answer(NAME, KEY, Action::CheckIn);
    let x = unsigned
        .remove_child("x", "http://jabber.rhn.redhat.com/jabber/signed")
        .unwrap();
    let mut nameless = unsigned.clone();
    let mut signed = Signed::from_element(&x);
    signed.client_id = None;
    nameless.append_child(signed.to_element());
    assert_eq!(heard(&mut talk, &unsigned), []);
    assert_eq!(heard(&mut talk, &nameless), [Output::Ignored(Ignored::UnknownClient)]);

    let answer = heard(&mut talk, &existing_answer(NAME, KEY, Action::CheckIn));
    assert_eq!(
        events(&answer),
        [ClientEvent::Accepted(RequestNumber(1))],
        "the genuine one still counts"
    );
}

#[test]
fn unknown_names_cause_few_readings() {
    let mut talk = existing_session();
    let asks = |talk: &mut DispatcherTalk, at: Timestamp| {
        let mut asked = 0;
        for number in 0..100 {
            talk.handle_message(at, &existing_answer(&format!("{number}-{at}"), KEY, Action::CheckIn));
            let outputs = drain(talk);
            for output in outputs {
                if let Output::Ask(question) = output {
                    asked += 1;
                    talk.handle_client(at, &question, None);
                }
            }
        }
        asked
    };

    assert_eq!(asks(&mut talk, NOW), 4);
    assert_eq!(asks(&mut talk, NOW + Duration::from_secs(9)), 0);
    assert_eq!(asks(&mut talk, NOW + Duration::from_secs(10)), 1);
}

#[test]
fn key_of_a_request_that_leads_to_nothing_is_forgotten_after_30_minutes() {
    let mut talk = existing_session();
    talk.request(NOW, RequestNumber(1), &client()).unwrap();
    drain(&mut talk);

    let expiry = talk.next_deadline().unwrap();
    talk.handle_deadline(expiry);

    assert_eq!(expiry, NOW + Duration::from_secs(1_800));
    assert_eq!(talk.next_deadline(), None);
}

#[test]
fn clock_of_an_existing_agent_may_be_off_by_anything_or_by_what_is_set() {
    let hour = Duration::from_secs(3_600);
    for (limit, off, counts) in [
        (None, hour * 24 * 365, true),
        (Some(hour), hour, true),
        (Some(hour), hour + Duration::from_secs(1), false),
    ] {
        for agents_clock in [NOW + off, NOW - off] {
            let mut talk = existing_session().with_existing_drift_max(limit);
            talk.request(NOW, RequestNumber(1), &client()).unwrap();
            drain(&mut talk);
            let content = Content {
                timestamp: agents_clock.as_secs(),
                serial: "d4e5f6-12",
                action: Action::CheckIn.response(),
            };
            let signed = Signed::response(&Secret::new(KEY), DISPATCHER, NAME, AGENT, content);
            let mut answer: Element = "<message xmlns='jabber:client' type='normal'/>".parse().unwrap();
            answer.append_child(signed.to_element());

            talk.handle_message(NOW, &answer);

            let answered = events(&drain(&mut talk)) == [ClientEvent::Accepted(RequestNumber(1))];
            assert_eq!(answered, counts, "{limit:?} {off:?}");
        }
    }
}
