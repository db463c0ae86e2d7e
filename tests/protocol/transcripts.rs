//! Recorded streams of the existing agent and dispatcher over jabberd2, replayed: what the clients sent goes into our
//! server, what their server sent into our client, with the stream ids, accounts and passwords they had.

mod cuts;
mod follower;
mod reactions;
mod served;
mod stream_cases;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use minidom::Element;
use osa::domain::ids::{ClientName, RequestNumber, SystemId};
use osa::domain::push::client::{AgentKind, Client, ClientEvent};
use osa::domain::secret::Secret;
use osa::domain::time::Timestamp;
use osa::protocol::osa::dispatcher_talk::{self, DispatcherTalk, Question as RowQuestion};
use osa::protocol::sasl::Verifiers;
use osa::protocol::stream::client::{ClientConfig, ClientEnd, ClientEvent as AgentEvent, ClientStream};
use osa::protocol::stream::server::{
    Answer, ClientActivity, Question, ServerConfig, ServerEnd, ServerEvent, ServerStream,
};
use osa::protocol::stream::{Output, Seed};

use crate::pair::verifiers;
use cuts::{CUTS, Cut};

const FIRST: &str = include_str!("transcripts/01-client-first-session.txt");
const RETURNING: &str = include_str!("transcripts/02-client-returning-session.txt");
const DISPATCHER: &str = include_str!("transcripts/03-dispatcher-session.txt");

const DOMAIN: &str = "satellite.test";
const DISPATCHER_JID: &str = "rhn-dispatcher-sat@satellite.test/superclient";
const CLIENT_NAME: &str = "000000003b9af111";
const SHARED_KEY: &str = "000000000000000000000000562f57d912ac6111";

/// An account of the recordings.
struct Recorded {
    text: &'static str,
    username: &'static str,
    resource: &'static str,
    password: &'static str,
}

const AGENT_FIRST: Recorded = Recorded {
    text: FIRST,
    username: "osad-0123456789",
    resource: "osad",
    password: "test-client-password",
};
const AGENT_RETURNING: Recorded = Recorded {
    text: RETURNING,
    ..AGENT_FIRST
};
const DISPATCHER_SESSION: Recorded = Recorded {
    text: DISPATCHER,
    username: "rhn-dispatcher-sat",
    resource: "superclient",
    password: "DispatcherTestPassword0123456789",
};

impl Recorded {
    /// What one side (`C` or `S`) sent, line by line.
    fn lines(&self, side: char) -> Vec<&'static str> {
        let marker = format!("] {side}: ");
        let lines = self.text.lines().filter(|line| line.starts_with('['));
        lines
            .filter_map(|line| line.split_once(&marker))
            .map(|(_, sent)| sent)
            .collect()
    }

    /// The same in two parts: in the clear, and inside TLS.
    fn parts(&self, side: char) -> (Vec<&'static str>, Vec<&'static str>) {
        let mut clear = self.lines(side);
        let last_in_the_clear = clear
            .iter()
            .position(|line| line.contains("xmpp-tls' />") || line.contains("<proceed"));
        let secure = clear.split_off(last_in_the_clear.unwrap() + 1);
        (clear, secure)
    }

    fn stream_ids(&self) -> Vec<&'static str> {
        let headers = self
            .lines('S')
            .into_iter()
            .filter(|line| line.contains("<stream:stream"));
        headers.map(|header| between(header, " id='", "'")).collect()
    }

    fn jid(&self) -> String {
        format!("{}@{DOMAIN}/{}", self.username, self.resource)
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    text.split_once(before).unwrap().1.split_once(after).unwrap().0
}

/// What an account keeps of its password. Made once: it takes a while, and is the same in every replay.
fn kept(password: &str) -> Verifiers {
    static KEPT: Mutex<BTreeMap<String, Verifiers>> = Mutex::new(BTreeMap::new());
    let mut kept = KEPT.lock().unwrap();
    let made = kept
        .entry(password.to_owned())
        .or_insert_with(|| verifiers(password).with_password(Secret::new(password)));
    made.clone()
}

/// Our server with one recorded client.
struct Replay {
    server: ServerStream,
    accounts: BTreeMap<String, Verifiers>,
    /// What the server did, in the order in which it did it.
    trace: Vec<String>,
    messages: Vec<Element>,
    text: String,
    wants_tls: bool,
}

