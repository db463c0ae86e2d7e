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

use crate::net::tls::{ServerTls, ServerTlsStream};
use crate::ports::transport::{Connection, Handshake, LinkError, Listener};

/// Connections the kernel holds for us, since a whole site may come back within a second: as many as `somaxconn`
/// grants, which is 4 096 by default.
const BACKLOG: Backlog = Backlog::MAXALLOWABLE;
/// A peer that acknowledges nothing for so long is gone: push life cycle, section 4.
const USER_TIMEOUT: Duration = Duration::from_secs(25);

/// A listening socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}: {remedy}", remedy = remedy(.error.kind()))]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// What the system says.
    #[source]
    pub error: io::Error,
}

fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied => {
            "let the service have it (CAP_NET_BIND_SERVICE below port 1024, SELinux: docs/attach.md), or configure another port"
        }
        io::ErrorKind::AddrNotAvailable => "configure an address of this machine",
        // Not our enum; mostly the port is taken.
        _ => "stop what uses it, or configure another address or port",
    }
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
    /// What the client asked for before TLS.
    name: Option<Box<str>>,
    stream: Stream,
}

enum Stream {
    Fresh(std::net::TcpStream),
    Plain(TcpStream),
    /// While and after shaking hands.
    Secure(Box<ServerTlsStream>),
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
            name: None,
            stream: Stream::Fresh(socket),
        })
    }

    fn stream(&mut self) -> io::Result<&mut Stream> {
        if let Stream::Fresh(_) = self.stream {
            self.stream = match std::mem::replace(&mut self.stream, Stream::Gone) {
                Stream::Fresh(socket) => Stream::Plain(TcpStream::from_std(socket)?),
                other => other,
            };
        }
        Ok(&mut self.stream)
    }

    fn start_tls(&mut self) -> Result<(), LinkError> {
        self.stream()?;
        if let Stream::Plain(_) = self.stream {
            let config = match self.name.take() {
                Some(name) => self.tls.config_for(&name),
                None => self.tls.config(),
            };
            self.stream = match std::mem::replace(&mut self.stream, Stream::Gone) {
                Stream::Plain(tcp) => Stream::Secure(Box::new(ServerTlsStream::new(config, tcp)?)),
                other => other,
            };
        }
        Ok(())
    }
}

fn not_connected<T>() -> Poll<Result<T, LinkError>> {
    Poll::Ready(Err(io::Error::from(io::ErrorKind::NotConnected).into()))
}

impl Connection for Socket {
    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, LinkError>> {
        match self.stream()? {
            Stream::Plain(tcp) => {
                let mut buffer = ReadBuf::new(buffer);
                ready!(Pin::new(tcp).poll_read(cx, &mut buffer))?;
                Poll::Ready(Ok(buffer.filled().len()))
            }
            Stream::Secure(tls) => tls.poll_read(cx, buffer),
            Stream::Fresh(_) | Stream::Gone => not_connected(),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, LinkError>> {
        match self.stream()? {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes).map_err(Into::into),
            Stream::Secure(tls) => tls.poll_write(cx, bytes),
            Stream::Fresh(_) | Stream::Gone => not_connected(),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        match self.stream()? {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx).map_err(Into::into),
            Stream::Secure(tls) => tls.poll_flush(cx),
            Stream::Fresh(_) | Stream::Gone => not_connected(),
        }
    }

    fn present(&mut self, name: &str) {
        self.name = Some(name.into());
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<Handshake, LinkError>> {
        self.start_tls()?;
        match &mut self.stream {
            Stream::Secure(tls) => tls.poll_handshake(cx),
            Stream::Fresh(_) | Stream::Plain(_) | Stream::Gone => not_connected(),
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        match self.stream()? {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx).map_err(Into::into),
            Stream::Secure(tls) => tls.poll_close(cx),
            Stream::Fresh(_) | Stream::Gone => not_connected(),
        }
    }
}
