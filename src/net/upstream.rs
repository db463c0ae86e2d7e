//! Connections of the dispatcher to a site's own XMPP server.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::client_socket::{Keepalive, Socket};
use super::connect::connect_to;
use super::tls::{ClientTls, upstream_tls};
use crate::host::clock::SystemClock;
use crate::ports::clock::Clock;
use crate::ports::tls::TlsError;
use crate::ports::transport::{Connection, DialError, Dialer, Dialing, is_loopback};
use crate::settings::names::DomainName;
use crate::settings::upstream::UpstreamAddress;

/// One connection carries all pushes, so it is asked after more often than an agent's.
const KEEPALIVE: Keepalive = Keepalive {
    idle: Duration::from_secs(60),
    count: 3,
};

/// Connects to the first of a site's XMPP servers that takes connections. A connection begins its search behind the server that
/// the one before it found: of a cluster, a node that takes connections and then stays silent keeps nobody from the others.
#[derive(Clone, Debug)]
pub struct UpstreamDialer {
    servers: Arc<[UpstreamAddress]>,
    hostname: DomainName,
    authority: Option<PathBuf>,
    common_name: bool,
    next: Arc<AtomicUsize>,
}

impl UpstreamDialer {
    /// Connects to `servers`, whose certificate must be for `hostname` and signed by who is in the PEM file `authority`. The file
    /// is read at each connection, so that a renewed one needs no restart. With `common_name`, a certificate without
    /// subjectAltName may have the name as its common name. Without an authority there is no TLS, and no connection that leaves this
    /// machine.
    ///
    /// # Errors
    /// [`TlsError`] if the file is of no use now.
    pub fn new(
        servers: Vec<UpstreamAddress>,
        hostname: DomainName,
        authority: Option<PathBuf>,
        common_name: bool,
    ) -> Result<Self, TlsError> {
        let dialer = Self {
            servers: servers.into(),
            hostname,
            authority,
            common_name,
            next: Arc::default(),
        };
        dialer.tls()?;
        Ok(dialer)
    }

    fn tls(&self) -> Result<Option<ClientTls>, TlsError> {
        let now = SystemClock.now();
        let authority = self.authority.as_deref();
        authority
            .map(|file| upstream_tls(file, self.common_name, now))
            .transpose()
    }

    async fn connect(self) -> Result<Box<dyn Connection>, DialError> {
        let tls = self.tls()?;
        let (first, count) = (self.next.load(Ordering::Relaxed), self.servers.len());
        let mut last = None;
        for index in (0..count).map(|offset| first.wrapping_add(offset) % count) {
            let Some(server) = self.servers.get(index) else {
                continue;
            };
            // Before it is tried: whoever loses patience with one that does not answer goes on behind it.
            self.next.store(index + 1, Ordering::Relaxed);
            match self.connect_to(server, tls.as_ref()).await {
                Ok(socket) => return Ok(Box::new(socket)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| DialError::Refused {
            server: self.hostname.to_string(),
            error: std::io::ErrorKind::NotFound.into(),
        }))
    }

    async fn connect_to(&self, server: &UpstreamAddress, tls: Option<&ClientTls>) -> Result<Socket, DialError> {
        let keys = "osa-dispatcher.jabber_server; upstream.server";
        let connected = connect_to(&server.host, server.port).await;
        let stream = connected.map_err(|error| error.into_dial_error(&server.host, server.to_string(), keys))?;
        let server = server.to_string();
        let socket = Socket::new(stream, self.hostname.as_str(), tls.cloned(), KEEPALIVE);
        match socket {
            Ok(socket) if tls.is_none() && !is_loopback(socket.peer_addr()) => Err(DialError::Unprotected { server }),
            socket => socket.map_err(|error| DialError::Refused { server, error }),
        }
    }
}

impl Dialer for UpstreamDialer {
    fn dial(&self) -> Dialing {
        Box::pin(self.clone().connect())
    }

    fn domain(&self) -> &str {
        self.hostname.as_str()
    }
}
