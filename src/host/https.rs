//! HTTPS requests of the agent: one at a time, over one connection as long as the server keeps it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, LOCATION};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use super::content_encoding::unpack;
use crate::net::access::Access;
use crate::ports::registrar::RegistrarError;
use crate::protocol::xmlrpc::capability::SERVER_HEADER;
use crate::settings::names::{HostPort, ServerUrl};

/// Largest answer, packed and unpacked: that of `register_osad` has 800 bytes, the welcome message is an
/// administrator's text. Units: bytes.
const RESPONSE_BYTES_MAX: usize = 1024 * 1024;
/// From connecting to the last byte of an answer, redirects included. A Satellite behind a full queue takes long.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(60);
/// A header's text in an error. Units: characters.
const SHOWN_MAX: usize = 120;
/// Redirects followed for one request (compatibility contract, section 2.1).
const REDIRECTS_MAX: usize = 5;

type Driver = http1::Connection<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>, Full<Bytes>>;

/// An answer with status 200.
#[derive(Debug)]
pub struct Reply {
    /// All values of the header `X-RHN-Server-Capability`.
    pub capabilities: Vec<String>,
    /// What kind of document the server says it is; empty if it does not.
    pub content_type: String,
    /// The unpacked body.
    pub body: Vec<u8>,
}

/// An exchange partner: the server last spoken to, and the connection to it.
pub struct HttpsClient {
    access: Arc<Access>,
    url: ServerUrl,
    link: Option<Link>,
}

struct Link {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes; polled beside each request, so that no task outlives this value.
    driver: Option<Pin<Box<Driver>>>,
}

enum Answer {
    Reply(Reply),
    Elsewhere(ServerUrl),
}

impl HttpsClient {
    /// A client that will connect to `url` when it is used.
    pub const fn new(access: Arc<Access>, url: ServerUrl) -> Self {
        Self {
            access,
            url,
            link: None,
        }
    }

    /// Posts `body`. Redirects are followed, and remembered for the requests to come.
    ///
    /// # Errors
    /// [`RegistrarError`].
    pub async fn post(
        &mut self,
        headers: &[(&'static str, &'static str)],
        body: Bytes,
    ) -> Result<Reply, RegistrarError> {
        let server = self.server();
        let exchange = self.follow(headers, body);
        let timed = tokio::time::timeout(EXCHANGE_TIMEOUT, exchange).await;
        timed.unwrap_or(Err(RegistrarError::TimedOut(server)))
    }

    /// Host and port, for errors.
    pub fn server(&self) -> String {
        format!("{}:{}", self.url.host, self.url.port)
    }

    async fn follow(&mut self, headers: &[(&'static str, &'static str)], body: Bytes) -> Result<Reply, RegistrarError> {
        for _ in 0..=REDIRECTS_MAX {
            match self.exchange(headers, body.clone()).await? {
                Answer::Reply(reply) => return Ok(reply),
                Answer::Elsewhere(url) => self.url = url,
            }
        }
        Err(RegistrarError::RedirectLoop(self.server()))
    }

    async fn exchange(
        &mut self,
        headers: &[(&'static str, &'static str)],
        body: Bytes,
    ) -> Result<Answer, RegistrarError> {
        if let Some(mut link) = self.link.take()
            && let Ok(response) = link.send(self.request(headers, body.clone())?).await
        {
            return self.read(link, response).await;
        }
        // None yet, or the server closed it between two requests.
        let mut link = self.connect().await?;
        let response = link
            .send(self.request(headers, body)?)
            .await
            .map_err(|error| self.broken(&error))?;
        self.read(link, response).await
    }

