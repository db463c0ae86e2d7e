//! The recorded XML-RPC calls of the existing agent, over real TLS: what it sent goes into our endpoint, what it was
//! answered into our agent; whole, line by line, byte by byte and at random splits.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use md5::{Digest, Md5};
use osa::domain::ids::SystemId;
use osa::domain::secret::Secret;
use osa::host::clock::{OsEntropy, SystemClock};
use osa::net::listener::listen_on;
use osa::net::registration::{Registrar, RegistrationEndpoint};
use osa::ports::push::PushStore;
use osa::ports::registrar::Registrar as _;
use osa::ports::registrations::RegistrationObserver;
use osa::ports::service::Service;
use osa::protocol::xmlrpc::reader::read_response;
use osa::protocol::xmlrpc::registration::OsadReply;
use osa::protocol::xmlrpc::value::Value;
use tokio::sync::Semaphore;

use crate::support::httpd::{Answer, Httpd};
use crate::support::site::Site;
use crate::support::store::FakeStore;

const RECORDED: &str = include_str!("../protocol/transcripts/04-xmlrpc-registration.txt");
const SYSTEM: SystemId = SystemId(1_000_010_001);
const JID: &str = "osad-0123456789@satellite.test/osad";
/// 32 digits: then systemids are signed with MD5, as the recorded one.
const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// What stands in the recording instead of a checksum.
const NO_CHECKSUM: &str = "00000000000000000000000000000000";

/// The HTTP messages of one side, byte for byte.
fn messages(side: char) -> Vec<String> {
    let mut messages = Vec::new();
    for block in RECORDED
        .split("\n\n")
        .filter(|block| block.contains("\nC:") || block.starts_with("C:"))
    {
        let mut lines = block
            .lines()
            .filter_map(|line| line.strip_prefix(side)?.strip_prefix(':'));
        let lines = lines.by_ref().map(|line| line.strip_prefix(' ').unwrap_or(line));
        let lines: Vec<&str> = lines.collect();
        let end = lines
            .iter()
            .position(|line| line.is_empty())
            .expect("a bare line ends the headers");
        let head = lines[..end].join("\r\n");
        let body: String = lines[end + 1..].iter().map(|line| format!("{line}\n")).collect();
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())) || head.ends_with(&body.len().to_string())
        );
        messages.push(format!("{head}\r\n\r\n{body}"));
    }
    assert_eq!(messages.len(), 3);
    messages
}

type Cut = fn(&[u8]) -> Vec<Vec<u8>>;

fn whole(bytes: &[u8]) -> Vec<Vec<u8>> {
    vec![bytes.to_vec()]
}

fn byte_by_byte(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.chunks(1).map(<[u8]>::to_vec).collect()
}

fn line_by_line(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

fn at_random(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut pieces) = (bytes, Vec::new());
    while !rest.is_empty() {
        let mut random = [0; 2];
        getrandom::fill(&mut random).expect("randomness");
        let size = 1 + usize::from(u16::from_ne_bytes(random)) % 300;
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        pieces.push(piece.to_vec());
        rest = behind;
    }
    pieces
}

const CUTS: [Cut; 6] = [whole, line_by_line, byte_by_byte, at_random, at_random, at_random];

#[actix::test]
async fn our_agent_takes_the_recorded_answers() {
    for cut in CUTS {
        let answers = messages('S')
            .into_iter()
            .map(|answer| Answer::Pieces(cut(answer.as_bytes())));
        let server = Httpd::answering(answers).await;
        let client = server.client();
        let systemid = Secret::new("a systemid");

        let registration = client.register(&systemid).await.expect("it registers");
        client.register_jid(&systemid, JID).await.expect("it registers the JID");

        assert_eq!(registration.client.0, "000000003b9af111");
        assert_eq!(
            registration.key,
            Secret::new("000000000000000000000000562f57d912ac6111")
        );
        assert_eq!(
            registration.dispatchers,
            ["rhn-dispatcher-sat@satellite.test/superclient"]
        );
        // Both clocks said the same whole second.
        assert_eq!(registration.drift_millis, 500);
        assert_eq!(server.connections(), 1);
    }
}

struct Nobody;

impl RegistrationObserver for Nobody {
    fn registration_changed(&self, _: SystemId) {}
}

