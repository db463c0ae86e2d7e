//! A client and a server in memory, with a network that cuts bytes anywhere and a small store of accounts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use osa::domain::secret::Secret;
use osa::protocol::roster::RosterItem;
use osa::protocol::sasl::{Salts, TlsExporter, Verifiers};
use osa::protocol::stream::client::{ClientConfig, ClientEnd, ClientEvent, ClientOutput, ClientStream};
use osa::protocol::stream::server::{
    Answer, Question, ServerConfig, ServerEnd, ServerEvent, ServerOutput, ServerStream,
};
use osa::protocol::stream::{Output, Seed};

pub const DOMAIN: &str = "sat.test";
pub const USER: &str = "osad-0123456789";
pub const PASSWORD: &str = "0123456789abcdef0123";

pub fn verifiers(password: &str) -> Verifiers {
    let salts = Salts {
        sha256: [1; 16],
        sha1: [2; 16],
        fast: Some([3; 16]),
    };
    Verifiers::derive(&Secret::new(password), &salts, 4_096).unwrap()
}

pub fn server_config() -> ServerConfig {
    ServerConfig::new(DOMAIN, [9; 32])
}

pub fn client_config() -> ClientConfig {
    ClientConfig::new(DOMAIN, USER, Secret::new(PASSWORD))
}

/// What the network does to text on its way.
pub type Rewrite = fn(String) -> String;

pub struct Pair {
    pub now: Instant,
    pub server: ServerStream,
    pub client: ClientStream,
    pub accounts: BTreeMap<String, Verifiers>,
    pub server_exporter: Option<TlsExporter>,
    pub client_exporter: Option<TlsExporter>,
    /// Changes what the server says on its way to the client.
    pub rewrite: Rewrite,
    /// Sizes of the pieces the network delivers, in turn.
    pub pieces: Vec<usize>,
    pub server_events: Vec<ServerEvent>,
    pub client_events: Vec<ClientEvent>,
    /// The roster that the client was shown.
    pub roster: Option<Vec<RosterItem>>,
    pub server_end: Option<ServerEnd>,
    pub client_end: Option<ClientEnd>,
    /// All that the server wrote, one entry per write.
    pub server_writes: Vec<String>,
    /// All that the client wrote.
    pub client_text: String,
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    server_wants_tls: bool,
    client_wants_tls: bool,
    turns: usize,
}

impl Pair {
    pub fn new(server: ServerConfig, client: ClientConfig) -> Self {
        let now = Instant::now();
        Self {
            now,
            server: ServerStream::new(Arc::new(server), Seed::new([4; 32]), now),
            client: ClientStream::new(client, Seed::new([5; 32]), now),
            accounts: BTreeMap::new(),
            server_exporter: Some([6; 32]),
            client_exporter: Some([6; 32]),
            rewrite: |text| text,
            pieces: vec![usize::MAX],
            server_events: Vec::new(),
            client_events: Vec::new(),
            roster: None,
            server_end: None,
            client_end: None,
            server_writes: Vec::new(),
            client_text: String::new(),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            server_wants_tls: false,
            client_wants_tls: false,
            turns: 0,
        }
    }

    pub fn usual() -> Self {
        Self::new(server_config(), client_config())
    }

    pub fn with_account(mut self) -> Self {
        self.accounts.insert(USER.into(), verifiers(PASSWORD));
        self
    }

    /// Runs until nobody has anything to say.
    pub fn run(&mut self) {
        loop {
            let acted = self.perform_server() | self.perform_client() | self.start_tls();
            let delivered = self.deliver();
            if !acted && !delivered {
                return;
            }
        }
    }

    fn deliver(&mut self) -> bool {
        self.turns += 1;
        let size = self.pieces[self.turns % self.pieces.len()].max(1);
        let to_server: Vec<u8> = self.to_server.drain(..size.min(self.to_server.len())).collect();
        let to_client: Vec<u8> = self.to_client.drain(..size.min(self.to_client.len())).collect();
        self.server.receive(&to_server, self.now);
        self.client.receive(&to_client, self.now);
        !to_server.is_empty() || !to_client.is_empty()
    }

    fn start_tls(&mut self) -> bool {
        if !(self.server_wants_tls && self.client_wants_tls) {
            return false;
        }
        (self.server_wants_tls, self.client_wants_tls) = (false, false);
        self.server.tls_established(self.server_exporter, self.now);
        self.client.tls_established(self.client_exporter, self.now);
        true
    }

    fn perform_server(&mut self) -> bool {
        let mut acted = false;
        while let Some(output) = self.server.poll_output() {
            acted = true;
            self.perform_server_output(output);
        }
        acted
    }

    fn perform_server_output(&mut self, output: ServerOutput) {
        match output {
            Output::Write(bytes) => {
                let text = String::from_utf8(bytes).unwrap();
                self.to_client.extend((self.rewrite)(text.clone()).bytes());
                self.server_writes.push(text);
            }
            Output::StartTls => self.server_wants_tls = true,
            Output::Event(ServerEvent::Ask(token, question)) => {
                let answer = self.answer(&question);
                self.server_events.push(ServerEvent::Ask(token, question));
                self.server.answer(token, answer, self.now);
            }
            Output::Event(event) => self.server_events.push(event),
            Output::Close(end) => self.server_end = Some(end),
        }
    }

    fn answer(&mut self, question: &Question) -> Answer {
        match question {
            Question::Verifiers(name) => Answer::Verifiers(self.accounts.get(name.as_str()).cloned().map(Box::new)),
            Question::CreateAccount { username, password } => {
                if self.accounts.contains_key(username.as_str()) {
                    return Answer::Taken;
                }
                self.accounts
                    .insert(username.as_str().into(), verifiers(password.expose()));
                Answer::Created
            }
        }
    }

    fn perform_client(&mut self) -> bool {
        let mut acted = false;
        while let Some(output) = self.client.poll_output() {
            acted = true;
            self.perform_client_output(output);
        }
        acted
    }

    fn perform_client_output(&mut self, output: ClientOutput) {
        match output {
            Output::Write(bytes) => {
                self.client_text.push_str(std::str::from_utf8(&bytes).unwrap());
                self.to_server.extend(bytes);
            }
            Output::StartTls => self.client_wants_tls = true,
            Output::Event(ClientEvent::Roster(items)) => self.roster = Some(items),
            Output::Event(event) => self.client_events.push(event),
            Output::Close(end) => self.client_end = Some(end),
        }
    }
}
