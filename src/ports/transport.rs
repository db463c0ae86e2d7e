//! Sockets as the actors see them: plain bytes first, TLS when asked.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::ports::tls::TlsError;

/// TLS handshakes that may have their turn at once: enough to keep all cores busy, few enough that a herd does not
/// hold the memory of thousands of them.
pub const HANDSHAKE_TURNS: usize = 64;
/// How long a handshake keeps its turn. One that takes longer goes on without, so that peers that stay silent, from one
/// address limited to some dozens a second, cannot keep all others waiting.
pub const HANDSHAKE_TURN: Duration = Duration::from_millis(500);

/// What both ends know of a finished TLS handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// `tls-exporter` channel binding (RFC 9266); only TLS 1.3 has it.
    pub channel_binding: Option<[u8; 32]>,
}

/// Why TLS did not come about, or failed later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFailure {
    /// The peer speaks only versions or ciphers that are no longer safe, such as TLS 1.0; compatibility contract,
    /// section 1.4.
    #[error("peer offers no TLS 1.2 or 1.3 with a modern cipher: {0}")]
    LegacyPeer(String),
    /// The same of a server.
    #[error(
        "the server offers no TLS 1.2 or 1.3 with a modern cipher ({0}): allow TLS 1.2 in its configuration, or update it and \
         its OpenSSL to 1.0.1 or later"
    )]
    LegacyServer(String),
    /// What came is not TLS.
    #[error("peer does not speak TLS: {0}")]
    NotTls(String),
    /// The peer refused our certificate.
    #[error("peer refused the certificate: {0}")]
    CertificateRefused(String),
    /// The server's certificate did not verify.
    #[error("the server's certificate {0}")]
    PeerCertificate(#[from] CertificateFault),
    /// Anything else.
    #[error("TLS failed: {0}")]
    Other(String),
}

/// Which client verifies a server's certificate, so that an error names its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientRole {
    /// The agent, at its dispatcher or Satellite.
    Agent,
    /// The dispatcher, at a site's own XMPP server.
    Dispatcher,
}

impl ClientRole {
    const fn authority_keys(self) -> &'static str {
        match self {
            Self::Agent => "sslCACert or osa_ssl_cert; tls.ca",
            Self::Dispatcher => "osa-dispatcher.osa_ssl_cert; upstream.ca",
        }
    }

    const fn other_name(self) -> &'static str {
        match self {
            Self::Agent => "connect by a name in its subjectAltName (serverURL or server_url)",
            Self::Dispatcher => "correct the name of the site (osa-dispatcher.jabber_server; hostname)",
        }
    }
}

/// What a client finds wrong with a server's certificate. Each is completed by "the server's certificate".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// Nobody that the client trusts signed it.
    #[error(
        "is not signed by an authority in {authority}: put the server's CA certificate there, or name the file that holds \
         it ({})", .client.authority_keys(), authority = .authority.display()
    )]
    OtherAuthority {
        /// The CA file.
        authority: PathBuf,
        /// Who verified.
        client: ClientRole,
    },
    /// Its time is over.
    #[error("has expired: renew it on the server, or correct this machine's clock")]
    Expired,
    /// Its time has not come.
    #[error("is not valid yet: correct this machine's clock, or the server's")]
    NotYetValid,
    /// It is for another host.
    #[error(
        "is for {names}, not for {expected}: {}, or give the server a certificate for {expected}",
        .client.other_name(), names = listed(names)
    )]
    OtherName {
        /// The name that was connected to.
        expected: String,
        /// The names in the certificate.
        names: Vec<String>,
        /// Who verified.
        client: ClientRole,
    },
    /// It has the name where only old clients look for it; compatibility contract, section 1.4.
    #[error(
        "has no subjectAltName, and {expected} only as its common name: give the server one with both, or set \
         upstream.common_name = true"
    )]
    CommonNameOnly {
        /// The name that was wanted.
        expected: String,
    },
    /// It has no subjectAltName at all.
    #[error(
        "has no subjectAltName, where {expected} must stand: give the server a certificate that names it there, and as common name for existing agents"
    )]
    NoAltName {
        /// The name that was wanted.
        expected: String,
    },
    /// SHA-1 or worse, as old tools of Satellites used it.
    #[error(
        "is signed by a method that is not safe any more, such as SHA-1: make a new one on the server, signed with SHA-256"
    )]
    OldSignature,
    /// It is damaged, or made for another purpose or with methods that are not safe.
    #[error("cannot be used ({0}): make a new one on the server, for TLS servers and signed with SHA-256")]
    Unusable(String),
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "no host by subjectAltName".to_owned(),
        names => names.join(", "),
    }
}

/// Why a connection ended badly.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The network's fault.
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    /// TLS's fault.
    #[error(transparent)]
    Tls(#[from] TlsFailure),
}

