//! The recorded reactions of the existing agent, case by case, beside ours.
//!
//! The recording gives no keys, so its signatures cannot be verified: every signature that was valid is made anew with a
//! key of ours, over the recorded values. It gives no stream ids either, so its one digest cannot be checked, and what
//! came before the cases (stream headers, features, the plain login) is written as the other recordings have it. Three
//! requests in one TLS record are described, not recorded.

use osa::domain::check::Dispatcher;
use osa::protocol::osa::agent_talk::{AgentTalk, Enrolment, Ignored, Output as Reaction};
use osa::protocol::osa::replay::Stale;
use osa::protocol::osa::signed::{Content, Signed};
use proptest::prelude::*;

use super::*;

const REACTIONS: &str = include_str!("05-client-reactions.txt");
pub(super) const HOST: &str = "satellite2.test";
pub(super) const PEER: &str = "rhn-dispatcher-sat@satellite2.test/superclient";
const SIGNED: &str = "http://jabber.rhn.redhat.com/jabber/signed";
const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' from='satellite2.test' id='made-up' version='1.0'>";

/// The form of the plain login.
pub(super) const LOGIN_FIELDS: &str =
    "<iq type='result' id='auth-get'><query xmlns='jabber:iq:auth'><username/><password/><resource/></query></iq>";

/// What stands under a heading: the stanzas of one side as they are written there.
pub(super) fn case(heading: &str, side: char) -> Vec<&'static str> {
    let cases = REACTIONS.split("\n## ").filter(|case| case.starts_with(heading));
    let [case] = cases.collect::<Vec<_>>()[..] else {
        panic!("{heading}")
    };
    let marker = format!("] {side}: ");
    let sent = case
        .lines()
        .filter_map(|line| line.split_once(&marker))
        .map(|(_, sent)| sent);
    sent.map(|sent| sent.split("   # [").next().unwrap()).collect()
}

pub(super) fn stanza(text: &str) -> Element {
    let name = text.split([' ', '>', '/']).find(|part| part.starts_with('<')).unwrap();
    text.replacen(name, &format!("{name} xmlns='jabber:client'"), 1)
        .parse()
        .unwrap()
}

pub(super) fn is_message(text: &&str) -> bool {
    text.starts_with("<message")
}

/// The signed element of a message.
pub(super) fn signed_in(message: &Element) -> Signed {
    Signed::from_element(message.get_child("x", SIGNED).unwrap())
}

/// The same message under a key that we know. One that was signed wrongly stays as it is.
pub(super) fn signed_anew(text: &str) -> String {
    let message = stanza(text);
    let old = signed_in(&message);
    let content = Content {
        timestamp: old.unix_seconds().unwrap(),
        serial: old.serial.as_deref().unwrap(),
        action: old.action.as_deref().unwrap(),
    };
    let (key, jid) = (Secret::new(SHARED_KEY), old.jid.as_deref().unwrap());
    let new = match old.client_id.as_deref() {
        None => Signed::request(&key, message.attr("to").unwrap(), jid, content),
        Some(name) => Signed::response(&key, message.attr("to").unwrap(), name, jid, content),
    };
    match old.signature.as_deref() {
        Some(wrong) if wrong.chars().all(|digit| digit == '0') => text.to_owned(),
        Some(signature) => text.replace(signature, new.signature.as_deref().unwrap()),
        None => panic!("{text}"),
    }
}

/// An account of the recording.
fn account(name: &str) -> ClientConfig {
    ClientConfig {
        resource: "osad".to_owned(),
        sasl: false,
        ..ClientConfig::new(HOST, &format!("osad-{name}"), Secret::new(format!("pw-{name}")))
    }
}

/// Our client with the peer of the recording.
pub(super) struct Agent {
    pub(super) stream: ClientStream,
    pub(super) text: String,
    logged_in: bool,
    delivered: Vec<Element>,
    pub(super) end: Option<ClientEnd>,
}

