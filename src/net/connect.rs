//! TCP connections to a host by name or address.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::ports::transport::DialError;

/// How long one address may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses tried of one name; a round-robin of more says nothing new about the network.
const ADDRESSES_MAX: usize = 8;

/// Why there is no connection.
pub(super) enum Unconnected {
    /// The name has no address.
    Unresolved(io::Error),
    /// No address takes connections; what the last one said.
    Refused(io::Error),
}

impl Unconnected {
    /// The same for the actors; `keys` are the settings that name the host.
    pub(super) fn into_dial_error(self, name: &str, server: String, keys: &'static str) -> DialError {
        match self {
            Self::Unresolved(error) => DialError::Unresolvable {
                name: name.to_owned(),
                keys,
                error,
            },
            Self::Refused(error) => DialError::Refused { server, error },
        }
    }
}

/// Connects to the first address of a name that answers.
pub(super) async fn connect_to(host: &str, port: u16) -> Result<TcpStream, Unconnected> {
    let addresses = tokio::net::lookup_host((host, port)).await;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses.map_err(Unconnected::Unresolved)?.take(ADDRESSES_MAX) {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(late) => last = late.into(),
        }
    }
    Err(Unconnected::Refused(last))
}