impl Replay {
    fn new(recorded: &Recorded) -> Self {
        let seed = Seed::new([4; 32]).replaying(&recorded.stream_ids());
        let mut config = ServerConfig::new(DOMAIN, [9; 32]);
        if DISPATCHER_JID.starts_with(recorded.username) {
            // A dispatcher that connects to us is a client like others; the name of ours would be refused.
            config.dispatcher = format!("another-dispatcher@{DOMAIN}");
        }
        let config = Arc::new(config);
        let mut replay = Self {
            server: ServerStream::new(config, seed, Instant::now()),
            accounts: BTreeMap::new(),
            trace: Vec::new(),
            messages: Vec::new(),
            text: String::new(),
            wants_tls: false,
        };
        if !recorded.text.contains("code='401'") {
            replay.create(recorded.username, recorded.password);
        }
        replay
    }

    fn create(&mut self, username: &str, password: &str) {
        self.accounts.insert(username.to_owned(), kept(password));
    }

    fn feed(&mut self, cut: &Cut, lines: &[impl AsRef<str>]) {
        for piece in &cut.pieces(lines) {
            self.server.receive(piece, Instant::now());
            while let Some(output) = self.server.poll_output() {
                match output {
                    Output::Write(bytes) => self.text.push_str(std::str::from_utf8(&bytes).unwrap()),
                    Output::StartTls => self.wants_tls = true,
                    Output::Event(event) => self.handle(event),
                    Output::Close(ServerEnd::ClosedByClient) => self.trace.push("closed".into()),
                    Output::Close(other) => panic!("{other:?} after {:?}", self.trace),
                }
            }
        }
    }

    fn handle(&mut self, event: ServerEvent) {
        match event {
            ServerEvent::Ask(token, Question::Verifiers(name)) => {
                self.trace.push(format!("looked up {}", name.as_str()));
                let answer = Answer::Verifiers(self.accounts.get(name.as_str()).cloned().map(Box::new));
                self.server.answer(token, answer, Instant::now());
            }
            ServerEvent::Ask(token, Question::CreateAccount { username, password }) => {
                self.trace.push(format!("created {}", username.as_str()));
                self.create(username.as_str(), password.expose());
                self.server.answer(token, Answer::Created, Instant::now());
            }
            ServerEvent::LoggedIn(jid) => self.trace.push(format!("logged in {jid}")),
            ServerEvent::Client(ClientActivity::Available(_)) => self.trace.push("available".into()),
            ServerEvent::Client(ClientActivity::Unavailable) => self.trace.push("unavailable".into()),
            ServerEvent::Client(ClientActivity::Message(message)) => {
                let signed = message.children().next().unwrap();
                self.trace.push(format!("message {}", signed.attr("serial").unwrap()));
                self.messages.push(message);
            }
        }
    }
}

fn replay(recorded: &Recorded, cut: &Cut) -> Replay {
    let mut replay = Replay::new(recorded);
    let (clear, secure) = recorded.parts('C');
    replay.feed(cut, &clear);
    assert!(replay.wants_tls);
    replay.server.tls_established(None, Instant::now());
    replay.feed(cut, &secure);
    replay
}

const FIRST_TRACE: [&str; 10] = [
    "looked up osad-0123456789",
    "created osad-0123456789",
    "looked up osad-0123456789",
    "looked up osad-0123456789",
    "logged in osad-0123456789@satellite.test/osad",
    "available",
    "message 5451e0-6",
    "message 5451e0-7",
    "message 5451e0-8",
    "unavailable",
];
const RETURNING_TRACE: [&str; 6] = [
    "looked up osad-0123456789",
    "looked up osad-0123456789",
    "logged in osad-0123456789@satellite.test/osad",
    "available",
    "message 7927b9-3",
    "unavailable",
];
/// What an existing dispatcher sends to its clients reaches nobody: no client reaches another.
const DISPATCHER_TRACE: [&str; 7] = [
    "looked up rhn-dispatcher-sat",
    "created rhn-dispatcher-sat",
    "looked up rhn-dispatcher-sat",
    "looked up rhn-dispatcher-sat",
    "logged in rhn-dispatcher-sat@satellite.test/superclient",
    "available",
    "unavailable",
];

fn recordings() -> [(Recorded, &'static [&'static str]); 3] {
    [
        (AGENT_FIRST, &FIRST_TRACE),
        (AGENT_RETURNING, &RETURNING_TRACE),
        (DISPATCHER_SESSION, &DISPATCHER_TRACE),
    ]
}

