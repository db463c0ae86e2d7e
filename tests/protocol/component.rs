//! The login as a component of a server, and what comes after it (XEP-0114).

use std::time::{Duration, Instant};

use minidom::Element;
use osa::domain::secret::Secret;
use osa::protocol::codec::Limits;
use osa::protocol::stream::client::{ClientConfig, ClientEnd, ClientEvent, ClientOutput, ClientStream, Role};
use osa::protocol::stream::{Output, Seed, StreamFault};
use proptest::prelude::*;
use xmpp_parsers::stream_error::DefinedCondition;

const JID: &str = "rhn-dispatcher-sat@osa.sat.test/superclient";
const OURS: &str = "<?xml version='1.0'?><stream:stream to='osa.sat.test' xmlns='jabber:component:accept' \
    xmlns:stream='http://etherx.jabber.org/streams'>";
/// The id, and below the proof for the secret "test", are those of XEP-0114, section 3.
const HEADER: &str = "<?xml version='1.0'?><stream:stream from='osa.sat.test' id='3BF96D32' \
    xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'>";
const PROOF: &str = "<handshake>aaee83c26aeeafcbabeabfcbcd50df997e0a2a1e</handshake>";
const ACCEPTED: &str = "<handshake/>";
const PING: &str = "<iq type='get' id='ping' from='rhn-dispatcher-sat@osa.sat.test/superclient' to='sat.test'>\
    <ping xmlns='urn:xmpp:ping'/></iq>";

/// All states that take bytes, in the order of a login.
const STEPS: [&str; 3] = ["", HEADER, ACCEPTED];

fn config(tls: bool) -> ClientConfig {
    let server = "sat.test".to_owned();
    ClientConfig {
        role: Role::Component { server, tls },
        resource: "superclient".to_owned(),
        silence_timeout: Duration::from_secs(90),
        limits: Limits::FROM_SERVER,
        ..ClientConfig::new("osa.sat.test", "rhn-dispatcher-sat", Secret::new("test"))
    }
}

struct Scene {
    stream: ClientStream,
    now: Instant,
}

impl Scene {
    fn new(tls: bool) -> Self {
        let now = Instant::now();
        let stream = ClientStream::new(config(tls), Seed::new([1; 32]), now);
        Self { stream, now }
    }

    /// After so many steps of the server's.
    fn after(steps: usize) -> Self {
        let mut scene = Self::new(false);
        scene.outputs();
        for step in &STEPS[..steps] {
            scene.hear(step);
        }
        scene
    }

    fn open() -> Self {
        let scene = Self::after(STEPS.len());
        assert!(scene.stream.is_open());
        scene
    }

    fn outputs(&mut self) -> Vec<ClientOutput> {
        std::iter::from_fn(|| self.stream.poll_output()).collect()
    }

    fn hear(&mut self, text: &str) -> Vec<ClientOutput> {
        self.stream.receive(text.as_bytes(), self.now);
        self.outputs()
    }

    fn end(&mut self, text: &str) -> Option<ClientEnd> {
        self.hear(text).into_iter().find_map(|output| match output {
            Output::Close(end) => Some(end),
            Output::Write(_) | Output::StartTls | Output::Event(_) => None,
        })
    }

    fn send(&mut self, stanza: &str) -> String {
        self.stream.send(&parse(stanza));
        written(&self.outputs())
    }

    fn wait(&mut self, time: Duration) -> Vec<ClientOutput> {
        self.now += time;
        self.stream.handle_deadline(self.now);
        self.outputs()
    }
}

fn parse(text: &str) -> Element {
    let end = text.find([' ', '/', '>']).unwrap();
    format!("{} xmlns='jabber:client'{}", &text[..end], &text[end..])
        .parse()
        .unwrap()
}

fn written(outputs: &[ClientOutput]) -> String {
    let bytes = outputs.iter().filter_map(|output| match output {
        Output::Write(bytes) => Some(String::from_utf8(bytes.clone()).unwrap()),
        Output::StartTls | Output::Event(_) | Output::Close(_) => None,
    });
    bytes.collect()
}

fn write(text: &str) -> ClientOutput {
    Output::Write(text.into())
}

fn logged_in() -> ClientOutput {
    Output::Event(ClientEvent::LoggedIn {
        jid: JID.to_owned(),
        registered: false,
    })
}

fn deliver(stanza: &str) -> ClientOutput {
    Output::Event(ClientEvent::Deliver(parse(stanza)))
}

#[test]
fn secret_is_proved_as_the_standard_says_and_no_roster_is_asked_for() {
    let mut scene = Scene::new(false);

    assert_eq!(scene.outputs(), [write(OURS)]);
    assert_eq!(scene.hear(HEADER), [write(PROOF)]);
    assert!(!scene.stream.is_open());
    assert_eq!(scene.hear(ACCEPTED), [logged_in()]);
}

