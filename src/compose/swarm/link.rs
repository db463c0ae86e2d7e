//! One connection of an agent: plain, then TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::net::tls::ClientTls;
use crate::protocol::sasl::TlsExporter;

/// The label of `tls-exporter` channel binding (RFC 9266).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// Where and how all agents connect.
pub(super) struct Target {
    address: SocketAddr,
    name: ServerName<'static>,
    connector: TlsConnector,
}

impl Target {
    /// Every login is a full handshake: what a resumed one saves is not counted on.
    pub(super) fn new(address: SocketAddr, name: ServerName<'static>, tls: &ClientTls) -> Self {
        let mut config = (*tls.config).clone();
        config.resumption = Resumption::disabled();
        Self {
            address,
            name,
            connector: TlsConnector::from(Arc::new(config)),
        }
    }
}

/// A connection.
pub(super) enum Link {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
    /// A handshake failed.
    Gone,
}

impl Link {
    pub(super) async fn connect(target: &Target) -> io::Result<Self> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::Plain(stream))
    }

    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer).await,
            Self::Secure(stream) => stream.read(buffer).await,
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Secure(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Becomes TLS; the keying material for channel binding, where TLS has it.
    pub(super) async fn handshake(&mut self, target: &Target) -> io::Result<Option<TlsExporter>> {
        let Self::Plain(stream) = std::mem::replace(self, Self::Gone) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let stream = target.connector.connect(target.name.clone(), stream).await?;
        let mut exporter = TlsExporter::default();
        let exported = stream
            .get_ref()
            .1
            .export_keying_material(&mut exporter, EXPORTER_LABEL, None);
        let exporter = exported.is_ok().then_some(exporter);
        *self = Self::Secure(Box::new(stream));
        Ok(exporter)
    }
}