fn assert_followed(replay: &Replay, trace: &[&str]) {
    let (last, before) = replay.trace.split_last().unwrap();
    assert_eq!(last, "closed");
    assert_eq!(before, trace);
}

fn our_server_follows_recorded_clients(cut: &Cut) {
    for (recorded, trace) in recordings() {
        assert_followed(&replay(&recorded, cut), trace);
    }
}

#[test]
fn our_server_follows_recorded_clients_whole_line_by_line_and_byte_by_byte() {
    CUTS.iter().for_each(our_server_follows_recorded_clients);
}

#[test]
fn what_our_server_answers_is_what_the_recorded_client_looks_at() {
    let replay = replay(&AGENT_FIRST, &Cut::Whole);

    for needed in [
        // Pre-TLS, and the login's form with its digest.
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'>",
        "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        "<digest/>",
        // The numeric code that makes it register.
        "<error code='401'",
        "<instructions>",
        "<iq type='result' id='auth-set-5451e0-2'/>",
        "<item jid='rhn-dispatcher-sat@satellite.test' subscription='both'/>",
        "<presence type='subscribed' from='rhn-dispatcher-sat@satellite.test' \
         to='osad-0123456789@satellite.test/osad' id='presence-5451e0-4'/>",
        "<presence from='rhn-dispatcher-sat@satellite.test/superclient' to='osad-0123456789@satellite.test/osad'/>",
    ] {
        assert!(replay.text.contains(needed), "{needed} is not in {}", replay.text);
    }
    let own = "from='osad-0123456789@satellite.test/osad'";
    assert!(
        !replay.text.contains(own),
        "its own presence is not reflected: {}",
        replay.text
    );
    assert!(!replay.text.contains("409"));
}

#[test]
fn recorded_digest_of_another_stream_opens_no_session() {
    let mut replay = Replay::new(&AGENT_RETURNING);
    let seed = Seed::new([4; 32]).replaying(&["first", "another"]);
    let config = Arc::new(ServerConfig::new(DOMAIN, [9; 32]));
    replay.server = ServerStream::new(config, seed, Instant::now());
    let lines = AGENT_RETURNING.lines('C');
    for line in lines.iter().take(5) {
        replay.feed(&Cut::Whole, &[line]);
        if std::mem::take(&mut replay.wants_tls) {
            replay.server.tls_established(None, Instant::now());
        }
    }

    assert!(!replay.server.is_open());
    assert!(replay.text.contains("code='403'"), "{}", replay.text);
}

/// The answers of recorded agents are taken as answers to the requests before them.
#[test]
fn recorded_answers_settle_requests_and_pings() {
    let check_in = |number| ClientEvent::Accepted(RequestNumber(number));
    for (recorded, expected) in [
        (AGENT_FIRST, vec![check_in(1), check_in(2), ClientEvent::Ponged]),
        (AGENT_RETURNING, vec![check_in(1)]),
    ] {
        let row = Client {
            system: SystemId(1_000_010_000),
            name: ClientName(CLIENT_NAME.into()),
            shared_key: Secret::new(SHARED_KEY),
            jid: recorded.jid(),
            announced: false,
        };
        // A day after the recording: existing agents' clocks are often wrong, and their drift was never enforced.
        let now = Timestamp::from_secs(1_795_336_465 + 86_400);
        let mut talk = DispatcherTalk::new(Arc::from(DISPATCHER_JID), &recorded.jid(), 1);
        talk.handle_presence(now, &Element::bare("presence", "jabber:client"));
        talk.handle_client(now, &RowQuestion::ClientByJid(recorded.jid()), Some(row.clone()));
        let mut number = 0;
        for request in recorded
            .lines('S')
            .into_iter()
            .filter(|line| line.contains("/message/request/"))
        {
            if request.contains("/checkin") {
                number += 1;
                talk.request(now, RequestNumber(number), &row).unwrap();
            } else {
                talk.ping(now, &row).unwrap();
            }
        }
        for message in replay(&recorded, &Cut::Whole).messages {
            talk.handle_message(now, &message);
        }

        let outputs: Vec<_> = std::iter::from_fn(|| talk.poll_output()).collect();
        let heard: Vec<ClientEvent> = outputs
            .iter()
            .filter_map(|output| match output {
                dispatcher_talk::Output::Event(_, event) => Some(event.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(heard, expected, "{outputs:?}");
        assert!(outputs.iter().any(|output| matches!(
            output,
            dispatcher_talk::Output::Pushable {
                kind: AgentKind::Existing,
                ..
            }
        )));
    }
}
