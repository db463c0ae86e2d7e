//! Registration over real TLS, against a server that answers as it is told.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use osa::domain::secret::Secret;
use osa::domain::time::Timestamp;
use osa::host::xmlrpc_client::XmlRpcClient;
use osa::net::tls::client_tls;
use osa::ports::clock::Clock;
use osa::ports::registrar::{Registrar, RegistrarError};
use osa::ports::transport::{LinkError, TlsFailure};
use osa::settings::names::ServerUrl;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::site::{Site, now};

const JID: &str = "osad-0123456789@localhost/osad";
const CAPABILITY: &str =
    "X-RHN-Server-Capability: staging_content(1)=1\r\nX-RHN-Server-Capability: registration.register_osad(1)=1\r\n";
/// The time of the client; the server's answer below says 100 s more.
const NOW: Timestamp = Timestamp::from_secs(1_795_336_465);

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        NOW
    }
}

fn http(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut response = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n").into_bytes();
    response.extend_from_slice(body);
    response
}

fn result(value: &str) -> String {
    format!(
        "<?xml version='1.0'?>\n<methodResponse><params><param><value>{value}</value></param></params></methodResponse>"
    )
}

fn welcome() -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(result("<string>hello</string>").as_bytes())
        .expect("it compresses");
    let body = encoder.finish().expect("it compresses");
    http(
        "200 OK",
        &format!("{CAPABILITY}Content-Encoding: x-zlib\r\nContent-Transfer-Encoding: binary\r\n"),
        &body,
    )
}

fn osad() -> Vec<u8> {
    let string = |name: &str, value: &str| {
        format!("<member><name>{name}</name><value><string>{value}</string></value></member>")
    };
    let timestamp = NOW.as_secs() + 100;
    let body = result(&format!(
        "<struct>{}{}{}<member><name>server-timestamp</name><value><int>{timestamp}</int></value></member>\
         <member><name>dispatchers</name><value><array><data><value><string>d@localhost/superclient</string></value>\
         </data></array></value></member></struct>",
        string("client-name", "aabbccddeeff0011"),
        string("shared-key", "0123456789abcdef0123456789abcdef01234567"),
        string("jabber-server", "localhost"),
    ));
    http("200 OK", CAPABILITY, body.as_bytes())
}

fn empty_struct() -> Vec<u8> {
    http("200 OK", CAPABILITY, result("<struct></struct>").as_bytes())
}

/// Answers its requests in turn, and keeps them.
struct Server {
    site: Site,
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    async fn answering(answers: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self::start(answers, "localhost").await
    }

    async fn start(answers: impl IntoIterator<Item = Vec<u8>>, certified: &str) -> Self {
        let site = Site::certified_for(certified);
        let tls = TlsAcceptor::from(site.tls().config());
        let listener = TcpListener::bind("localhost:0").await.expect("it listens");
        let server = Self {
            site,
            port: listener.local_addr().expect("it has an address").port(),
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let (requests, connections) = (Arc::clone(&server.requests), Arc::clone(&server.connections));
        let mut answers: VecDeque<Vec<u8>> = answers.into_iter().collect();
        actix::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(mut stream) = tls.accept(socket).await else {
                    continue;
                };
                *connections.lock().expect("no panic") += 1;
                while let Some(request) = read_request(&mut stream).await {
                    requests.lock().expect("no panic").push(request);
                    let answer = answers.pop_front().unwrap_or_default();
                    stream.write_all(&answer).await.ok();
                    if answer.is_empty() || String::from_utf8_lossy(&answer).contains("Connection: close") {
                        break;
                    }
                }
                stream.shutdown().await.ok();
            }
        });
        server
    }

    fn client(&self) -> XmlRpcClient {
        let tls = client_tls(&self.site.authority.certificate, now()).expect("the CA loads");
        let url = ServerUrl::parse(&format!("https://localhost:{}/XMLRPC", self.port)).expect("a URL");
        XmlRpcClient::new(tls.config, url, Arc::new(Stopped))
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }
}

async fn read_request(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<String> {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        text.push_str(std::str::from_utf8(&buffer[..read]).ok()?);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(text);
        }
    }
}

fn systemid() -> Secret {
    Secret::new("<?xml version=\"1.0\"?><params>&amp;</params>\n")
}

async fn refusal(answers: impl IntoIterator<Item = Vec<u8>>) -> RegistrarError {
    let server = Server::answering(answers).await;
    server.client().register(&systemid()).await.expect_err("it fails")
}

#[actix::test]
async fn three_calls_register_over_one_connection() {
    let server = Server::answering([welcome(), osad(), empty_struct()]).await;
    let client = server.client();

    let registration = client.register(&systemid()).await.expect("it registers");
    client
        .register_jid(&systemid(), JID)
        .await
        .expect("it registers the JID");

    assert_eq!(registration.client.0, "aabbccddeeff0011");
    assert_eq!(
        registration.key,
        Secret::new("0123456789abcdef0123456789abcdef01234567")
    );
    assert_eq!(registration.dispatchers, ["d@localhost/superclient"]);
    assert_eq!(registration.drift_millis, 100_500);
    let requests = server.requests();
    for (request, wanted) in requests
        .iter()
        .zip(["welcome_message", "register_osad<", "register_osad_jid"])
    {
        assert!(request.contains(wanted), "{request}");
        assert!(
            request.starts_with("POST /XMLRPC HTTP/1.1\r\n") && request.contains("x-client-version: 1\r\n"),
            "{request}"
        );
        assert!(
            request.contains(&format!("host: localhost:{}\r\n", server.port)),
            "{request}"
        );
    }
    assert!(
        requests[1].contains("&lt;params&gt;&amp;amp;&lt;/params&gt;"),
        "verbatim: {}",
        requests[1]
    );
    assert!(requests[2].contains(JID), "{}", requests[2]);
    assert_eq!(*server.connections.lock().expect("no panic"), 1);
}