#[test]
fn nothing_is_said_before_tls_where_it_is_wanted() {
    let mut scene = Scene::new(true);
    assert_eq!(scene.outputs(), [Output::StartTls]);

    scene.stream.tls_established(None, scene.now);

    assert_eq!(scene.outputs(), [write(OURS)]);
    assert_eq!(scene.hear(HEADER), [write(PROOF)]);
    assert_eq!(scene.hear(ACCEPTED), [logged_in()]);
}

#[test]
fn server_that_speaks_before_tls_is_left_without_a_word() {
    let mut scene = Scene::new(true);
    scene.outputs();

    let fault = ClientEnd::Fault(StreamFault::InjectedBeforeTls);
    assert_eq!(scene.hear(HEADER), [Output::Close(fault)]);
}

#[test]
fn stanzas_are_those_of_clients_in_another_namespace() {
    let mut scene = Scene::open();
    let message = "<message to='rhn-dispatcher-sat@osa.sat.test/superclient' from='osad-a@sat.test/osad'>\
                   <body>b</body><x xmlns='urn:x'><y/></x></message>";

    assert_eq!(scene.hear(message), [deliver(message)]);
    assert_eq!(
        scene.send("<message to='osad-a@sat.test/osad'><body>b</body><x xmlns='urn:x'/></message>"),
        "<message from='rhn-dispatcher-sat@osa.sat.test/superclient' to='osad-a@sat.test/osad'><body>b</body>\
         <x xmlns='urn:x'/></message>"
    );
}

#[test]
fn all_that_is_sent_has_our_address_and_subscriptions_the_bare_one() {
    let mut scene = Scene::open();
    let bare = " from='rhn-dispatcher-sat@osa.sat.test' ";
    let full = " from='rhn-dispatcher-sat@osa.sat.test/superclient' ";

    for kind in ["subscribe", "subscribed", "unsubscribe", "unsubscribed"] {
        let sent = scene.send(&format!("<presence to='a@sat.test' type='{kind}'/>"));
        assert!(sent.contains(bare), "{sent}");
    }
    for stanza in [
        "<presence to='a@sat.test'/>",
        "<presence to='a@sat.test' type='probe'/>",
        "<presence to='a@sat.test' type='unavailable'/>",
        "<message to='a@sat.test/osad' from='a@elsewhere.test'/>",
    ] {
        let sent = scene.send(stanza);
        assert!(sent.contains(full), "{sent}");
    }
}

#[test]
fn what_is_for_other_addresses_of_the_domain_is_not_heard() {
    let mut scene = Scene::open();

    for to in ["", " to='osa.sat.test'", " to='other@osa.sat.test/superclient'"] {
        assert_eq!(scene.hear(&format!("<presence from='a@sat.test/osad'{to}/>")), []);
        assert_eq!(scene.hear(&format!("<message from='a@sat.test/osad'{to}/>")), []);
    }
    let for_us = "<presence from='a@sat.test/osad' to='rhn-dispatcher-sat@osa.sat.test'/>";
    assert_eq!(scene.hear(for_us), [deliver(for_us)]);
}

#[test]
fn questions_are_answered_from_where_they_were_put_and_rosters_are_nobodys() {
    let mut scene = Scene::open();

    let pong = scene.hear("<iq type='get' id='1' from='sat.test' to='osa.sat.test'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert_eq!(
        pong,
        [write("<iq type='result' id='1' from='osa.sat.test' to='sat.test'/>")]
    );
    for from in ["", " from='osa.sat.test'", " from='rhn-dispatcher-sat@osa.sat.test'"] {
        let item = "<item jid='a@sat.test' subscription='remove'/>";
        let pushed = scene.hear(&format!(
            "<iq type='set' id='2'{from} to='{JID}'><query xmlns='jabber:iq:roster'>{item}</query></iq>"
        ));
        assert!(written(&pushed).contains("service-unavailable"), "{pushed:?}");
        let roster = format!("<iq type='result' id='roster'{from} to='{JID}'><query xmlns='jabber:iq:roster'/></iq>");
        assert_eq!(scene.hear(&roster), []);
    }
}

