//! The dispatcher's half of a session with a new agent.

use std::time::Duration;

use minidom::Element;
use osa::domain::ids::{ClientName, RequestNumber, RunId};
use osa::domain::push::client::{AgentKind, Announcement, Client, ClientEvent, Refusal, RunStart};
use osa::domain::secret::Secret;
use osa::protocol::osa::action::Action;
use osa::protocol::osa::agent_talk;
use osa::protocol::osa::dispatcher_talk::{DispatcherTalk, Ignored, Output};
use osa::protocol::osa::replay::Stale;
use osa::protocol::osa::signed::Signed;

use crate::osa_parties::*;

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
            announcement: Some(announcement)
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
    assert_eq!(
        (*kind, announcement),
        (AgentKind::New, &None),
        "nothing is settled by it"
    );
    let welcome = agent.handle_message(early, &stanzas(&outputs)[0]);
    assert!(welcome.contains(&agent_talk::Output::ClockOff), "{welcome:?}");
}

/// What the session becomes by a presence, and what counts as announced.
fn pushable_by(talk: &mut DispatcherTalk, presence: &Element, row: Client) -> (AgentKind, Option<Announcement>) {
    talk.handle_presence(NOW, presence);
    // One row is read a second.
    if let Some(at) = talk.next_deadline() {
        talk.handle_deadline(at);
    }
    talk.handle_client(NOW, &by_jid(), Some(row));
    let pushable = drain(talk).into_iter().find_map(|output| match output {
        Output::Pushable { kind, announcement, .. } => Some((kind, announcement)),
        _ => None,
    });
    pushable.expect("pushable")
}

fn announcement() -> Announcement {
    Announcement {
        pending: Some(RequestNumber(3)),
        ..Announcement::default()
    }
}

#[test]
fn announcement_that_a_server_hands_on_again_says_nothing() {
    let (mut talk, mut agent) = (dispatcher(), agent());
    let presence = carry(&agent.presence(NOW, "0.1.0", &announcement()), AGENT);

    let first = pushable_by(&mut talk, &presence, client());
    let again = pushable_by(&mut talk, &presence, client());

    assert_eq!(first, (AgentKind::New, Some(announcement())));
    assert_eq!(again, (AgentKind::New, None));
}

#[test]
fn fresh_announcement_after_an_old_one_counts() {
    let (mut talk, mut agent) = (dispatcher(), agent());
    let old = agent.presence(NOW - Duration::from_secs(86_400), "0.1.0", &Announcement::default());
    let fresh = agent.presence(NOW, "0.1.0", &announcement());

    assert_eq!(
        pushable_by(&mut talk, &carry(&old, AGENT), client()),
        (AgentKind::New, None)
    );
    assert_eq!(
        pushable_by(&mut talk, &carry(&fresh, AGENT), client()),
        (AgentKind::New, Some(announcement()))
    );
}

#[test]
fn presence_without_an_announcement_makes_a_new_agent_no_existing_one() {
    let (mut talk, mut agent) = (dispatcher(), agent());
    let old = agent.presence(NOW - Duration::from_secs(86_400), "0.1.0", &announcement());
    pushable_by(&mut talk, &carry(&old, AGENT), client());

    assert_eq!(
        pushable_by(&mut talk, &available(), client()),
        (AgentKind::New, None),
        "although the row does not say so yet"
    );
    let weak = heard(&mut talk, &existing_answer(NAME, KEY, Action::CheckIn));
    assert!(events(&weak).is_empty(), "{weak:?}");
    let registered_anew = Client {
        name: ClientName("0011223344556677".into()),
        ..client()
    };
    assert_eq!(
        pushable_by(&mut talk, &available(), registered_anew),
        (AgentKind::Existing, Some(Announcement::default())),
        "another registration may be another agent's"
    );
}

#[test]
fn old_announcement_that_is_forged_proves_nothing() {
    let forger = agent_talk::Enrolment {
        key: Secret::new("another key"),
        ..enrolment()
    };
    let mut forger = agent_talk::AgentTalk::new(AGENT.into(), forger, 0);
    let old = forger.presence(NOW - Duration::from_secs(86_400), "0.1.0", &announcement());

    let taken_for = pushable_by(&mut dispatcher(), &carry(&old, AGENT), client());

    assert_eq!(taken_for, (AgentKind::Existing, Some(Announcement::default())));
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
    assert!(matches!(
        outputs[..],
        [
            Output::Write(_),
            Output::Ignored(Ignored::Stale(Stale::Clock { off_secs: -121 }))
        ]
    ));

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
fn agent_whose_reports_have_the_wrong_time_is_told_the_time_once_a_minute() {
    let (mut talk, mut agent) = new_session();
    let late = NOW + Duration::from_secs(300);
    let told = |talk: &mut DispatcherTalk, agent: &mut agent_talk::AgentTalk, run, now| {
        for stanza in agent.report(NOW, &[ClientEvent::Finished(report(run, 1))]) {
            talk.handle_message(now, &carry(&stanza, AGENT));
        }
        // The session holds no key, and reads the row.
        talk.handle_client(now, &by_name(NAME), Some(client()));
        let outputs = drain(talk);
        assert!(events(&outputs).is_empty());
        stanzas(&outputs)
    };

    let first = told(&mut talk, &mut agent, 1, late);
    let outputs = agent.handle_message(NOW, &first[0]);
    assert!(outputs.contains(&agent_talk::Output::ClockOff));

    assert!(told(&mut talk, &mut agent, 2, late + Duration::from_secs(59)).is_empty());
    assert_eq!(told(&mut talk, &mut agent, 3, late + Duration::from_secs(60)).len(), 1);
}

#[test]
fn withdrawn_request_is_no_longer_outstanding() {
    let (mut talk, _) = new_session();
    talk.request(NOW, RequestNumber(1), &client()).unwrap();
    drain(&mut talk);

    talk.withdraw(RequestNumber(1));

    assert_eq!(talk.next_deadline(), None, "no key is kept for it");
}