impl Agent {
    /// Inside TLS, before its login.
    pub(super) fn secured(name: &str) -> Self {
        let mut agent = Self {
            stream: ClientStream::new(account(name), Seed::new([5; 32]), Instant::now()),
            text: String::new(),
            logged_in: false,
            delivered: Vec::new(),
            end: None,
        };
        let (cut, starttls) = (&Cut::Lines, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        agent.hear(
            cut,
            &[HEADER, &format!("<stream:features>{starttls}</stream:features>")],
        );
        agent.hear(cut, &["<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"]);
        agent.stream.tls_established(None, Instant::now());
        let features = "<auth xmlns='http://jabber.org/features/iq-auth'/>\
                        <register xmlns='http://jabber.org/features/iq-register'/>";
        agent.hear(
            cut,
            &[HEADER, &format!("<stream:features>{features}</stream:features>")],
        );
        agent
    }

    /// Logged in as the peer has it: plainly, and with an empty roster.
    pub(super) fn logged_in(name: &str) -> Self {
        let mut agent = Self::secured(name);
        let answers = [
            LOGIN_FIELDS,
            "<iq type='result' id='auth-set'/>",
            "<iq type='result' id='roster'><query xmlns='jabber:iq:roster'/></iq>",
        ];
        agent.hear(&Cut::Lines, &answers);
        assert!(agent.logged_in && agent.stream.is_open(), "{}", agent.text);
        agent
    }

    pub(super) fn hear(&mut self, cut: &Cut, lines: &[impl AsRef<str>]) {
        for piece in cut.pieces(lines) {
            self.stream.receive(&piece, Instant::now());
            while let Some(output) = self.stream.poll_output() {
                match output {
                    Output::Write(bytes) => self.text.push_str(std::str::from_utf8(&bytes).unwrap()),
                    Output::StartTls => {}
                    Output::Event(AgentEvent::LoggedIn { .. }) => self.logged_in = true,
                    Output::Event(AgentEvent::Deliver(stanza)) => self.delivered.push(stanza),
                    Output::Event(AgentEvent::Pong { .. } | AgentEvent::Roster(_) | AgentEvent::RosterChanged(_)) => {}
                    Output::Close(end) => self.end = Some(end),
                }
            }
        }
    }
}

fn talk(name: &str) -> AgentTalk {
    let enrolment = Enrolment {
        client: ClientName(CLIENT_NAME.into()),
        key: Secret::new(SHARED_KEY),
        dispatchers: vec![PEER.into()],
        drift_millis: 0,
    };
    AgentTalk::new(format!("osad-{name}@{HOST}/osad"), enrolment, 0)
}

/// What our agent makes of the messages of a case, each heard when the original heard it; and its answers.
fn reactions(heading: &str, name: &str, cut: &Cut) -> (Vec<Reaction>, Vec<Element>) {
    let sent: Vec<String> = case(heading, 'S')
        .into_iter()
        .filter(is_message)
        .map(signed_anew)
        .collect();
    let mut agent = Agent::logged_in(name);
    agent.hear(cut, &sent);
    let as_sent: Vec<Element> = sent.iter().map(|text| stanza(text)).collect();
    assert_eq!(agent.delivered, as_sent, "parsed as it was sent: {heading}");
    let now = Timestamp::from_secs(1_795_336_750);
    let (mut talk, mut outputs, mut answers) = (talk(name), Vec::new(), Vec::new());
    for message in &agent.delivered {
        for output in talk.handle_message(now, message) {
            match output {
                Reaction::RequestReceived(ref request) => answers.extend(talk.answer(now, request, Ok(()), &[])),
                Reaction::Write(ref answer) => answers.push(answer.clone()),
                _ => {}
            }
            outputs.push(output);
        }
    }
    (outputs, answers)
}

/// The recorded answers, but for what differs with each run: name, time, serial and so the signature.
fn assert_answered_alike(heading: &str, answers: &[Element]) {
    let recorded: Vec<Element> = case(heading, 'C').into_iter().filter(is_message).map(stanza).collect();
    let seen = |answer: &Element| {
        let signed = signed_in(answer);
        let attribute = |name: &str| answer.attr(name).map(str::to_owned);
        (attribute("to"), attribute("type"), signed.action, signed.jid)
    };
    let [ours, theirs] = [answers, &recorded[..]].map(|answers| answers.iter().map(seen).collect::<Vec<_>>());
    assert_eq!(ours, theirs, "{heading}");
}

fn what_the_existing_agent_answers_ours_answers_alike(cut: &Cut) {
    for (heading, name) in [
        ("Valid checkin request one second", "base"),
        ("request that carries the newer mark", "delay203"),
        ("ping request; a second one", "ping"),
        ("four ping requests", "queue"),
        ("checkin request, and a second one", "busy"),
        ("XMPP ping (XEP-0199)", "xmppping"),
    ] {
        let (outputs, answers) = reactions(heading, name, cut);
        assert_eq!(outputs[0], Reaction::LinkUp(Dispatcher::Original), "{heading}");
        assert_answered_alike(heading, &answers);
    }
}

fn what_the_existing_agent_ignores_ours_ignores(cut: &Cut) {
    for (heading, name, reaction) in [
        ("the same request with type='chat'", "chat", vec![]),
        ("request that carries the old", "delayx", vec![]),
        (
            "correctly signed, but an action",
            "unknownaction",
            vec![Reaction::Ignored(Ignored::UnknownAction)],
        ),
        // Ours also looks whether it has the right key still.
        (
            "wrong signature",
            "badsig",
            vec![Reaction::KeyVoid, Reaction::Ignored(Ignored::BadSignature)],
        ),
    ] {
        let (outputs, answers) = reactions(heading, name, cut);
        assert_eq!((outputs, answers.len()), (reaction, 0), "{heading}");
        assert_eq!(case(heading, 'C').len(), 0, "as recorded");
    }
}

/// ejabberd leaves out the type that is the default, so ours takes a request without one.
fn what_the_existing_agent_ignores_for_want_of_a_type_ours_takes(cut: &Cut) {
    let heading = "the same request without a type";
    let (outputs, answers) = reactions(heading, "notype", cut);
    assert!(
        matches!(outputs.last(), Some(Reaction::RequestReceived(_))),
        "{outputs:?}"
    );
    assert_eq!((answers.len(), case(heading, 'C').len()), (1, 0));
}

/// The original takes what is a day old, comes again, or comes from anybody. Ours does not.
fn what_the_existing_agent_should_not_have_taken_ours_refuses(cut: &Cut) {
    let stale = |off_secs| {
        vec![
            Reaction::ClockOff,
            Reaction::Ignored(Ignored::Stale(Stale::Clock { off_secs })),
        ]
    };
    let stranger = vec![Reaction::Ignored(Ignored::UnknownSender)];
    for (heading, name, reaction) in [
        (
            "correctly signed, timestamp one day old",
            "old",
            stale(1_795_250_344 - 1_795_336_750),
        ),
        ("signed for the dispatcher, but from=", "otherfrom", stranger.clone()),
        ("no from= at all", "nofrom", stranger),
    ] {
        let (outputs, answers) = reactions(heading, name, cut);
        assert_eq!((outputs, answers.len()), (reaction, 0), "{heading}");
        assert_eq!(
            case(heading, 'C').into_iter().filter(is_message).count(),
            1,
            "as recorded"
        );
    }
    let (outputs, answers) = reactions("the very same stanza sent twice", "replay", cut);
    assert_eq!(
        outputs.last(),
        Some(&Reaction::Ignored(Ignored::Stale(Stale::Replayed)))
    );
    assert_eq!((answers.len(), case("the very same stanza", 'C').len()), (1, 2));
}

#[test]
fn what_the_existing_agent_answers_ours_answers_alike_however_it_is_cut() {
    CUTS.iter().for_each(what_the_existing_agent_answers_ours_answers_alike);
}

#[test]
fn what_the_existing_agent_ignores_ours_ignores_however_it_is_cut() {
    CUTS.iter().for_each(what_the_existing_agent_ignores_ours_ignores);
}

#[test]
fn what_the_existing_agent_ignores_for_want_of_a_type_ours_takes_however_it_is_cut() {
    CUTS.iter()
        .for_each(what_the_existing_agent_ignores_for_want_of_a_type_ours_takes);
}

#[test]
fn what_the_existing_agent_should_not_have_taken_ours_refuses_however_it_is_cut() {
    CUTS.iter()
        .for_each(what_the_existing_agent_should_not_have_taken_ours_refuses);
}

proptest! {
    #![proptest_config(cuts::few_cases())]

    #[test]
    fn our_reactions_are_the_same_at_random_splits(cut in cuts::any()) {
        what_the_existing_agent_answers_ours_answers_alike(&cut);
        what_the_existing_agent_ignores_ours_ignores(&cut);
        what_the_existing_agent_should_not_have_taken_ours_refuses(&cut);
    }
}
