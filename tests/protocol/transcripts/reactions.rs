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
use xmpp_parsers::stream_error::DefinedCondition;

use super::*;

const REACTIONS: &str = include_str!("05-client-reactions.txt");
pub(super) const HOST: &str = "satellite2.test";
pub(super) const PEER: &str = "rhn-dispatcher-sat@satellite2.test/superclient";
const SIGNED: &str = "http://jabber.rhn.redhat.com/jabber/signed";
const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' from='satellite2.test' id='made-up' version='1.0'>";

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
struct Agent {
    stream: ClientStream,
    text: String,
    logged_in: bool,
    delivered: Vec<Element>,
    end: Option<ClientEnd>,
}

impl Agent {
    /// Inside TLS, before its login.
    fn secured(name: &str) -> Self {
        let mut agent = Self {
            stream: ClientStream::new(account(name), Seed::new([5; 32]), Instant::now()),
            text: String::new(),
            logged_in: false,
            delivered: Vec::new(),
            end: None,
        };
        agent.hear(HEADER, whole);
        agent.hear(
            "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>",
            whole,
        );
        agent.hear("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", whole);
        agent.stream.tls_established(None, Instant::now());
        agent.hear(HEADER, whole);
        let features = "<auth xmlns='http://jabber.org/features/iq-auth'/>\
                        <register xmlns='http://jabber.org/features/iq-register'/>";
        agent.hear(&format!("<stream:features>{features}</stream:features>"), whole);
        agent
    }

    /// Logged in as the peer has it: plainly, and with an empty roster.
    fn logged_in(name: &str) -> Self {
        let mut agent = Self::secured(name);
        agent.hear("<iq type='result' id='auth-get'><query xmlns='jabber:iq:auth'><username/><password/><resource/></query></iq>", whole);
        agent.hear("<iq type='result' id='auth-set'/>", whole);
        agent.hear(
            "<iq type='result' id='roster'><query xmlns='jabber:iq:roster'/></iq>",
            whole,
        );
        assert!(agent.logged_in && agent.stream.is_open(), "{}", agent.text);
        agent
    }