    async fn connect(&self) -> Result<Link, RegistrarError> {
        let server = HostPort {
            host: self.url.host.clone(),
            port: self.url.port,
        };
        let name =
            ServerName::try_from(server.host.to_string()).map_err(|_| self.misdirected(&self.url.to_string()))?;
        let socket = self.access.connect(&server).await?;
        let secured = self.access.shake_hands(name, socket).await;
        let stream = secured.map_err(|error| RegistrarError::Link {
            server: self.server(),
            source: self.access.tls.link_error(error),
        })?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(&error))?;
        Ok(Link {
            sender,
            driver: Some(Box::pin(driver)),
        })
    }

    fn request(
        &self,
        headers: &[(&'static str, &'static str)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, RegistrarError> {
        let host = match self.url.port {
            443 => self.url.host.to_string(),
            port => format!("{}:{port}", self.url.host),
        };
        let mut request = Request::post(&self.url.path).header(HOST, host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
            .body(Full::new(body))
            .map_err(|_| self.misdirected(&self.url.to_string()))
    }

    async fn read(&mut self, mut link: Link, response: Response<Incoming>) -> Result<Answer, RegistrarError> {
        let (head, body) = response.into_parts();
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        match head.status {
            StatusCode::OK => {}
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => {
                // The body is left unread, so the connection cannot be used again.
                let location = header(LOCATION.as_str()).unwrap_or("");
                let elsewhere = self.locate(location).map(Answer::Elsewhere);
                return elsewhere.ok_or_else(|| self.misdirected(location));
            }
            status => {
                return Err(RegistrarError::Status {
                    server: self.server(),
                    status: status.as_u16(),
                });
            }
        }
        let body = link.collect(body).await.map_err(|reason| self.unreadable(reason))?;
        let (content, transfer) = (header("content-encoding"), header("content-transfer-encoding"));
        let body = unpack(body, content, transfer, RESPONSE_BYTES_MAX as u64);
        let body = body.map_err(|error| self.unreadable(error.to_string()))?;
        let capabilities = head.headers.get_all(SERVER_HEADER).iter();
        let capabilities = capabilities.filter_map(|value| value.to_str().ok()).map(str::to_owned);
        let content_type = header(CONTENT_TYPE.as_str()).unwrap_or("");
        self.link = Some(link);
        Ok(Answer::Reply(Reply {
            capabilities: capabilities.collect(),
            content_type: content_type.chars().take(SHOWN_MAX).collect(),
            body,
        }))
    }

    fn unreadable(&self, reason: String) -> RegistrarError {
        RegistrarError::Unreadable {
            server: self.server(),
            reason,
        }
    }

    fn misdirected(&self, location: &str) -> RegistrarError {
        RegistrarError::Misdirected {
            server: self.server(),
            location: location.chars().take(SHOWN_MAX).collect(),
        }
    }

    fn locate(&self, location: &str) -> Option<ServerUrl> {
        if !location.starts_with('/') || location.starts_with("//") {
            return ServerUrl::parse(location).ok();
        }
        let url = format!("https://{}:{}{location}", self.url.host, self.url.port);
        ServerUrl::parse(&url).ok()
    }

    fn broken(&self, error: &hyper::Error) -> RegistrarError {
        RegistrarError::Broken {
            server: self.server(),
            reason: error.to_string(),
        }
    }
}

impl Link {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let Self { sender, driver } = self;
        drive(driver, async {
            sender.ready().await?;
            sender.send_request(request).await
        })
        .await
    }

    async fn collect(&mut self, body: Incoming) -> Result<Vec<u8>, String> {
        let whole = drive(&mut self.driver, Limited::new(body, RESPONSE_BYTES_MAX).collect()).await;
        let whole = whole.map_err(|error| error.to_string())?;
        Ok(whole.to_bytes().into())
    }
}

/// Lets the connection work while `exchange` waits for it. A connection that has ended is dropped, which `exchange`
/// learns as an error.
async fn drive<T>(driver: &mut Option<Pin<Box<Driver>>>, exchange: impl Future<Output = T>) -> T {
    let mut exchange = pin!(exchange);
    poll_fn(|cx| {
        if driver
            .as_mut()
            .is_some_and(|driver| driver.as_mut().poll(cx).is_ready())
        {
            *driver = None;
        }
        exchange.as_mut().poll(cx)
    })
    .await
}
