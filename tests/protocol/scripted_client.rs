//! A server stream in any of its states, and a short way to write down what it does.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use osa::domain::secret::Secret;
use osa::protocol::sasl::plain_message;
use osa::protocol::stream::server::{
    Answer, ClientActivity, Question, QuestionToken, ServerConfig, ServerEnd, ServerEvent, ServerOutput, ServerStream,
};
use osa::protocol::stream::{Output, Seed};

use crate::pair::{PASSWORD, USER, server_config, verifiers};

pub const HEADER: &str = "<?xml version='1.0' encoding='UTF-8'?><stream:stream to='sat.test' xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
pub const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls' />";
pub const BIND: &str = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
    <resource>osad</resource></bind></iq>";
/// `n,,n=osad-0123456789,r=abc`
pub const SCRAM: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256'>\
    biwsbj1vc2FkLTAxMjM0NTY3ODkscj1hYmM=</auth>";
pub const REGISTER: &str = "<iq type='set' id='r'><query xmlns='jabber:iq:register'><instructions>hi</instructions>\
    <username>osad-0123456789</username><password>0123456789abcdef0123</password></query></iq>";

/// All states of a server stream, in the order of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Header,
    StartTls,
    Handshake,
    HeaderInsideTls,
    Login,
    InitialResponse,
    AwaitVerifiers,
    Response,
    AwaitAccount,
    HeaderLoggedIn,
    Bind,
    Open,
    Closed,
}

pub const ALL_STATES: [At; 13] = [
    At::Header,
    At::StartTls,
    At::Handshake,
    At::HeaderInsideTls,
    At::Login,
    At::InitialResponse,
    At::AwaitVerifiers,
    At::Response,
    At::AwaitAccount,
    At::HeaderLoggedIn,
    At::Bind,
    At::Open,
    At::Closed,
];

pub fn plain(password: &str) -> String {
    let message = STANDARD.encode(plain_message(USER, &Secret::new(password)));
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{message}</auth>")
}

pub struct Scripted {
    pub now: Instant,
    pub stream: ServerStream,
    pub last_token: Option<QuestionToken>,
}

impl Scripted {
    pub fn new(config: ServerConfig) -> Self {
        let now = Instant::now();
        Self {
            now,
            stream: ServerStream::new(Arc::new(config), Seed::new([4; 32]), now),
            last_token: None,
        }
    }

    pub fn at(state: At) -> Self {
        Self::at_with(state, server_config())
    }

    pub fn at_with(state: At, config: ServerConfig) -> Self {
        let mut scripted = Self::new(config);
        scripted.advance_to(state);
        scripted
    }

    fn advance_to(&mut self, state: At) {
        match state {
            At::Header => {}
            At::StartTls => drop(self.after(At::Header, HEADER)),
            At::Handshake => drop(self.after(At::StartTls, STARTTLS)),
            At::HeaderInsideTls => {
                self.advance_to(At::Handshake);
                self.stream.tls_established(Some([6; 32]), self.now);
            }
            At::Login => drop(self.after(At::HeaderInsideTls, HEADER)),
            At::InitialResponse => {
                let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>";
                self.after(At::Login, auth);
            }
            At::AwaitVerifiers => drop(self.after(At::Login, SCRAM)),
            At::Response => {
                self.advance_to(At::AwaitVerifiers);
                self.answer(Answer::Verifiers(Some(Box::new(verifiers(PASSWORD)))));
            }
            At::AwaitAccount => drop(self.after(At::Login, REGISTER)),
            At::HeaderLoggedIn => {
                self.after(At::Login, &plain(PASSWORD));
                self.answer(Answer::Verifiers(Some(Box::new(verifiers(PASSWORD)))));
            }
            At::Bind => drop(self.after(At::HeaderLoggedIn, HEADER)),
            At::Open => drop(self.after(At::Bind, BIND)),
            At::Closed => drop(self.after(At::Header, "</x>")),
        }
    }

    fn after(&mut self, state: At, text: &str) -> String {
        self.advance_to(state);
        self.say(text)
    }

    /// Feeds text; what the server does, in short.
    pub fn say(&mut self, text: &str) -> String {
        self.stream.receive(text.as_bytes(), self.now);
        self.summary()
    }

    pub fn answer(&mut self, answer: Answer) -> String {
        self.stream.answer(self.last_token.unwrap(), answer, self.now);
        self.summary()
    }

    pub fn outputs(&mut self) -> Vec<ServerOutput> {
        std::iter::from_fn(|| self.stream.poll_output()).collect()
    }

    /// What was written, verbatim.
    pub fn text(&mut self) -> String {
        self.outputs()
            .into_iter()
            .filter_map(|output| match output {
                Output::Write(bytes) => Some(String::from_utf8(bytes).unwrap()),
                _ => None,
            })
            .collect()
    }

    pub fn summary(&mut self) -> String {
        let parts: Vec<String> = self.outputs().into_iter().map(|output| self.describe(output)).collect();
        parts.join(" ")
    }

    fn describe(&mut self, output: ServerOutput) -> String {
        match output {
            Output::Write(bytes) => describe_text(std::str::from_utf8(&bytes).unwrap()),
            Output::StartTls => "tls".into(),
            Output::Event(ServerEvent::Ask(token, question)) => {
                self.last_token = Some(token);
                match question {
                    Question::Verifiers(_) => "ask-verifiers".into(),
                    Question::CreateAccount { .. } => "ask-account".into(),
                }
            }
            Output::Event(ServerEvent::LoggedIn(_)) => "in".into(),
            Output::Event(ServerEvent::Client(ClientActivity::Available(_))) => "available".into(),
            Output::Event(ServerEvent::Client(ClientActivity::Unavailable)) => "unavailable".into(),
            Output::Event(ServerEvent::Client(ClientActivity::Message(_))) => "message".into(),
            Output::Close(ServerEnd::ClosedByClient) => "end".into(),
            Output::Close(ServerEnd::ClientFault(_)) => "end-by-client".into(),
            Output::Close(ServerEnd::Fault(_)) => "end-by-us".into(),
        }
    }
}

/// Names every element that begins in `text` at the outermost level, errors by their condition.
fn describe_text(text: &str) -> String {
    let inside = format!(
        "<r xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>{}</r>",
        text.replace("<?xml version='1.0'?>", "")
            .replace("<stream:stream ", "<header/><ignored ")
            .replace("</stream:stream>", "<footer/>")
            .replace("version='1.0'>", "version='1.0'/>")
    );
    let root: minidom::Element = inside.parse().unwrap();
    let names = root
        .children()
        .filter(|child| child.name() != "ignored")
        .map(describe_element);
    names.collect::<Vec<_>>().join(" ")
}

fn describe_element(element: &minidom::Element) -> String {
    let condition = |parent: &minidom::Element| parent.children().next().unwrap().name().to_owned();
    match (element.name(), element.attr("type")) {
        ("error" | "failure", _) => condition(element),
        ("iq" | "message" | "presence", Some("error")) => {
            let error = element.children().next().unwrap();
            format!("{}:{}", condition(error), error.attr("code").unwrap())
        }
        ("iq" | "presence", Some(kind)) => kind.to_owned(),
        (name, _) => name.to_owned(),
    }
}
