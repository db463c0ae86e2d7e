//! How the agent gets to its servers: directly or through an HTTP proxy, and whom it trusts there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};
use tokio_rustls::Connect;

use super::connect::{Unconnected, connect_to};
use super::tls::ClientTls;
use crate::domain::secret::Secret;
use crate::ports::transport::{DialError, ProxyFault};
use crate::settings::names::{HostPort, ProxyAddress};

/// How long a proxy may take to connect us: it tries addresses in turn as well.
const PROXY_TIMEOUT: Duration = Duration::from_secs(30);
/// A proxy's answer at most. Units: bytes. Proxies have 200 bytes to say, and some add pages for people.
const PROXY_ANSWER_MAX: usize = 64 * 1024;

/// An HTTP proxy, and who we are there.
#[derive(Clone, Debug)]
pub struct HttpProxy {
    /// Where it is.
    pub address: ProxyAddress,
    /// User name and password, where it wants them.
    pub login: Option<(String, Secret)>,
}

/// The way to all servers of an agent.
#[derive(Clone, Debug)]
pub struct Access {
    /// Whom to trust.
    pub tls: ClientTls,
    /// The proxy in between, if any. It resolves the servers' names.
    pub proxy: Option<HttpProxy>,
}

impl Access {
    /// Opens a connection to a server; its bytes are the server's own, whoever carries them.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn connect(&self, server: &HostPort) -> Result<TcpStream, DialError> {
        match &self.proxy {
            None => connect_directly(server).await,
            Some(proxy) => Ok(proxy.connect(server).await?),
        }
    }

    /// Begins TLS on a connection to a server of this name.
    pub fn shake_hands(&self, name: ServerName<'static>, socket: TcpStream) -> Connect<TcpStream> {
        self.tls.shake_hands(name, socket)
    }
}

async fn connect_directly(server: &HostPort) -> Result<TcpStream, DialError> {
    let HostPort { host, port } = server;
    let connected = connect_to(host.as_str(), *port).await;
    connected.map_err(|error| error.into_dial_error(host.as_str(), server.to_string(), "server_url or jabber_server"))
}

impl HttpProxy {
    async fn connect(&self, server: &HostPort) -> Result<TcpStream, ProxyFault> {
        let unreachable = |error| ProxyFault::Unreachable {
            proxy: self.address.to_string(),
            error,
        };
        let socket = connect_to(&self.address.host, self.address.port).await;
        let mut socket = socket.map_err(|error| match error {
            Unconnected::Unresolved(error) | Unconnected::Refused(error) => unreachable(error),
        })?;
        match timeout(PROXY_TIMEOUT, self.ask(&mut socket, server)).await {
            Ok(Ok(status)) => self.judge(status, server).map(|()| socket),
            Ok(Err(fault)) => Err(fault),
            Err(late) => Err(unreachable(late.into())),
        }
    }

    /// Asks to be connected (RFC 9110, section 9.3.6); the status of the answer.
    async fn ask(&self, socket: &mut TcpStream, server: &HostPort) -> Result<u16, ProxyFault> {
        let proxy = || self.address.to_string();
        let unreachable = |error| ProxyFault::Unreachable { proxy: proxy(), error };
        let strange = |reason| ProxyFault::NotAProxy { proxy: proxy(), reason };
        let request = self.request(server);
        socket
            .write_all(request.expose().as_bytes())
            .await
            .map_err(unreachable)?;
        let mut answer = Vec::new();
        loop {
            if let Some((head, rest)) = split_head(&answer) {
                let status = status(head).ok_or_else(|| strange("not HTTP"))?;
                // Whom we asked for waits for our first word, so nobody but the proxy can have said this.
                if is_success(status) && !rest.is_empty() {
                    return Err(strange("more than a header"));
                }
                return Ok(status);
            }
            if answer.len() >= PROXY_ANSWER_MAX {
                return Err(strange("endless header"));
            }
            if socket.read_buf(&mut answer).await.map_err(unreachable)? == 0 {
                return Err(strange("it hung up"));
            }
        }
    }

    fn request(&self, server: &HostPort) -> Secret {
        let login = self.login.as_ref().map_or_else(String::new, |(user, password)| {
            let login = Secret::new(format!("{user}:{}", password.expose()));
            format!("Proxy-Authorization: Basic {}\r\n", BASE64.encode(login.expose()))
        });
        Secret::new(format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n{login}\r\n"))
    }

    fn judge(&self, status: u16, server: &HostPort) -> Result<(), ProxyFault> {
        let (proxy, server) = (self.address.to_string(), server.to_string());
        match (status, &self.login) {
            (200..=299, _) => Ok(()),
            (407, None) => Err(ProxyFault::LoginWanted { proxy }),
            (407, Some((user, _))) => Err(ProxyFault::LoginRefused {
                proxy,
                user: user.clone(),
            }),
            (500..=599, _) => Err(ProxyFault::ServerUnreachable { proxy, server, status }),
            _ => Err(ProxyFault::Forbidden { proxy, server, status }),
        }
    }
}

const fn is_success(status: u16) -> bool {
    matches!(status, 200..=299)
}

/// Header and what follows it, once the header is complete.
fn split_head(answer: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((answer.get(..end)?, answer.get(end + 4..)?))
}

/// The status in `HTTP/1.x 200 …`.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok().filter(|status| (100..1000).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(login: Option<(&str, &str)>) -> HttpProxy {
        HttpProxy {
            address: ProxyAddress::parse("squid.example:3128").unwrap(),
            login: login.map(|(user, password)| (user.to_owned(), Secret::new(password))),
        }
    }

    #[test]
    fn login_is_in_the_request_and_in_nothing_that_is_shown() {
        let server = HostPort::parse("sat.example").unwrap();
        let proxy = proxy(Some(("Aladdin", "open sesame")));

        // RFC 7617, section 2.
        let request = proxy.request(&server);
        assert!(
            request
                .expose()
                .contains("\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"),
            "{}",
            request.expose()
        );
        let shown = format!("{proxy:?} {request:?} {}", proxy.judge(407, &server).unwrap_err());
        assert!(!shown.contains("sesame") && !shown.contains("QWxh"), "{shown}");
    }

    #[test]
    fn status_is_read_from_proxies_of_both_versions_and_from_nothing_else() {
        for (head, read) in [
            ("HTTP/1.0 200 Connection established", Some(200)),
            ("HTTP/1.1 407", Some(407)),
            ("HTTP/2 200 OK", None),
            ("HTTP/1.1 2000", None),
            ("SSH-2.0-OpenSSH", None),
            ("", None),
        ] {
            assert_eq!(status(format!("{head}\r\nA: b").as_bytes()), read, "{head}");
        }
    }
}