struct Endpoint {
    site: Site,
    address: SocketAddr,
    store: Arc<FakeStore>,
}

impl Endpoint {
    fn start() -> Self {
        let site = Site::new();
        let listener = listen_on(SocketAddr::from(([127, 0, 0, 1], 0)), &site.tls()).expect("it listens");
        let (address, store) = (listener.local_addr(), Arc::new(FakeStore::default()));
        store.add_system(SYSTEM, &Secret::new(SECRET));
        let registrar = Registrar {
            registrations: Arc::clone(&store) as _,
            observer: Arc::new(Nobody),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            jabber_server: "satellite.test".to_owned(),
            dispatcher: "rhn-dispatcher-sat@satellite.test/superclient".to_owned(),
            domains: vec!["satellite.test".to_owned()],
        };
        let endpoint = RegistrationEndpoint::new(registrar, vec![listener], Arc::new(Semaphore::new(4)));
        actix::spawn(async move { endpoint.serve().await });
        Self { site, address, store }
    }

    /// The bodies of the answers to these requests, all over one connection.
    async fn answers(&self, requests: Vec<Vec<Vec<u8>>>) -> Vec<String> {
        let mut stream = self.site.client(self.address);
        let exchange = move || {
            let mut answers = Vec::new();
            for request in requests {
                for piece in request {
                    stream.write_all(&piece).expect("written");
                    stream.flush().expect("sent");
                }
                answers.push(read_answer(&mut stream));
            }
            answers
        };
        tokio::task::spawn_blocking(exchange).await.expect("no panic")
    }
}

fn read_answer(stream: &mut impl Read) -> String {
    let mut answer = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).expect("it answers");
        assert!(count > 0, "it hung up");
        answer.extend_from_slice(&buffer[..count]);
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if answer.len() == end + 4 + length.expect("a length") {
            assert!(
                head.starts_with("http/1.1 200") && head.contains("registration.register_osad(1)=1"),
                "{head}"
            );
            return String::from_utf8_lossy(&answer[end + 4..]).into_owned();
        }
    }
}

/// Compatibility contract, section 2.3. As long as what it replaces.
fn checksum() -> String {
    let values = ["ID-1000010001", "7Server", "redhat-release", "x86_64", "admin", "REAL"];
    let names = [
        "system_id",
        "os_release",
        "operating_system",
        "architecture",
        "username",
        "type",
    ];
    let text = format!("{SECRET}{}{}", values.concat(), names.concat());
    Md5::digest(text).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string");
        hex
    })
}

fn value(body: &str) -> Result<Value, i64> {
    read_response(body.as_bytes())
        .expect("a response")
        .map_err(|fault| fault.code)
}

/// The recording's systemid has no checksum, so the right one is put in its place; all else is as it was sent.
#[actix::test]
async fn our_endpoint_takes_the_recorded_calls() {
    let signed: Vec<String> = messages('C')
        .iter()
        .map(|call| call.replace(NO_CHECKSUM, &checksum()))
        .collect();
    for cut in CUTS {
        let endpoint = Endpoint::start();

        let answers = endpoint
            .answers(signed.iter().map(|call| cut(call.as_bytes())).collect())
            .await;

        let reply = OsadReply::from_value(&value(&answers[1]).expect("no fault"))
            .expect("usable")
            .expect("push");
        assert_eq!(reply.client_timestamp, Some(1_795_336_465));
        assert_eq!(reply.jabber_server, "satellite.test");
        assert_eq!(reply.dispatchers, ["rhn-dispatcher-sat@satellite.test/superclient"]);
        assert_eq!(value(&answers[2]), Ok(Value::Struct(Default::default())));
        let known = endpoint.store.clients_by_jid(JID).await.expect("works");
        assert_eq!(known.first().map(|client| &client.name), Some(&reply.client_name));
    }
}

#[actix::test]
async fn recorded_systemid_without_its_checksum_is_refused() {
    let calls = messages('C').iter().map(|call| whole(call.as_bytes())).collect();

    let answers = Endpoint::start().answers(calls).await;

    assert!(answers[0].len() > 8, "everybody is greeted");
    assert_eq!([value(&answers[1]), value(&answers[2])], [Err(-9), Err(-9)]);
}