    fn hear(&mut self, text: &str, cut: impl Fn(&[u8]) -> Vec<&[u8]>) {
        for piece in cut(text.as_bytes()) {
            self.stream.receive(piece, Instant::now());
            while let Some(output) = self.stream.poll_output() {
                match output {
                    Output::Write(bytes) => self.text.push_str(std::str::from_utf8(&bytes).unwrap()),
                    Output::StartTls => {}
                    Output::Event(AgentEvent::LoggedIn { .. }) => self.logged_in = true,
                    Output::Event(AgentEvent::Deliver(stanza)) => self.delivered.push(stanza),
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
fn reactions(heading: &str, name: &str, cut: Cut) -> (Vec<Reaction>, Vec<Element>) {
    let sent: Vec<String> = case(heading, 'S')
        .into_iter()
        .filter(is_message)
        .map(signed_anew)
        .collect();
    let mut agent = Agent::logged_in(name);
    for text in &sent {
        agent.hear(text, cut);
    }
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

const CUTS: [Cut; 2] = [whole, byte_by_byte];

#[test]
fn what_the_existing_agent_answers_ours_answers_alike() {
    for (heading, name) in [
        ("Valid checkin request one second", "base"),
        ("request that carries the newer mark", "delay203"),
        ("ping request; a second one", "ping"),
        ("four ping requests", "queue"),
        ("checkin request, and a second one", "busy"),
        ("XMPP ping (XEP-0199)", "xmppping"),
    ] {
        for cut in CUTS {
            let (outputs, answers) = reactions(heading, name, cut);
            assert_eq!(outputs[0], Reaction::LinkUp(Dispatcher::Original), "{heading}");
            assert_answered_alike(heading, &answers);
        }
    }
}

#[test]
fn what_the_existing_agent_ignores_ours_ignores() {
    for (heading, name, reaction) in [
        ("the same request without a type", "notype", vec![]),
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
        for cut in CUTS {
            let (outputs, answers) = reactions(heading, name, cut);
            assert_eq!((outputs, answers.len()), (reaction.clone(), 0), "{heading}");
            assert_eq!(case(heading, 'C').len(), 0, "as recorded");
        }
    }
}

/// The original takes what is a day old, comes again, or comes from anybody. Ours does not.
#[test]
fn what_the_existing_agent_should_not_have_taken_ours_refuses() {
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
        for cut in CUTS {
            let (outputs, answers) = reactions(heading, name, cut);
            assert_eq!((outputs, answers.len()), (reaction.clone(), 0), "{heading}");
            assert_eq!(
                case(heading, 'C').into_iter().filter(is_message).count(),
                1,
                "as recorded"
            );
        }
    }
    let (outputs, answers) = reactions("the very same stanza sent twice", "replay", whole);
    assert_eq!(
        outputs.last(),
        Some(&Reaction::Ignored(Ignored::Stale(Stale::Replayed)))
    );
    assert_eq!((answers.len(), case("the very same stanza", 'C').len()), (1, 2));
}

#[test]
fn pings_and_roster_pushes_are_answered_by_our_client_and_later_requests_still_work() {
    for cut in CUTS {
        let mut agent = Agent::logged_in("xmppping");
        for text in case("XMPP ping", 'S')
            .into_iter()
            .filter(|text| text.starts_with("<iq"))
        {
            agent.hear(text, cut);
        }
        for id in ["p1", "r1"] {
            assert!(
                agent.text.contains(&format!("<iq type='result' id='{id}'")),
                "{id}: {}",
                agent.text
            );
        }
        assert!(agent.stream.is_open());
    }
}

#[test]
fn stream_errors_end_our_client_for_the_recorded_reason() {
    for (heading, name, condition) in [
        ("stream error \"conflict\"", "conflict", DefinedCondition::Conflict),
        (
            "stream error \"system-shutdown\"",
            "shutdown",
            DefinedCondition::SystemShutdown,
        ),
    ] {
        for cut in CUTS {
            let error = case(heading, 'S')
                .into_iter()
                .find(|text| text.starts_with("<stream:error"))
                .unwrap();
            let mut agent = Agent::logged_in(name);
            agent.hear(error, cut);
            assert_eq!(agent.end, Some(ClientEnd::ServerEnded(condition.clone())), "{heading}");
        }
    }
}

/// The server's words at a login, with the ids of our requests.
fn login_words(heading: &str) -> Vec<String> {
    let words = case(heading, 'S').into_iter().filter(|text| text.starts_with("<iq"));
    words
        .map(|text| {
            let id = between(text, " id='", "'");
            let ours = match id.split('-').nth(1) {
                Some("get") => "auth-get",
                Some("set") => "auth-set",
                _ if id == "1" => "register-get",
                _ => "register-set",
            };
            text.replacen(&format!(" id='{id}'"), &format!(" id='{ours}'"), 1)
        })
        .collect()
}

#[test]
fn unknown_account_is_registered_by_our_client_as_by_the_existing_one() {
    let heading = "unknown account: error with code='401'";
    for cut in CUTS {
        let mut agent = Agent::secured("errmodern");
        for words in login_words(heading) {
            agent.hear(&words, cut);
        }
        let registered = "<username>osad-errmodern</username><password>pw-errmodern</password></query></iq>";
        assert!(agent.text.contains(registered), "{}", agent.text);
        let (_, behind) = agent.text.split_once(registered).unwrap();
        assert!(behind.contains("jabber:iq:auth"), "then it logs in: {behind}");
        assert_eq!(agent.end, None);
    }
}

#[test]
fn refused_logins_end_our_client_and_never_for_good() {
    // The original misses this one and never registers; ours reads the condition as well as the number.
    let mut agent = Agent::secured("errrfc");
    login_words("unknown account: RFC 6120")
        .iter()
        .for_each(|words| agent.hear(words, whole));
    assert!(agent.text.contains("jabber:iq:register"), "{}", agent.text);

    let mut agent = Agent::secured("err501");
    login_words("legacy login refused")
        .iter()
        .for_each(|words| agent.hear(words, whole));
    assert_eq!(agent.end, Some(ClientEnd::LoginRefused(None)));

    let mut agent = Agent::secured("badpw");
    let fields =
        "<iq type='result' id='auth-get'><query xmlns='jabber:iq:auth'><username/><password/><resource/></query></iq>";
    agent.hear(fields, whole);
    login_words("account exists with another password")
        .iter()
        .for_each(|words| agent.hear(words, whole));
    assert_eq!(
        agent.end,
        Some(ClientEnd::CredentialsTaken),
        "ours takes another account"
    );
}
