//! A site's own XMPP server, typed by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use osa::domain::secret::Secret;
use osa::ports::transport::{Dialer, Dialing};
use osa::protocol::osa::action::Action;
use osa::protocol::osa::signed::{Content, Signed};
use tokio::io::DuplexStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use super::client::TestClient;
use super::duplex::Pipe;

pub const DISPATCHER: &str = "rhn-dispatcher-sat@sat.example.com/superclient";
const HEADER: &str = "<?xml version='1.0'?><stream:stream from='sat.example.com' id='s1' xmlns='jabber:client' \
                      xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
const BEFORE_TLS: &str = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>";
const INSIDE_TLS: &str = "<stream:features><auth xmlns='http://jabber.org/features/iq-auth'/>\
                          <register xmlns='http://jabber.org/features/iq-register'/></stream:features>";
const FIELDS: &str = "<iq type='result' id='auth-get'><query xmlns='jabber:iq:auth'>\
                      <username/><password/><resource/></query></iq>";
const ROSTER: &str = "<iq type='result' id='roster'><query xmlns='jabber:iq:roster'/></iq>";

/// What the server waits for, and then says; at the end the peer is logged in, with an empty roster, and shows itself.
pub const LOGIN: [(&str, &str); 9] = [
    ("version='1.0'>", HEADER),
    ("", BEFORE_TLS),
    ("<starttls", ""),
    (">", "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
    ("version='1.0'>", HEADER),
    ("", INSIDE_TLS),
    ("id='auth-get'", FIELDS),
    ("id='auth-set'", "<iq type='result' id='auth-set'/>"),
    ("id='roster'", ROSTER),
];

struct ForeignDialer {
    connections: mpsc::Sender<DuplexStream>,
    without_tls_at: Option<SocketAddr>,
}

impl Dialer for ForeignDialer {
    fn dial(&self) -> Dialing {
        let (client, server) = tokio::io::duplex(4096);
        let dialed = self.connections.try_send(server);
        let pipe = match self.without_tls_at {
            Some(address) => Pipe::without_tls(client, address),
            None => Pipe::to_server(client),
        };
        Box::pin(async move {
            dialed.expect("the server lives");
            Ok(Box::new(pipe) as _)
        })
    }

    fn domain(&self) -> &str {
        "sat.example.com"
    }
}

/// The server; each connection is an agent's.
pub struct ForeignServer(Mutex<mpsc::Receiver<DuplexStream>>);

impl ForeignServer {
    pub fn new() -> (Self, Arc<dyn Dialer>) {
        Self::reached(None)
    }

    /// One at this address, which never finishes a handshake.
    pub fn without_tls(address: SocketAddr) -> (Self, Arc<dyn Dialer>) {
        Self::reached(Some(address))
    }

    fn reached(without_tls_at: Option<SocketAddr>) -> (Self, Arc<dyn Dialer>) {
        let (connections, queue) = mpsc::channel(100);
        let dialer = ForeignDialer {
            connections,
            without_tls_at,
        };
        (Self(Mutex::new(queue)), Arc::new(dialer))
    }

    /// The next connection.
    pub async fn next(&self) -> TestClient {
        let next = async { self.0.lock().await.recv().await };
        let stream = tokio::time::timeout(Duration::from_secs(600), next).await;
        TestClient::new(stream.expect("it connects").expect("the dialer lives"))
    }

    /// The next connection, so far into the login.
    pub async fn connected(&self, steps: usize) -> TestClient {
        let mut client = self.next().await;
        for (hear, say) in &LOGIN[..steps] {
            client.hear(hear).await;
            client.say(say).await;
        }
        client
    }

    /// The next connection, logged in, with these items in its roster; and what it said after that, up to the announcement.
    pub async fn accept(&self, roster: &str) -> (TestClient, String) {
        let mut agent = self.connected(LOGIN.len() - 1).await;
        agent.hear("id='roster'").await;
        agent
            .say(&format!(
                "<iq type='result' id='roster'><query xmlns='jabber:iq:roster'>{roster}</query></iq>"
            ))
            .await;
        let said = agent.hear("</presence>").await;
        (agent, said)
    }

    /// Whether nobody connects any more.
    pub async fn is_left_alone(&self) -> bool {
        self.0.lock().await.try_recv().is_err()
    }
}

/// Lets so much time pass, or the connection end; answers the agent's pings meanwhile. What else it said.
pub async fn pass(agent: &mut TestClient, time: Duration) -> String {
    let until = Instant::now() + time;
    let mut said = String::new();
    while let Ok(Ok(heard)) = tokio::time::timeout_at(until, agent.try_hear("urn:xmpp:ping")).await {
        said += &heard;
        agent.say("<iq type='result' id='ping'/>").await;
    }
    said + &agent.heard_so_far()
}

/// A ping of an original dispatcher, to the client named so.
pub fn original_ping(recipient: &str, serial: &str, timestamp: i64) -> String {
    original_request(Action::Ping, recipient, serial, timestamp)
}

/// The same for any action.
pub fn original_request(action: Action, recipient: &str, serial: &str, timestamp: i64) -> String {
    let content = Content {
        timestamp,
        serial,
        action: action.request(),
    };
    let key = Secret::new("0123456789abcdef0123456789abcdef01234567");
    let x = Signed::request(&key, recipient, DISPATCHER, content).to_element();
    let mut text = Vec::new();
    x.write_to(&mut text).expect("it can be written");
    let x = String::from_utf8(text).expect("UTF-8");
    format!("<message from='{DISPATCHER}' to='{recipient}' type='normal'>{x}</message>")
}
