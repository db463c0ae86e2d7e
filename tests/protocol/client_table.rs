//! Every state of the client stream against every kind of input.

use std::time::{Duration, Instant};

use osa::protocol::stream::client::{ClientEvent, ClientOutput, ClientStream};
use osa::protocol::stream::{Output, Seed};

use crate::pair::client_config;

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' from='sat.test' id='1' version='1.0'>";
const TLS: &str = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>";
const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const BIND: &str = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const FAILURE: &str = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";
const CHALLENGE: &str = "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AAAA</challenge>";
const FORM: &str = "<iq type='result' id='register-get'><query xmlns='jabber:iq:register'>\
    <username/><password/></query></iq>";
const BOUND: &str = "<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
    <jid>u@sat.test/osad</jid></bind></iq>";

fn mechanisms(name: &str) -> String {
    format!(
        "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>{name}</mechanism>\
         </mechanisms><register xmlns='http://jabber.org/features/iq-register'/></stream:features>"
    )
}

/// All states of a client stream, in the order of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Header,
    Features,
    Proceed,
    Handshake,
    FeaturesInsideTls,
    Challenge,
    Success,
    Form,
    Account,
    FeaturesLoggedIn,
    Bound,
    Open,
    Closed,
}

const ALL_STATES: [At; 13] = [
    At::Header,
    At::Features,
    At::Proceed,
    At::Handshake,
    At::FeaturesInsideTls,
    At::Challenge,
    At::Success,
    At::Form,
    At::Account,
    At::FeaturesLoggedIn,
    At::Bound,
    At::Open,
    At::Closed,
];

struct Scripted {
    now: Instant,
    stream: ClientStream,
}

impl Scripted {
    fn at(state: At) -> Self {
        let now = Instant::now();
        let mut scripted = Self {
            now,
            stream: ClientStream::new(client_config(), Seed::new([1; 32]), now),
        };
        scripted.summary();
        scripted.advance_to(state);
        scripted
    }

    fn advance_to(&mut self, state: At) {
        match state {
            At::Header => {}
            At::Features => self.after(At::Header, HEADER),
            At::Proceed => self.after(At::Features, TLS),
            At::Handshake => self.after(At::Proceed, PROCEED),
            At::FeaturesInsideTls => {
                self.advance_to(At::Handshake);
                self.stream.tls_established(None, self.now);
                self.say(HEADER);
            }
            At::Challenge => self.after(At::FeaturesInsideTls, &mechanisms("SCRAM-SHA-256")),
            At::Success => self.after(At::FeaturesInsideTls, &mechanisms("PLAIN")),
            At::Form => self.after(At::Success, FAILURE),
            At::Account => self.after(At::Form, FORM),
            At::FeaturesLoggedIn => {
                self.after(At::Success, SUCCESS);
                self.say(HEADER);
            }
            At::Bound => self.after(At::FeaturesLoggedIn, BIND),
            At::Open => self.after(At::Bound, BOUND),
            At::Closed => self.after(At::Header, "</x>"),
        }
    }

    fn after(&mut self, state: At, text: &str) {
        self.advance_to(state);
        self.say(text);
    }

    fn say(&mut self, text: &str) -> String {
        self.stream.receive(text.as_bytes(), self.now);
        self.summary()
    }

    fn summary(&mut self) -> String {
        let outputs: Vec<ClientOutput> = std::iter::from_fn(|| self.stream.poll_output()).collect();
        let parts: Vec<String> = outputs.into_iter().map(describe).collect();
        parts.join(" ")
    }
}

fn describe(output: ClientOutput) -> String {
    match output {
        Output::Write(bytes) => describe_text(std::str::from_utf8(&bytes).unwrap()),
        Output::StartTls => "tls".into(),
        Output::Event(ClientEvent::LoggedIn { .. }) => "in".into(),
        Output::Event(ClientEvent::Deliver(stanza)) => format!("deliver-{}", stanza.name()),
        Output::Event(ClientEvent::Pong { is_error, .. }) => format!("pong-{is_error}"),
        Output::Event(ClientEvent::Roster(items)) => format!("roster-{}", items.len()),
        Output::Event(ClientEvent::RosterChanged(items)) => format!("roster-changed-{}", items.len()),
        Output::Close(end) => format!("{end:?}"),
    }
}

