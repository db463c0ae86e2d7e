//! Sockets as the actors see them: plain bytes first, TLS when asked.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

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
    /// What came is not TLS.
    #[error("peer does not speak TLS: {0}")]
    NotTls(String),
    /// The peer refused our certificate.
    #[error("peer refused the certificate: {0}")]
    CertificateRefused(String),
    /// The peer's certificate did not verify.
    #[error("certificate of the peer is not valid: {0}")]
    PeerCertificate(String),
    /// Anything else.
    #[error("TLS failed: {0}")]
    Other(String),
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
    #[error("cannot resolve {name} (server_url or jabber_server): {error}; correct the name, or the name servers")]
    Unresolvable {
        /// The name.
        name: String,
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
