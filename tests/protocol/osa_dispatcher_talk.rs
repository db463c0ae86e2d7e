//! The dispatcher's half of a session.

use std::time::Duration;

use minidom::Element;
use osa::domain::ids::{ClientName, RequestNumber, RunId};
use osa::domain::push::client::{AgentKind, Announcement, Client, ClientEvent, Refusal, RunStart};
use osa::domain::secret::Secret;
use osa::domain::time::Timestamp;
use osa::protocol::osa::action::Action;
use osa::protocol::osa::agent_talk;
use osa::protocol::osa::dispatcher_talk::{DispatcherTalk, Ignored, NotSent, Output};
use osa::protocol::osa::replay::Stale;
use osa::protocol::osa::signed::{Content, Signed};

use crate::osa_parties::*;

fn existing_answer(name: &str, key: &str, action: Action) -> Element {
    let content = Content {
        timestamp: 1,
        serial: "d4e5f6-12",
        action: action.response(),
    };
    let signed = Signed::response(&Secret::new(key), DISPATCHER, name, AGENT, content);
    let mut message: Element = format!("<message xmlns='jabber:client' from='{AGENT}' type='normal'/>")
        .parse()
        .unwrap();
    message.append_child(signed.to_element());
    message
}

fn events(outputs: &[Output]) -> Vec<ClientEvent> {
    let events = outputs.iter().filter_map(|output| match output {
        Output::Event(system, event) => {
            assert_eq!(*system, client().system);
            Some(event.clone())
        }
        _ => None,
    });
    events.collect()
}

fn heard(talk: &mut DispatcherTalk, message: &Element) -> Vec<Output> {
    talk.handle_message(NOW, message);
    drain(talk)
}

/// The request of a number, taken by the agent; what the agent would answer to it.
fn request(talk: &mut DispatcherTalk, agent: &mut agent_talk::AgentTalk, number: i64) -> agent_talk::Request {
    talk.request(NOW, RequestNumber(number), &client()).unwrap();
    let stanza = stanzas(&drain(talk)).remove(0);
    let outputs = agent.handle_message(NOW, &stanza);
    let received = outputs.into_iter().find_map(|output| match output {
        agent_talk::Output::RequestReceived(request) => Some(request),
        _ => None,
    });
    received.expect("the agent takes the request")
}

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
        announcement: Announcement::default(),
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
fn new_agent_announces_itself_and_is_welcomed() {
    let (mut talk, mut agent) = (dispatcher(), agent());
    let announcement = Announcement {
        running: Some(RunStart {
            run: RunId([1; 16]),
            covers: RequestNumber(5),
        }),
        pending: Some(RequestNumber(6)),
        reports: vec![report(2, 4), report(3, 4)],
    };
    let presence = carry(&agent.presence(NOW, "0.1.0", &announcement), AGENT);

    talk.handle_presence(NOW, &presence);
    talk.handle_client(NOW, &by_jid(), Some(client()));
    let outputs = drain(&mut talk);

    let announced = Client {
        announced: true,
        ..client()
    };
    assert_eq!(
        outputs[1],
        Output::Pushable {
            client: announced,
            kind: AgentKind::New,
            announcement
        }
    );
    let welcome = agent.handle_message(NOW, &stanzas(&outputs)[0]);
    assert_eq!(
        welcome,
        [agent_talk::Output::LinkUp(osa::domain::check::Dispatcher::Ours)]
    );

    talk.acknowledge(NOW, RunId([2; 16]));
    talk.acknowledge(NOW, RunId([9; 16]));
    let acknowledged = stanzas(&drain(&mut talk));
    assert_eq!(acknowledged.len(), 1);
    let outputs = agent.handle_message(NOW, &acknowledged[0]);
    assert_eq!(outputs, [agent_talk::Output::Acknowledged(RunId([2; 16]))]);
}