#[test]
fn refusals_are_told_apart() {
    let error = |condition: &str| {
        format!("<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")
    };
    for (condition, expected) in [
        ("not-authorized", DefinedCondition::NotAuthorized),
        ("conflict", DefinedCondition::Conflict),
        ("host-unknown", DefinedCondition::HostUnknown),
    ] {
        for steps in 2..=STEPS.len() {
            let end = Scene::after(steps).end(&error(condition));
            let told = matches!(&end, Some(ClientEnd::ServerEnded(told, _)) if *told == expected);
            assert!(told, "{steps}: {end:?}");
        }
    }
    // Prosody says at once that it knows no such component, on a stream without an id.
    let mut scene = Scene::new(false);
    scene.outputs();
    let header = HEADER.replace("3BF96D32", "");
    let outputs = scene.hear(&format!("{header}{}</stream:stream>", error("host-unknown")));
    assert_eq!(written(&outputs), "</stream:stream>");
    assert!(matches!(
        outputs.last(),
        Some(Output::Close(ClientEnd::ServerEnded(DefinedCondition::HostUnknown, _)))
    ));
}

#[test]
fn port_for_clients_is_found_out() {
    assert_eq!(
        Scene::after(2).end("<stream:features><register xmlns='x'/></stream:features>"),
        Some(ClientEnd::NoMechanism)
    );
}

#[test]
fn proof_that_is_not_answered_or_answered_otherwise_ends_the_login() {
    for steps in 0..STEPS.len() {
        let mut scene = Scene::after(steps);
        assert_eq!(scene.wait(Duration::from_secs(59)), []);
        let outputs = scene.wait(Duration::from_secs(1));
        assert_eq!(outputs.last(), Some(&Output::Close(ClientEnd::LoginTimeout)), "{steps}");
    }
    for stanza in ["message", "presence", "iq", "x"] {
        let end = Scene::after(2).end(&format!("<{stanza}/>"));
        assert_eq!(end, Some(ClientEnd::Unexpected(stanza.to_owned())));
    }
}

#[test]
fn silent_server_is_asked_and_then_left() {
    let mut scene = Scene::open();

    assert_eq!(scene.wait(Duration::from_secs(74)), []);
    assert_eq!(scene.wait(Duration::from_secs(1)), [write(PING)]);
    scene.hear(&format!("<iq type='error' id='ping' from='sat.test' to='{JID}'/>"));
    assert_eq!(scene.wait(Duration::from_secs(75)), [write(PING)]);
    let outputs = scene.wait(Duration::from_secs(15));

    assert_eq!(outputs.last(), Some(&Output::Close(ClientEnd::Silent)));
}

#[test]
fn garbage_in_any_state_ends_the_stream_and_says_why() {
    for steps in 1..=STEPS.len() {
        for garbage in ["<<<", "</x>", "<a b=c/>", "\u{0}", "&bogus;"] {
            let end = Scene::after(steps).end(garbage);
            assert!(matches!(end, Some(ClientEnd::Fault(_))), "{steps} {garbage:?}: {end:?}");
        }
        let end = Scene::after(steps).end("</stream:stream>");
        assert!(end.is_some(), "{steps}");
    }
    let long = format!("<handshake>{}", "x".repeat(20_000));
    let end = Scene::after(2).end(&long);
    assert!(matches!(end, Some(ClientEnd::Fault(_))), "{end:?}");
}

#[test]
fn stanza_of_a_client_that_goes_too_deep_loses_that_part_only() {
    let mut scene = Scene::open();
    let deep = format!("{}{}", "<a>".repeat(200), "</a>".repeat(200));

    let outputs = scene.hear(&format!("<message from='a@sat.test/x' to='{JID}'>{deep}</message>"));

    assert!(
        matches!(&outputs[..], [Output::Event(ClientEvent::Deliver(_))]),
        "{outputs:?}"
    );
    assert!(scene.stream.is_open());
}

#[test]
fn farewell_is_the_end_of_the_stream_and_no_presence_to_nobody() {
    let mut scene = Scene::open();

    scene.stream.close();

    assert_eq!(
        scene.outputs(),
        [write("</stream:stream>"), Output::Close(ClientEnd::Closed)]
    );
}

proptest! {
    #[test]
    fn splits_make_no_difference(pieces in prop::collection::vec(1_usize..40, 1..60)) {
        let message = "<message to='rhn-dispatcher-sat@osa.sat.test' from='a@sat.test/osad'><body>b</body></message>";
        let text = format!("{HEADER}{ACCEPTED} {message}</stream:stream>");
        let mut scene = Scene::new(false);
        let mut outputs = scene.outputs();
        let mut rest = text.as_bytes();
        for piece in pieces.into_iter().cycle() {
            let (now, later) = rest.split_at(piece.min(rest.len()));
            scene.stream.receive(now, scene.now);
            outputs.extend(scene.outputs());
            rest = later;
            if rest.is_empty() {
                break;
            }
        }

        let expected = [
            write(OURS),
            write(PROOF),
            logged_in(),
            deliver(message),
            write("</stream:stream>"),
            Output::Close(ClientEnd::ClosedByServer),
        ];
        prop_assert_eq!(outputs, expected);
    }
}
