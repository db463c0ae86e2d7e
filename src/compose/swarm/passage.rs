//! What a message takes through the site's server alone, from one client to another: it is in every push over it.

use std::io;
use std::time::{Duration, Instant};

use minidom::Element;

use super::error::SwarmError;
use super::link::{Link, Target};
use super::numbers::{Samples, millis};
use super::site::{HOSTNAME, random_hex};
use crate::domain::secret::Secret;
use crate::host::clock::OsEntropy;
use crate::ports::clock::Entropy;
use crate::protocol::ns;
use crate::protocol::stanza::set_attribute;
use crate::protocol::stream::client::{ClientConfig, ClientEvent, ClientOutput, ClientStream};
use crate::protocol::stream::{Output, Seed};

/// How often a message is sent, and the pause between.
const MESSAGES: usize = 200;
const PAUSE: Duration = Duration::from_millis(10);
/// A request is as long as this with its envelope. Units: bytes.
const TEXT_BYTES: usize = 400;
/// Longest wait for one message.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures, with two accounts that are made for it.
pub(super) async fn measure(target: &Target) -> Result<Samples, SwarmError> {
    let measuring = async {
        let [mut sender, mut receiver] = [Peer::log_in(target).await?, Peer::log_in(target).await?];
        let mut samples = Samples::default();
        for _ in 0..MESSAGES {
            tokio::time::sleep(PAUSE).await;
            let began = Instant::now();
            sender.send(&message(&receiver.jid)).await?;
            receiver.hear().await?;
            samples.push(millis(began.elapsed()));
        }
        Ok(samples)
    };
    measuring.await.map_err(SwarmError::Passage)
}

fn message(to: &str) -> Element {
    let mut body = Element::bare("body", ns::CLIENT);
    body.append_text(random_hex(TEXT_BYTES / 2));
    let mut message = Element::bare("message", ns::CLIENT);
    set_attribute(&mut message, "to", to);
    set_attribute(&mut message, "type", "normal");
    message.append_child(body);
    message
}

/// A client.
struct Peer<'a> {
    target: &'a Target,
    jid: String,
    stream: ClientStream,
    link: Link,
}

impl<'a> Peer<'a> {
    async fn log_in(target: &'a Target) -> io::Result<Self> {
        let (mut seed, account) = ([0; 32], format!("passage-{}", random_hex(4)));
        OsEntropy.fill(&mut seed);
        let config = ClientConfig::new(HOSTNAME, &account, Secret::new(random_hex(10)));
        let mut peer = Self {
            target,
            jid: String::new(),
            stream: ClientStream::new(config, Seed::new(seed), Instant::now()),
            link: Link::connect(target).await?,
        };
        // The roster is what comes last.
        loop {
            match peer.next().await? {
                ClientEvent::LoggedIn { jid, .. } => peer.jid = jid,
                ClientEvent::Roster(_) => break,
                ClientEvent::Deliver(_) | ClientEvent::RosterChanged(_) | ClientEvent::Pong { .. } => {}
            }
        }
        peer.send(&Element::bare("presence", ns::CLIENT)).await?;
        Ok(peer)
    }

    async fn send(&mut self, stanza: &Element) -> io::Result<()> {
        self.stream.send(stanza);
        while let Some(output) = self.stream.poll_output() {
            self.perform(output).await?;
        }
        Ok(())
    }

    /// Waits for the next message.
    async fn hear(&mut self) -> io::Result<()> {
        loop {
            if let ClientEvent::Deliver(stanza) = self.next().await?
                && stanza.name() == "message"
            {
                return Ok(());
            }
        }
    }

    async fn next(&mut self) -> io::Result<ClientEvent> {
        let mut buffer = [0; 4_096];
        loop {
            while let Some(output) = self.stream.poll_output() {
                if let Some(event) = self.perform(output).await? {
                    return Ok(event);
                }
            }
            let read = tokio::time::timeout(PATIENCE, self.link.read(&mut buffer));
            let count = read.await.map_err(io::Error::from)??;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.stream
                .receive(buffer.get(..count).unwrap_or_default(), Instant::now());
        }
    }

    async fn perform(&mut self, output: ClientOutput) -> io::Result<Option<ClientEvent>> {
        match output {
            Output::Write(bytes) => self.link.write(&bytes).await?,
            Output::StartTls => {
                let exporter = self.link.handshake(self.target).await?;
                self.stream.tls_established(exporter, Instant::now());
            }
            Output::Close(end) => return Err(io::Error::other(end)),
            Output::Event(event) => return Ok(Some(event)),
        }
        Ok(None)
    }
}
