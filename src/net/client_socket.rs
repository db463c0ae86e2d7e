//! A client's connection: how it notices a dead peer, and how it becomes TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{KeepAlive, TcpKeepCount, TcpKeepIdle, TcpUserTimeout};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::Connect;
use tokio_rustls::client::TlsStream;

use super::tls::{ClientTls, EXPORTER_LABEL};
use crate::ports::transport::{Connection, Handshake, LinkError};

/// A server that acknowledges nothing for so long is gone: push life cycle, section 4.
const USER_TIMEOUT: Duration = Duration::from_secs(25);

/// When and how often the kernel asks whether an idle connection lives (compatibility contract, section 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle time before the first question.
    pub idle: Duration,
    /// Questions without answer before the connection is dead.
    pub count: u32,
}

/// A connection of a client: plain first, TLS when asked.
pub(super) struct Socket {
    peer: SocketAddr,
    name: ServerName<'static>,
    /// Without, it stays plain.
    tls: Option<ClientTls>,
    stream: Stream,
}

enum Stream {
    Plain(TcpStream),
    Handshaking(Box<Connect<TcpStream>>),
    Secure(Box<TlsStream<TcpStream>>),
    Gone,
}

trait AsyncReadWrite: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> AsyncReadWrite for T {}

impl Socket {
    /// Takes a connection to a server that must prove to have this name.
    pub(super) fn new(stream: TcpStream, name: &str, tls: Option<ClientTls>, keepalive: Keepalive) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        stream.set_nodelay(true)?;
        let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let secs = u32::try_from(keepalive.idle.as_secs()).unwrap_or(u32::MAX);
        setsockopt(&stream, TcpUserTimeout, &millis(USER_TIMEOUT))?;
        setsockopt(&stream, KeepAlive, &true)?;
        setsockopt(&stream, TcpKeepIdle, &secs)?;
        setsockopt(&stream, TcpKeepCount, &keepalive.count)?;
        Ok(Self {
            peer: stream.peer_addr()?,
            name,
            tls,
            stream: Stream::Plain(stream),
        })
    }

    fn link_error(&self, error: io::Error) -> LinkError {
        match &self.tls {
            Some(tls) => tls.link_error(error),
            None => error.into(),
        }
    }

    fn io(&mut self) -> io::Result<Pin<&mut dyn AsyncReadWrite>> {
        match &mut self.stream {
            Stream::Plain(stream) => Ok(Pin::new(stream)),
            Stream::Secure(stream) => Ok(Pin::new(&mut **stream)),
            Stream::Handshaking(_) | Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl Connection for Socket {
    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, LinkError>> {
        let mut buffer = ReadBuf::new(buffer);
        match ready!(self.io()?.poll_read(cx, &mut buffer)) {
            Ok(()) => Poll::Ready(Ok(buffer.filled().len())),
            // A server that was killed sends no `close_notify`.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
            Err(error) => Poll::Ready(Err(self.link_error(error))),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, LinkError>> {
        let written = self.io()?.poll_write(cx, bytes);
        written.map_err(|error| self.link_error(error))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        let flushed = self.io()?.poll_flush(cx);
        flushed.map_err(|error| self.link_error(error))
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<Handshake, LinkError>> {
        loop {
            match std::mem::replace(&mut self.stream, Stream::Gone) {
                Stream::Plain(stream) => {
                    let Some(tls) = &self.tls else {
                        return Poll::Ready(Err(io::Error::from(io::ErrorKind::Unsupported).into()));
                    };
                    let connect = tls.shake_hands(self.name.clone(), stream);
                    self.stream = Stream::Handshaking(Box::new(connect));
                }
                Stream::Handshaking(mut connect) => {
                    let Poll::Ready(connected) = Pin::new(&mut *connect).poll(cx) else {
                        self.stream = Stream::Handshaking(connect);
                        return Poll::Pending;
                    };
                    let stream = connected.map_err(|error| self.link_error(error))?;
                    let handshake = facts(stream.get_ref().1);
                    self.stream = Stream::Secure(Box::new(stream));
                    return Poll::Ready(Ok(handshake));
                }
                Stream::Secure(_) | Stream::Gone => {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::NotConnected).into()));
                }
            }
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        let closed = self.io()?.poll_shutdown(cx);
        closed.map_err(|error| self.link_error(error))
    }
}

fn facts(tls: &rustls::ClientConnection) -> Handshake {
    // The exporter of TLS 1.2 is unique only with extended master secret, so binding is used with TLS 1.3 alone.
    let modern = tls.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
    let binding = modern.then(|| tls.export_keying_material([0; 32], EXPORTER_LABEL, None).ok());
    Handshake {
        channel_binding: binding.flatten(),
    }
}