#[test]
fn forged_announcement_leaves_an_existing_agent() {
    let mut imposter = agent_talk::AgentTalk::new(
        AGENT.into(),
        agent_talk::Enrolment {
            key: Secret::new("another key"),
            ..enrolment()
        },
        0,
    );
    let mut talk = dispatcher();
    talk.handle_presence(
        NOW,
        &carry(&imposter.presence(NOW, "0.1.0", &Announcement::default()), AGENT),
    );
    drain(&mut talk);

    talk.handle_client(NOW, &by_jid(), Some(client()));

    let outputs = drain(&mut talk);
    assert_eq!(outputs[0], Output::Ignored(Ignored::BadSignature));
    assert!(matches!(
        outputs[1],
        Output::Pushable {
            kind: AgentKind::Existing,
            ..
        }
    ));
}

#[test]
fn announcement_with_a_wrong_clock_proves_a_new_agent_but_says_nothing() {
    let (mut talk, mut agent) = (dispatcher(), agent());
    let announcement = Announcement {
        reports: vec![report(1, 1)],
        ..Announcement::default()
    };
    let early = NOW - Duration::from_secs(3_600);
    talk.handle_presence(NOW, &carry(&agent.presence(early, "0.1.0", &announcement), AGENT));
    drain(&mut talk);

    talk.handle_client(NOW, &by_jid(), Some(client()));

    let outputs = drain(&mut talk);
    assert_eq!(
        outputs[0],
        Output::Ignored(Ignored::Stale(Stale::Clock { off_secs: -3_600 }))
    );
    let Output::Pushable { kind, announcement, .. } = &outputs[1] else {
        panic!("pushable: {outputs:?}")
    };
    assert_eq!((*kind, announcement), (AgentKind::New, &Announcement::default()));
    let welcome = agent.handle_message(early, &stanzas(&outputs)[0]);
    assert!(welcome.contains(&agent_talk::Output::ClockOff), "{welcome:?}");
}

#[test]
fn new_agent_answers_starts_finishes_and_is_acknowledged_under_one_key() {
    let (mut talk, mut agent) = new_session();
    let received = request(&mut talk, &mut agent, 7);
    assert_eq!(received.number(), Some(RequestNumber(7)));
    let start = RunStart {
        run: RunId([1; 16]),
        covers: RequestNumber(7),
    };

    let answer = agent
        .answer(NOW, &received, Ok(()), &[ClientEvent::Started(start)])
        .unwrap();
    let answered = heard(&mut talk, &carry(&answer, AGENT));
    let finished = agent.report(NOW, &[ClientEvent::Finished(report(1, 7))]).remove(0);
    let finished = heard(&mut talk, &carry(&finished, AGENT));
    talk.acknowledge(NOW, RunId([1; 16]));
    let acknowledged = stanzas(&drain(&mut talk)).remove(0);

    assert_eq!(
        events(&answered),
        [ClientEvent::Accepted(RequestNumber(7)), ClientEvent::Started(start)]
    );
    assert_eq!(
        finished,
        [Output::Event(client().system, ClientEvent::Finished(report(1, 7)))],
        "no row was read"
    );
    let outputs = agent.handle_message(NOW, &acknowledged);
    assert_eq!(outputs, [agent_talk::Output::Acknowledged(RunId([1; 16]))]);
    assert_eq!(
        talk.next_deadline(),
        None,
        "the key is gone with the last thing outstanding"
    );
}

#[test]
fn report_of_a_run_that_no_request_caused_reads_the_row_once() {
    let (mut talk, mut agent) = new_session();
    let start = RunStart {
        run: RunId([1; 16]),
        covers: RequestNumber(0),
    };
    let events_sent = [ClientEvent::Started(start), ClientEvent::Finished(report(1, 0))];

    let message = agent.report(NOW, &events_sent).remove(0);
    assert_eq!(heard(&mut talk, &carry(&message, AGENT)), [Output::Ask(by_name(NAME))]);
    talk.handle_client(NOW, &by_name(NAME), Some(client()));

    assert_eq!(events(&drain(&mut talk)), events_sent);
    talk.acknowledge(NOW, RunId([1; 16]));
    assert_eq!(stanzas(&drain(&mut talk)).len(), 1);
}