/// The first tag's name, and `-error` for an iq of that type.
fn describe_text(text: &str) -> String {
    if text == "</stream:stream>" {
        return "footer".into();
    }
    let text = text.trim_start_matches("<?xml version='1.0'?>").trim_start_matches('<');
    let name: String = text.chars().take_while(|c| c.is_alphabetic() || *c == ':').collect();
    let error = if text.contains("type='error'") { "-error" } else { "" };
    format!("{name}{error}")
}

/// What the client does in each state, in the order of `ALL_STATES`; `None` stands for "left as unexpected".
fn assert_row(input: &str, name: &str, expected: [Option<&str>; 13]) {
    let unexpected = format!("footer Unexpected({name:?})");
    for (state, expected) in ALL_STATES.into_iter().zip(expected) {
        let outcome = Scripted::at(state).say(input);

        assert_eq!(outcome, expected.unwrap_or(&unexpected), "{input} in {state:?}");
    }
}

/// The row of an input that is expected in one state only.
fn only(at: At, outcome: &str) -> [Option<&str>; 13] {
    ALL_STATES.map(|state| match state {
        _ if state == at => Some(outcome),
        At::Header => Some("stream:error Fault(Codec(NotAStreamNamespace))"),
        At::Handshake => Some("Fault(InjectedBeforeTls)"),
        At::Closed => Some(""),
        _ => None,
    })
}

#[test]
fn proceed_is_expected_after_starttls_only() {
    assert_row(PROCEED, "proceed", only(At::Proceed, "tls"));
}

#[test]
fn challenge_is_expected_in_scram_only() {
    assert_row(
        CHALLENGE,
        "challenge",
        only(At::Challenge, "footer Impostor(Malformed)"),
    );
}

#[test]
fn success_without_proof_is_expected_after_plain_only() {
    assert_row(SUCCESS, "success", only(At::Success, "stream:stream"));
}

#[test]
fn refused_login_leads_to_registration() {
    let mut expected = only(At::Success, "iq");
    expected[5] = Some("iq");
    assert_row(FAILURE, "failure", expected);
}

#[test]
fn form_is_filled_where_it_was_asked_for() {
    let mut expected = only(At::Form, "iq");
    expected[11] = Some("");
    assert_row(FORM, "iq", expected);
}

#[test]
fn resource_is_taken_where_it_was_asked_for() {
    let mut expected = only(At::Bound, "iq in");
    expected[11] = Some("");
    assert_row(BOUND, "iq", expected);
}

#[test]
fn messages_and_presence_are_delivered_after_login_only() {
    for name in ["message", "presence"] {
        let delivered = format!("deliver-{name}");
        assert_row(&format!("<{name}/>"), name, only(At::Open, &delivered));
    }
}

#[test]
fn unknown_elements_are_never_expected() {
    assert_row("<bogus/>", "bogus", only(At::Closed, ""));
    assert_row("<x xmlns='urn:x'/>", "x", only(At::Closed, ""));
}

#[test]
fn features_mean_what_the_state_makes_of_them() {
    let open = |at: At| Scripted::at(at);

    assert_eq!(open(At::Features).say(TLS), "starttls");
    assert_eq!(open(At::FeaturesInsideTls).say(&mechanisms("PLAIN")), "auth");
    assert_eq!(open(At::FeaturesInsideTls).say(TLS), "footer NoMechanism");
    assert_eq!(open(At::FeaturesLoggedIn).say(BIND), "iq");
    assert_eq!(open(At::Features).say(BIND), "footer NoTls");
    for state in [
        At::Proceed,
        At::Challenge,
        At::Success,
        At::Form,
        At::Account,
        At::Bound,
        At::Open,
    ] {
        let outcome = open(state).say("<stream:features/>");
        assert_eq!(outcome, "footer Unexpected(\"features\")", "{state:?}");
    }
}