/// One connection. All calls follow the rules of `poll` functions: `Pending` only with the waker registered.
pub trait Connection: Send + 'static {
    /// Who is at the other end.
    fn peer_addr(&self) -> SocketAddr;

    /// Reads what is there; zero bytes are the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, LinkError>>;

    /// Writes some of `bytes`; how many.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, LinkError>>;

    /// Hands everything written to the operating system.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>>;

    /// Under which name a server shakes hands, if the peer asked for one before; clients know theirs.
    fn present(&mut self, _name: &str) {}

    /// Becomes TLS; to be called until ready, and once only. Nothing may be read or written meanwhile.
    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<Handshake, LinkError>>;

    /// Says goodbye (`close_notify`) and closes.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>>;
}

/// Where connections come from. Shared: it outlives whoever accepts from it.
pub trait Listener: Send + Sync + 'static {
    /// The next connection.
    ///
    /// # Errors
    /// What `accept` says; `EMFILE` and `ENFILE` mean that no descriptors are left.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Connection>>>;

    /// The address it listens on.
    fn local_addr(&self) -> SocketAddr;
}

/// Why a server could not be connected to. All of it can heal.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Its name has no address.
    #[error("cannot resolve {name} ({keys}): {error}; correct the name, or the name servers")]
    Unresolvable {
        /// The name.
        name: String,
        /// The settings that have it.
        keys: &'static str,
        /// The resolver's words.
        error: io::Error,
    },
    /// None of its addresses takes connections.
    #[error("cannot connect to {server}: {error}; start the server, or open the port")]
    Refused {
        /// Name and port.
        server: String,
        /// What the last address said.
        error: io::Error,
    },
    /// It is on another machine, and nothing says whom to trust there.
    #[error(
        "{server} is not on this machine, and without TLS only that is safe: set upstream.ca, and have the server or stunnel \
         there begin TLS at once"
    )]
    Unprotected {
        /// Name and port.
        server: String,
    },
    /// The HTTP proxy in between does not let us through.
    #[error(transparent)]
    Proxy(#[from] ProxyFault),
    /// Whom to trust cannot be read any more.
    #[error(transparent)]
    Authority(#[from] TlsError),
}

/// Why an HTTP proxy did not connect us. The keys are those of `up2date` and `osad.conf`, then ours.
#[derive(Debug, thiserror::Error)]
pub enum ProxyFault {
    /// It does not take connections.
    #[error("cannot connect to the HTTP proxy {proxy}: {error}; start it, or correct httpProxy (proxy.server)")]
    Unreachable {
        /// Host and port.
        proxy: String,
        /// The network's words.
        error: io::Error,
    },
    /// It wants to know who we are, and was not told (407).
    #[error(
        "the HTTP proxy {proxy} wants a user name and password (status 407): set enableProxyAuth=1, proxyUser and \
         proxyPassword (proxy.user, proxy.password)"
    )]
    LoginWanted {
        /// Host and port.
        proxy: String,
    },
    /// It does not know the user, or the password is wrong (407).
    #[error(
        "the HTTP proxy {proxy} refuses the user {user:?} or the password (status 407): correct proxyUser and \
         proxyPassword (proxy.user, proxy.password); Basic is the method used"
    )]
    LoginRefused {
        /// Host and port.
        proxy: String,
        /// The user's name.
        user: String,
    },
    /// It does not connect to such servers.
    #[error(
        "the HTTP proxy {proxy} does not connect to {server} (status {status}): let it CONNECT to this host and port, or \
         switch enableProxy off (proxy.server = \"\")"
    )]
    Forbidden {
        /// Host and port of the proxy.
        proxy: String,
        /// Host and port of the server.
        server: String,
        /// The status.
        status: u16,
    },
    /// It tried, in vain.
    #[error("the HTTP proxy {proxy} cannot reach {server} (status {status}): start the server, or open the way to it")]
    ServerUnreachable {
        /// Host and port of the proxy.
        proxy: String,
        /// Host and port of the server.
        server: String,
        /// The status.
        status: u16,
    },
    /// What answers is no HTTP proxy.
    #[error("{proxy} does not answer as an HTTP proxy ({reason}): correct httpProxy (proxy.server)")]
    NotAProxy {
        /// Host and port.
        proxy: String,
        /// What is wrong with its answer.
        reason: &'static str,
    },
}

/// Whether nobody but this machine sees what goes to this address.
pub fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// A connection to be.
pub type Dialing = Pin<Box<dyn Future<Output = Result<Box<dyn Connection>, DialError>> + Send>>;

/// Makes connections to one server.
pub trait Dialer: Send + Sync + 'static {
    /// Connects to the first of the server's addresses that answers. Its TLS will accept the server's name only.
    fn dial(&self) -> Dialing;

    /// The server's domain: the name it is connected to by, lower-case.
    fn domain(&self) -> &str;
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_this_machine_is_loopback() {
        let is_here = |address: &str| is_loopback(address.parse().expect("an address"));

        for address in ["127.0.0.1:1", "127.9.8.7:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(is_here(address), "{address}");
        }
        for address in [
            "10.0.0.1:1",
            "0.0.0.0:1",
            "[::]:1",
            "[fe80::1]:1",
            "[::ffff:10.0.0.1]:1",
        ] {
            assert!(!is_here(address), "{address}");
        }
    }
}