#[test]
fn message_that_overtakes_the_row_is_heard_after_pushable() {
    let (mut talk, mut agent) = (dispatcher(), agent());
    let presence = carry(&agent.presence(NOW, "0.1.0", &Announcement::default()), AGENT);
    let (mut other_talk, mut other) = new_session();
    let _ = request(&mut other_talk, &mut other, 1);
    let early = carry(&other.report(NOW, &[ClientEvent::Finished(report(1, 0))])[0], AGENT);

    talk.handle_presence(NOW, &presence);
    talk.handle_message(NOW, &early);
    assert_eq!(drain(&mut talk), [Output::Ask(by_jid())]);
    talk.handle_client(NOW, &by_jid(), Some(client()));

    let outputs = drain(&mut talk);
    assert!(matches!(outputs[0], Output::Pushable { .. }));
    assert_eq!(events(&outputs), [ClientEvent::Finished(report(1, 0))]);
}

#[test]
fn replayed_old_and_forged_elements_of_a_new_agent_have_no_effect() {
    let (mut talk, mut agent) = new_session();
    let received = request(&mut talk, &mut agent, 1);
    let answer = carry(&agent.answer(NOW, &received, Ok(()), &[]).unwrap(), AGENT);
    assert_eq!(events(&heard(&mut talk, &answer)).len(), 1);

    assert_eq!(
        heard(&mut talk, &answer),
        [Output::Ignored(Ignored::Stale(Stale::Replayed))]
    );

    let old = agent
        .answer(NOW - Duration::from_secs(121), &received, Ok(()), &[])
        .unwrap();
    let outputs = heard(&mut talk, &carry(&old, AGENT));
    assert_eq!(
        outputs,
        [Output::Ignored(Ignored::Stale(Stale::Clock { off_secs: -121 }))]
    );

    let changed = String::from(&carry(&agent.answer(NOW, &received, Ok(()), &[]).unwrap(), AGENT));
    let changed = changed.replace("number='1'", "number='2'").parse().unwrap();
    assert_eq!(heard(&mut talk, &changed), [Output::Ignored(Ignored::BadSignature)]);

    let mut echoed = stanzas(&{
        talk.request(NOW, RequestNumber(2), &client()).unwrap();
        drain(&mut talk)
    });
    let echoed = heard(&mut talk, &echoed.remove(0));
    assert!(
        matches!(echoed[..], [Output::Ignored(Ignored::Payload(_))]),
        "our own request sent back: {echoed:?}"
    );
}

#[test]
fn complaint_about_the_clock_is_believed_although_its_own_clock_is_off() {
    let (mut talk, mut agent) = new_session();
    talk.request(NOW, RequestNumber(1), &client()).unwrap();
    let stanza = stanzas(&drain(&mut talk)).remove(0);
    let late = NOW + Duration::from_secs(600);

    let complaint = replies(&agent.handle_message(late, &stanza)).remove(0);

    let expected = [ClientEvent::Refused(RequestNumber(1), Refusal::Clock)];
    assert_eq!(events(&heard(&mut talk, &complaint)), expected);
    let ignored = heard(&mut talk, &complaint);
    assert!(events(&ignored).is_empty(), "but only while the request is outstanding");
}

#[test]
fn once_announced_weaker_signatures_are_refused() {
    let announced = Client {
        announced: true,
        ..client()
    };
    let mut talk = dispatcher();
    talk.handle_presence(NOW, &available());
    drain(&mut talk);
    talk.handle_client(NOW, &by_jid(), Some(announced.clone()));
    assert!(matches!(
        drain(&mut talk)[0],
        Output::Pushable {
            kind: AgentKind::New,
            ..
        }
    ));
    talk.request(NOW, RequestNumber(1), &announced).unwrap();
    assert!(
        Signed::in_message(&stanzas(&drain(&mut talk))[0]).is_none(),
        "nor is anything signed weakly"
    );

    let weak = heard(&mut talk, &existing_answer(NAME, KEY, Action::CheckIn));

    assert_eq!(weak, [Output::Ignored(Ignored::WeakSignature)]);
}

#[test]
fn ping_of_a_new_agent_is_answered() {
    let (mut talk, mut agent) = new_session();
    talk.ping(NOW, &client()).unwrap();
    let stanza = stanzas(&drain(&mut talk)).remove(0);

    let pong = replies(&agent.handle_message(NOW, &stanza)).remove(0);

    assert_eq!(events(&heard(&mut talk, &pong)), [ClientEvent::Ponged]);
    assert_eq!(talk.next_deadline(), None);
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