#[test]
fn requests_of_the_server_are_answered() {
    for (iq, expected) in [
        (
            "<iq type='get' id='1' from='sat.test'><ping xmlns='urn:xmpp:ping'/></iq>",
            "iq",
        ),
        (
            "<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='a@b/c'/></query></iq>",
            "iq roster-changed-1",
        ),
        (
            "<iq type='set' id='1' from='u@sat.test/osad'><query xmlns='jabber:iq:roster'/></iq>",
            "iq roster-changed-0",
        ),
        (
            "<iq type='set' id='1' from='stranger@sat.test'><query xmlns='jabber:iq:roster'/></iq>",
            "iq-error",
        ),
        (
            "<iq type='get' id='1'><query xmlns='jabber:iq:version'/></iq>",
            "iq-error",
        ),
        ("<iq type='set' id='1'><ping xmlns='urn:xmpp:ping'/></iq>", "iq-error"),
        (
            &format!(
                "<iq type='get' id='{}' from='stranger@sat.test/x'><x/></iq>",
                "&apos;".repeat(1_025)
            ),
            "",
        ),
        (
            "<iq type='result' id='roster' from='sat.test'><query xmlns='jabber:iq:roster'><item jid='a@b'/><item/></query></iq>",
            "roster-1",
        ),
        (
            "<iq type='result' id='roster' from='stranger@sat.test/x'><query xmlns='jabber:iq:roster'/></iq>",
            "",
        ),
        ("<iq type='error' id='roster'/>", "roster-0"),
        ("<iq id='1'/>", ""),
    ] {
        assert_eq!(Scripted::at(At::Open).say(iq), expected, "{iq}");
    }
}

#[test]
fn registration_and_binding_can_be_refused() {
    for (state, iq, end) in [
        (
            At::Form,
            "<iq type='error' id='register-get'/>",
            "RegistrationRefused(Remark(\"\"))",
        ),
        (
            At::Form,
            "<iq type='result' id='register-get'><query xmlns='jabber:iq:register'><key/></query></iq>",
            "RegistrationRefused(Remark(\"\"))",
        ),
        (
            At::Account,
            "<iq type='error' id='register-set'><error code='405'/></iq>",
            "RegistrationRefused(Remark(\"error 405\"))",
        ),
        (
            At::Account,
            "<iq type='error' id='register-set'><error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
            "CredentialsTaken",
        ),
        (At::Bound, "<iq type='error' id='bind'/>", "BindRefused"),
        (At::Bound, "<iq type='result' id='bind'/>", "BindRefused"),
    ] {
        assert_eq!(Scripted::at(state).say(iq), format!("footer {end}"), "{iq}");
    }
}

#[test]
fn registered_account_logs_in_once_and_never_registers_again() {
    let mut client = Scripted::at(At::Account);

    assert_eq!(client.say("<iq type='result' id='register-set'/>"), "auth");
    assert_eq!(client.say(FAILURE), "footer NotAuthorized");
}

#[test]
fn server_may_end_the_stream_in_every_state() {
    let error = "<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
    for state in ALL_STATES {
        let (ended, closed) = (
            Scripted::at(state).say(error),
            Scripted::at(state).say("</stream:stream>"),
        );

        match state {
            At::Header => assert!(ended.contains("UndeclaredPrefix") && closed.contains("NotWellFormed")),
            At::Handshake => assert_eq!(
                (ended.as_str(), closed.as_str()),
                ("Fault(InjectedBeforeTls)", "Fault(InjectedBeforeTls)")
            ),
            At::Closed => assert_eq!((ended.as_str(), closed.as_str()), ("", "")),
            _ => {
                assert_eq!(
                    ended, "footer ServerEnded(SystemShutdown, Remark(\"system-shutdown\"))",
                    "{state:?}"
                );
                assert_eq!(closed, "footer ClosedByServer", "{state:?}");
            }
        }
    }
}

