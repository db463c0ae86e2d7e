//! An existing agent's words, typed by hand.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub const PASSWORD: &str = "0123456789abcdef0123";
const HEADER: &str = "<?xml version='1.0'?><stream:stream to='sat.example.com' xmlns='jabber:client' \
                      xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

pub struct TestClient {
    stream: DuplexStream,
    /// What came and was not asked for yet.
    heard: String,
}

pub fn jid_of(name: &str) -> String {
    format!("{name}@sat.example.com/osad")
}

impl TestClient {
    pub fn new(stream: DuplexStream) -> Self {
        Self {
            stream,
            heard: String::new(),
        }
    }

    pub async fn say(&mut self, text: &str) {
        if self.stream.write_all(text.as_bytes()).await.is_err() {
            panic!("cannot say {text}, since the server said {}", self.hear_out().await);
        }
    }

    /// Says the same over and over, reading nothing, until the server has hung up.
    pub async fn pester(&mut self, text: &str) {
        while self.stream.write_all(text.as_bytes()).await.is_ok() {}
    }

    /// Reads until `text` came; what came up to and with it.
    pub async fn hear(&mut self, text: &str) -> String {
        match self.try_hear(text).await {
            Ok(heard) => heard,
            Err(outcome) => panic!("{outcome} while waiting for {text} behind {}", self.heard),
        }
    }

    /// The same of a server that may hang up.
    pub async fn try_hear(&mut self, text: &str) -> Result<String, String> {
        let mut buffer = [0; 1024];
        loop {
            if let Some(at) = self.heard.find(text) {
                let rest = self.heard.split_off(at + text.len());
                return Ok(std::mem::replace(&mut self.heard, rest));
            }
            let read = tokio::time::timeout(Duration::from_secs(120), self.stream.read(&mut buffer));
            let count = match read.await {
                Ok(Ok(count @ 1..)) => count,
                outcome => return Err(format!("{outcome:?}")),
            };
            self.heard += std::str::from_utf8(&buffer[..count]).expect("UTF-8");
        }
    }

    /// Reads so many bytes, whatever they say.
    pub async fn hear_bytes(&mut self, count: usize) {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).await.expect("the server goes on");
    }

    /// What came and was not asked for.
    pub fn heard_so_far(&mut self) -> String {
        std::mem::take(&mut self.heard)
    }

    /// Reads to the end of the connection.
    pub async fn hear_out(&mut self) -> String {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(600), self.stream.read_to_end(&mut rest));
        read.await.expect("the server closes").ok();
        std::mem::take(&mut self.heard) + std::str::from_utf8(&rest).expect("UTF-8")
    }

    pub async fn ask_for_tls(&mut self) {
        self.say(HEADER).await;
        self.hear("</stream:features>").await;
        self.say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls' />").await;
        self.hear("<proceed").await;
        self.hear(">").await;
    }

    pub async fn start_tls(&mut self) {
        self.ask_for_tls().await;
        self.say(HEADER).await;
        self.hear("</stream:features>").await;
    }

    pub async fn register(&mut self, name: &str) {
        let query = format!("<username>{name}</username><password>{PASSWORD}</password>");
        self.say(&format!(
            "<iq type='set' id='r'><query xmlns='jabber:iq:register'>{query}</query></iq>"
        ))
        .await;
        self.hear("type='result'").await;
        self.hear("id='r'").await;
    }

    pub async fn log_in(&mut self, name: &str) {
        self.log_in_with(name, PASSWORD).await;
    }

    pub async fn log_in_with(&mut self, name: &str, password: &str) {
        let plain = STANDARD.encode(format!("\0{name}\0{password}"));
        self.say(&format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>"
        ))
        .await;
        self.hear("<success").await;
        self.say(HEADER).await;
        self.hear("</stream:features>").await;
        let bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>osad</resource></bind>";
        self.say(&format!("<iq type='set' id='b'>{bind}</iq>")).await;
        self.hear("</jid>").await;
    }

    /// Whether the server still answers.
    pub async fn assert_served(&mut self) {
        self.say("<iq type='get' id='alive'><query xmlns='jabber:iq:roster'/></iq>")
            .await;
        self.hear("id='alive'").await;
    }
}