#[actix::test]
async fn connection_that_the_server_closes_between_calls_is_made_again() {
    let closing = |answer: Vec<u8>| {
        let text = String::from_utf8_lossy(&answer).replacen("\r\n", "\r\nConnection: close\r\n", 1);
        text.into_bytes()
    };
    let greeting = http("200 OK", CAPABILITY, result("<string>hello</string>").as_bytes());
    let server = Server::answering([closing(greeting), closing(osad()), empty_struct()]).await;
    let client = server.client();

    client.register(&systemid()).await.expect("it registers");
    client
        .register_jid(&systemid(), JID)
        .await
        .expect("it registers the JID");

    assert_eq!(*server.connections.lock().expect("no panic"), 3);
}

#[actix::test]
async fn server_without_push_is_told_apart() {
    let no_capability = http("200 OK", "", result("<string>hello</string>").as_bytes());

    assert!(matches!(refusal([no_capability]).await, RegistrarError::NoPush(_)));
    assert!(matches!(
        refusal([welcome(), empty_struct()]).await,
        RegistrarError::NoPush(_)
    ));
}

#[actix::test]
async fn faults_statuses_and_nonsense_are_typed_errors() {
    let fault = "<?xml version='1.0'?><methodResponse><fault><value><struct><member><name>faultCode</name><value><int>-9\
                 </int></value></member><member><name>faultString</name><value><string>Invalid System Credentials\
                 </string></value></member></struct></value></fault></methodResponse>";
    let fault = refusal([welcome(), http("200 OK", "", fault.as_bytes())]).await;
    assert!(matches!(&fault, RegistrarError::Fault { code: -9, .. }), "{fault}");
    assert!(
        fault
            .to_string()
            .contains("refused registration.register_osad: Invalid System Credentials"),
        "{fault}"
    );

    let status = refusal([http("503 Service Unavailable", "", b"")]).await;
    assert!(matches!(status, RegistrarError::Status { status: 503, .. }), "{status}");

    let html = refusal([http("200 OK", "", b"<html>busy</html>")]).await;
    assert!(matches!(html, RegistrarError::Unreadable { .. }), "{html}");

    let silent_end = refusal([Vec::new()]).await;
    assert!(matches!(silent_end, RegistrarError::Broken { .. }), "{silent_end}");

    let huge = refusal([http("200 OK", "", &vec![b' '; 2 * 1024 * 1024])]).await;
    assert!(matches!(huge, RegistrarError::Unreadable { .. }), "{huge}");
}

#[actix::test]
async fn redirects_are_followed_five_times() {
    let elsewhere = || http("302 Found", "Location: /other/XMLRPC\r\n", b"");
    let five = (0..5).map(|_| elsewhere()).chain([welcome(), osad()]);
    let server = Server::answering(five).await;

    server.client().register(&systemid()).await.expect("it registers");

    assert!(
        server.requests()[6].starts_with("POST /other/XMLRPC "),
        "remembered for the next call"
    );
    let six = refusal((0..6).map(|_| elsewhere())).await;
    assert!(matches!(six, RegistrarError::Redirect(_)), "{six}");
    let plain = refusal([http(
        "301 Moved Permanently",
        "Location: http://localhost/XMLRPC\r\n",
        b"",
    )])
    .await;
    assert!(matches!(plain, RegistrarError::Redirect(_)), "{plain}");
}

#[actix::test]
async fn certificate_of_another_authority_or_name_is_refused() {
    let server = Server::answering([]).await;
    let other = Server::answering([]).await;
    let mut trusting_other = Server::answering([]).await;
    trusting_other.port = server.port;
    let misnamed = Server::start([], "sat.example.com").await;
    drop(other);

    for client in [trusting_other.client(), misnamed.client()] {
        let error = client.register(&systemid()).await.expect_err("it is refused");
        let RegistrarError::Unreachable { source, .. } = &error else {
            panic!("{error}")
        };
        assert!(
            matches!(source, LinkError::Tls(TlsFailure::PeerCertificate(_))),
            "{error}"
        );
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[actix::test]
async fn nobody_listening_is_unreachable() {
    let server = Server::answering([]).await;
    let mut gone = Server::answering([]).await;
    let listener = TcpListener::bind("localhost:0").await.expect("it listens");
    gone.port = listener.local_addr().expect("it has an address").port();
    drop((server, listener));

    let error = gone.client().register(&systemid()).await.expect_err("nobody is there");

    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot reach localhost:{}: ", gone.port)),
        "{error}"
    );
}