#[test]
fn login_deadline_does_not_move_until_the_login_is_done() {
    for state in ALL_STATES {
        let mut client = Scripted::at(state);
        client.now += Duration::from_secs(60);
        client.stream.handle_deadline(client.now);

        let expected = match state {
            At::Handshake => "LoginTimeout",
            At::Open | At::Closed => "",
            _ => "footer LoginTimeout",
        };
        assert_eq!(client.summary(), expected, "{state:?}");
    }
}

#[test]
fn account_just_made_at_a_server_with_nothing_but_plain_logs_in_without_sasl() {
    for (feature, then) in [
        ("<auth xmlns='http://jabber.org/features/iq-auth'/>", "iq"),
        ("", "auth"),
    ] {
        let mut client = Scripted::at(At::FeaturesInsideTls);
        let features = mechanisms("PLAIN").replace("<register", &format!("{feature}<register"));
        assert_eq!(client.say(&features), "auth", "there may be an account");
        client.say(FAILURE);
        client.say(FORM);

        assert_eq!(client.say("<iq type='result' id='register-set'/>"), then);
    }
}

#[test]
fn white_space_keeps_an_open_stream_alive() {
    let mut client = Scripted::at(At::Open);
    for _ in 0..10 {
        client.now += Duration::from_secs(60);
        client.say(" ");
        client.stream.handle_deadline(client.now + Duration::from_secs(74));
    }

    assert!(client.stream.is_open());
    client.stream.handle_deadline(client.now + Duration::from_secs(90));
    assert_eq!(client.summary(), "footer Silent", "who spoke in time was never asked");
}

#[test]
fn server_that_sends_no_white_space_is_asked_for_a_sign_of_life() {
    let mut client = Scripted::at(At::Open);
    for answer in ["<iq type='result' id='ping'/>", "<iq type='error' id='ping'/>", " "] {
        client.now += Duration::from_secs(75);
        assert_eq!(client.stream.next_deadline(), Some(client.now));
        client.stream.handle_deadline(client.now);
        client.stream.handle_deadline(client.now + Duration::from_secs(14));
        let ping = "<iq type='get' id='ping' to='sat.test'><ping xmlns='urn:xmpp:ping'/></iq>";
        assert_eq!(client.stream.poll_output(), Some(Output::Write(ping.into())));
        assert_eq!(client.stream.poll_output(), None, "asked once");
        client.say(answer);
    }

    client.stream.handle_deadline(client.now + Duration::from_secs(75));
    client.summary();
    client.stream.handle_deadline(client.now + Duration::from_secs(90));
    assert_eq!(client.summary(), "footer Silent");
}

#[test]
fn header_without_version_or_of_a_later_one_is_refused() {
    for (version, end) in [
        ("", "footer NoTls"),
        (" version='2.0'", "footer Fault(UnsupportedVersion)"),
    ] {
        let header = HEADER.replace(" version='1.0'>", &format!("{version}>"));

        assert_eq!(Scripted::at(At::Header).say(&header), end);
    }
}

#[test]
fn forbidden_markup_of_the_server_ends_the_stream() {
    let deep = "<a>".repeat(20);
    for (input, fault) in [
        ("<!-- -->", "Restricted"),
        (deep.as_str(), "TooDeep { limit: 16 }"),
        ("x", "TextBetweenStanzas"),
    ] {
        let outcome = Scripted::at(At::Open).say(input);

        assert_eq!(outcome, format!("stream:error Fault(Codec({fault}))"));
    }
}

#[test]
fn bytes_behind_proceed_end_the_stream_before_tls_begins() {
    let outcome = Scripted::at(At::Proceed).say(&format!("{PROCEED} "));

    assert_eq!(outcome, "footer Fault(InjectedBeforeTls)");
}

#[test]
fn server_may_send_more_once_the_client_is_logged_in() {
    let message = format!("<message><b>{}</b></message>", "x".repeat(11_000));

    assert_eq!(Scripted::at(At::Open).say(&message), "deliver-message");
    assert_eq!(
        Scripted::at(At::Success).say(&message),
        "stream:error Fault(Codec(TooLong { limit: 10000 }))"
    );
}
