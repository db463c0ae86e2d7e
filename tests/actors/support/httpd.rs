//! A Satellite's web server: real TLS, and answers as it is told.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use osa::domain::time::Timestamp;
use osa::host::xmlrpc_client::XmlRpcClient;
use osa::net::access::{Access, HttpProxy};
use osa::net::tls::client_tls;
use osa::ports::clock::Clock;
use osa::settings::names::ServerUrl;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::site::{Site, now};

pub const CAPABILITY: &str =
    "X-RHN-Server-Capability: staging_content(1)=1\r\nX-RHN-Server-Capability: registration.register_osad(1)=1\r\n";
/// The time of the client; `osad` below says 100 s more.
pub const NOW: Timestamp = Timestamp::from_secs(1_795_336_465);

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        NOW
    }
}

pub fn http(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut response = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n").into_bytes();
    response.extend_from_slice(body);
    response
}

pub fn result(value: &str) -> String {
    format!(
        "<?xml version='1.0'?>\n<methodResponse><params><param><value>{value}</value></param></params></methodResponse>"
    )
}

pub fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("it compresses");
    encoder.finish().expect("it compresses")
}

pub fn welcome() -> Vec<u8> {
    let coded = "Content-Type: application/binary\r\nContent-Encoding: x-zlib\r\nContent-Transfer-Encoding: binary\r\n";
    let body = zlib(result("<string>hello</string>").as_bytes());
    http("200 OK", &format!("{CAPABILITY}{coded}"), &body)
}

pub fn osad_body() -> String {
    let string = |name: &str, value: &str| {
        format!("<member><name>{name}</name><value><string>{value}</string></value></member>")
    };
    let timestamp = NOW.as_secs() + 100;
    result(&format!(
        "<struct>{}{}{}<member><name>server-timestamp</name><value><int>{timestamp}</int></value></member>\
         <member><name>dispatchers</name><value><array><data><value><string>d@localhost/superclient</string></value>\
         </data></array></value></member></struct>",
        string("client-name", "aabbccddeeff0011"),
        string("shared-key", "0123456789abcdef0123456789abcdef01234567"),
        string("jabber-server", "localhost"),
    ))
}

pub fn osad() -> Vec<u8> {
    http("200 OK", CAPABILITY, osad_body().as_bytes())
}

pub fn empty_struct() -> Vec<u8> {
    http("200 OK", CAPABILITY, result("<struct></struct>").as_bytes())
}

pub fn fault(code: i64, text: &str) -> Vec<u8> {
    let body = format!(
        "<?xml version='1.0'?>\n<methodResponse>\n<fault>\n<value><struct>\n<member>\n<name>faultCode</name>\n<value><int>\
         {code}</int></value>\n</member>\n<member>\n<name>faultString</name>\n<value><string>{text}</string></value>\n\
         </member>\n</struct></value>\n</fault>\n</methodResponse>\n"
    );
    http("200 OK", "Content-Type: text/xml\r\n", body.as_bytes())
}

/// What a request is answered with.
pub enum Answer {
    /// These bytes.
    Say(Vec<u8>),
    /// These, each in a TLS record of its own.
    Pieces(Vec<Vec<u8>>),
    /// These bytes, and the end of the connection without any goodbye.
    Cut(Vec<u8>),
    /// Nothing, for ever.
    Nothing,
}

impl From<Vec<u8>> for Answer {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Say(bytes)
    }
}

/// Answers its requests in turn, and keeps them.
pub struct Httpd {
    pub site: Site,
    pub port: u16,
    asked: Arc<Notify>,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

impl Httpd {
    pub async fn answering<A: Into<Answer>>(answers: impl IntoIterator<Item = A>) -> Self {
        Self::start(answers, Site::certified_for("localhost")).await
    }

    pub async fn start<A: Into<Answer>>(answers: impl IntoIterator<Item = A>, site: Site) -> Self {
        let tls = TlsAcceptor::from(site.unchecked_tls());
        let listener = TcpListener::bind("localhost:0").await.expect("it listens");
        let server = Self {
            site,
            port: listener.local_addr().expect("it has an address").port(),
            asked: Arc::default(),
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let (requests, connections) = (Arc::clone(&server.requests), Arc::clone(&server.connections));
        let asked = Arc::clone(&server.asked);
        let mut answers: VecDeque<Answer> = answers.into_iter().map(Into::into).collect();
        actix::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(mut stream) = tls.accept(socket).await else {
                    continue;
                };
                *connections.lock().expect("no panic") += 1;
                while let Some(request) = read_request(&mut stream).await {
                    requests.lock().expect("no panic").push(request);
                    asked.notify_one();
                    let answer = answers.pop_front().unwrap_or(Answer::Cut(Vec::new()));
                    if !give(answer, &mut stream).await {
                        break;
                    }
                }
            }
        });
        server
    }

    /// A client of this server, which trusts what `trusted` was signed by.
    pub fn client_trusting(&self, trusted: &Site, proxy: Option<HttpProxy>) -> XmlRpcClient {
        let tls = client_tls(&trusted.authority.certificate, now()).expect("the CA loads");
        let host = &self.site.server.hostname;
        let url = ServerUrl::parse(&format!("https://{host}:{}/XMLRPC", self.port)).expect("a URL");
        XmlRpcClient::new(Arc::new(Access { tls, proxy }), url, Arc::new(Stopped))
    }

    pub fn client(&self) -> XmlRpcClient {
        self.client_trusting(&self.site, None)
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().expect("no panic")
    }

    /// Returns when a request has come.
    pub async fn is_asked(&self) {
        self.asked.notified().await;
    }
}

/// Whether the connection is to be used again.
async fn give(answer: Answer, stream: &mut (impl AsyncWrite + Unpin)) -> bool {
    match answer {
        Answer::Say(bytes) => {
            stream.write_all(&bytes).await.ok();
            if !String::from_utf8_lossy(&bytes).contains("Connection: close") {
                return true;
            }
            stream.shutdown().await.ok();
        }
        Answer::Pieces(pieces) => {
            for piece in pieces {
                stream.write_all(&piece).await.ok();
                stream.flush().await.ok();
            }
            return true;
        }
        Answer::Cut(bytes) => {
            stream.write_all(&bytes).await.ok();
            stream.flush().await.ok();
        }
        Answer::Nothing => std::future::pending().await,
    }
    false
}

pub async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
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
