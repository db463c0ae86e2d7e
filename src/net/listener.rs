//! Listening sockets, and the connections that come from them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::sockopt::{Ipv6V6Only, ReuseAddr, TcpUserTimeout};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use crate::net::tls::{EXPORTER_LABEL, ServerTls, link_error};
use crate::ports::transport::{Connection, Handshake, LinkError, Listener};

/// Connections the kernel holds for us, since a whole site may come back within a second: as many as `somaxconn`
/// grants, which is 4 096 by default.
const BACKLOG: Backlog = Backlog::MAXALLOWABLE;
/// A peer that acknowledges nothing for so long is gone: push life cycle, section 4.
const USER_TIMEOUT: Duration = Duration::from_secs(25);
/// Bytes that TLS keeps for a slow reader, beside what its session queues.
const TLS_BUFFER_MAX: usize = 16 * 1024;

/// A listening socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}: stop what uses it, or configure another address or port")]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// What the system says.
    #[source]
    pub error: io::Error,
}

/// Listens on every address of both families. IPv6 is left out where the machine has none. With port 0 both families
/// get the same free port.
///
/// # Errors
/// [`ListenError`]; nothing is listened on then. To be called within a runtime.
pub fn listen_everywhere(port: u16, tls: &Arc<ServerTls>) -> Result<Vec<Arc<dyn Listener>>, ListenError> {
    let v4 = listen_on(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), tls)?;
    let port = v4.local_addr().port();
    match listen_on(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), tls) {
        Ok(v6) => Ok(vec![v4, v6]),
        Err(ListenError { error, .. }) if lacks_ipv6(&error) => Ok(vec![v4]),
        Err(error) => Err(error),
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(nix::errno::Errno::from_raw),
        Some(nix::errno::Errno::EAFNOSUPPORT | nix::errno::Errno::EADDRNOTAVAIL)
    )
}

/// Listens on one address. An IPv6 socket takes IPv6 only, so that both families can be listened on side by side
/// whatever the system's default is.
///
/// # Errors
/// [`ListenError`]. To be called within a runtime.
pub fn listen_on(address: SocketAddr, tls: &Arc<ServerTls>) -> Result<Arc<dyn Listener>, ListenError> {
    let open = || -> io::Result<TlsListener> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket: OwnedFd = socket(family, SockType::Stream, flags, None)?;
        setsockopt(&socket, ReuseAddr, &true)?;
        if address.is_ipv6() {
            setsockopt(&socket, Ipv6V6Only, &true)?;
        }
        bind(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            &SockaddrStorage::from(address),
        )?;
        listen(&socket, BACKLOG)?;
        let socket = std::net::TcpListener::from(socket);
        Ok(TlsListener {
            address: socket.local_addr()?,
            socket: tokio::net::TcpListener::from_std(socket)?,
            tls: Arc::clone(tls),
        })
    };
    match open() {
        Ok(listener) => Ok(Arc::new(listener)),
        Err(error) => Err(ListenError { address, error }),
    }
}

/// Raises the process's limit of descriptors to what the system allows; how many connections fit when `reserve` are
/// kept for files, the database and other sockets.
///
/// # Errors
/// What the system says.
pub fn connections_possible(reserve: usize) -> io::Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(usize::try_from(hard).unwrap_or(usize::MAX).saturating_sub(reserve))
}

struct TlsListener {
    socket: tokio::net::TcpListener,
    address: SocketAddr,
    tls: Arc<ServerTls>,
}

impl Listener for TlsListener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Connection>>> {
        let (socket, peer) = ready!(self.socket.poll_accept(cx))?;
        let socket = Socket::new(socket.into_std()?, peer, Arc::clone(&self.tls))?;
        Poll::Ready(Ok(Box::new(socket)))
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

/// A client's TCP connection. It registers with the runtime that polls it first, which is its session's and not the
/// one that accepted it.
struct Socket {
    peer: SocketAddr,
    tls: Arc<ServerTls>,
    stream: Stream,
}

enum Stream {
    Fresh(std::net::TcpStream),
    Plain(TcpStream),
    Handshaking(Box<Accept<TcpStream>>),
    Secure(Box<TlsStream<TcpStream>>),
    Gone,
}

impl Socket {
    fn new(socket: std::net::TcpStream, peer: SocketAddr, tls: Arc<ServerTls>) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let timeout = u32::try_from(USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
        setsockopt(&socket, TcpUserTimeout, &timeout)?;
        Ok(Self {
            peer,
            tls,
            stream: Stream::Fresh(socket),
        })
    }

    fn io(&mut self) -> io::Result<Pin<&mut dyn AsyncReadWrite>> {
        if let Stream::Fresh(_) = self.stream {
            self.register()?;
        }
        match &mut self.stream {
            Stream::Plain(stream) => Ok(Pin::new(stream)),
            Stream::Secure(stream) => Ok(Pin::new(&mut **stream)),
            Stream::Fresh(_) | Stream::Handshaking(_) | Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn register(&mut self) -> io::Result<()> {
        self.stream = match std::mem::replace(&mut self.stream, Stream::Gone) {
            Stream::Fresh(socket) => Stream::Plain(TcpStream::from_std(socket)?),
            other => other,
        };
        Ok(())
    }
}

trait AsyncReadWrite: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> AsyncReadWrite for T {}

impl Connection for Socket {
    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, LinkError>> {
        let mut buffer = ReadBuf::new(buffer);
        match ready!(self.io()?.poll_read(cx, &mut buffer)) {
            Ok(()) => Poll::Ready(Ok(buffer.filled().len())),
            // Many clients never send `close_notify`: compatibility contract, section 1.15.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
            Err(error) => Poll::Ready(Err(link_error(error))),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, LinkError>> {
        self.io()?.poll_write(cx, bytes).map_err(link_error)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        self.io()?.poll_flush(cx).map_err(link_error)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<Handshake, LinkError>> {
        self.register()?;
        loop {
            match std::mem::replace(&mut self.stream, Stream::Gone) {
                Stream::Plain(stream) => {
                    let acceptor = TlsAcceptor::from(self.tls.config());
                    let limit_buffers = |tls: &mut rustls::ServerConnection| tls.set_buffer_limit(Some(TLS_BUFFER_MAX));
                    self.stream = Stream::Handshaking(Box::new(acceptor.accept_with(stream, limit_buffers)));
                }
                Stream::Handshaking(mut accept) => {
                    let Poll::Ready(accepted) = Pin::new(&mut *accept).poll(cx) else {
                        self.stream = Stream::Handshaking(accept);
                        return Poll::Pending;
                    };
                    let stream = accepted.map_err(link_error)?;
                    let handshake = facts(stream.get_ref().1);
                    self.stream = Stream::Secure(Box::new(stream));
                    return Poll::Ready(Ok(handshake));
                }
                Stream::Fresh(_) | Stream::Secure(_) | Stream::Gone => {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::NotConnected).into()));
                }
            }
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        self.io()?.poll_shutdown(cx).map_err(link_error)
    }
}

fn facts(tls: &rustls::ServerConnection) -> Handshake {
    // The exporter of TLS 1.2 is unique only with extended master secret, so binding is offered with TLS 1.3 alone.
    let modern = tls.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
    let binding = modern.then(|| tls.export_keying_material([0; 32], EXPORTER_LABEL, None).ok());
    Handshake {
        channel_binding: binding.flatten(),
    }
}
