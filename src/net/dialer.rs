//! Connections of the agent to its server.

use std::sync::Arc;

use super::access::Access;
pub use super::client_socket::Keepalive;
use super::client_socket::Socket;
use crate::ports::transport::{Connection, DialError, Dialer, Dialing};
use crate::settings::names::HostPort;

/// Connects to one server by name.
#[derive(Clone, Debug)]
pub struct TcpDialer {
    server: HostPort,
    access: Arc<Access>,
    keepalive: Keepalive,
}

impl TcpDialer {
    /// Connects to `server`, whose certificate must be trusted and carry its name.
    pub const fn new(server: HostPort, access: Arc<Access>, keepalive: Keepalive) -> Self {
        Self {
            server,
            access,
            keepalive,
        }
    }

    async fn connect(self) -> Result<Box<dyn Connection>, DialError> {
        let stream = self.access.connect(&self.server).await?;
        let socket = Socket::new(
            stream,
            self.server.host.as_str(),
            Some(self.access.tls.clone()),
            self.keepalive,
        );
        let socket = socket.map_err(|error| DialError::Refused {
            server: self.server.to_string(),
            error,
        });
        Ok(Box::new(socket?))
    }
}

impl Dialer for TcpDialer {
    fn dial(&self) -> Dialing {
        Box::pin(self.clone().connect())
    }

    fn domain(&self) -> &str {
        self.server.host.as_str()
    }
}
