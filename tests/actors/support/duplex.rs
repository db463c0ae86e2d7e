//! Connections and a listener in memory. "TLS" succeeds at once and leaves the bytes as they are.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use osa::ports::transport::{Connection, Handshake, LinkError, Listener};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;

/// Bytes in flight in each direction, as in a socket's buffers.
const PIPE_BYTES: usize = 4096;

pub struct Pipe {
    stream: DuplexStream,
    peer: SocketAddr,
    /// Never finishes its handshake.
    is_stuck: bool,
}

impl Pipe {
    /// The client's end of a connection.
    pub fn to_server(stream: DuplexStream) -> Self {
        Self {
            stream,
            peer: SocketAddr::from(([192, 0, 2, 2], 5222)),
            is_stuck: false,
        }
    }

    /// The same to a server at this address, which never finishes a handshake.
    pub fn without_tls(stream: DuplexStream, peer: SocketAddr) -> Self {
        Self {
            stream,
            peer,
            is_stuck: true,
        }
    }
}

impl Connection for Pipe {
    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, LinkError>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, LinkError>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes).map_err(Into::into)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        Pin::new(&mut self.stream).poll_flush(cx).map_err(Into::into)
    }

    fn poll_handshake(&mut self, _: &mut Context<'_>) -> Poll<Result<Handshake, LinkError>> {
        if self.is_stuck {
            return Poll::Pending;
        }
        Poll::Ready(Ok(Handshake::default()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        Pin::new(&mut self.stream).poll_shutdown(cx).map_err(Into::into)
    }
}

type Queue = mpsc::Receiver<io::Result<Box<dyn Connection>>>;

pub struct PipeListener {
    queue: Mutex<Queue>,
    /// How often somebody tried to accept.
    pub polls: AtomicUsize,
}

impl Listener for PipeListener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Connection>>> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        match self.queue.lock().expect("not poisoned").poll_recv(cx) {
            Poll::Ready(Some(accepted)) => Poll::Ready(accepted),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn local_addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 5222))
    }
}

/// The clients' side of the listener.
#[derive(Clone)]
pub struct Network(mpsc::Sender<io::Result<Box<dyn Connection>>>);

impl Network {
    pub fn new() -> (Self, PipeListener) {
        let (sender, queue) = mpsc::channel(10_000);
        let listener = PipeListener {
            queue: Mutex::new(queue),
            polls: AtomicUsize::new(0),
        };
        (Self(sender), listener)
    }

    pub async fn connect(&self) -> DuplexStream {
        self.connect_from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))).await
    }

    pub async fn connect_from(&self, address: IpAddr) -> DuplexStream {
        self.open(address, false).await
    }

    /// A peer that never says hello to TLS.
    pub async fn connect_stuck(&self) -> DuplexStream {
        self.open(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), true).await
    }

    async fn open(&self, address: IpAddr, is_stuck: bool) -> DuplexStream {
        let (client, server) = tokio::io::duplex(PIPE_BYTES);
        let connection = Pipe {
            stream: server,
            peer: SocketAddr::new(address, 40_000),
            is_stuck,
        };
        self.0.send(Ok(Box::new(connection))).await.expect("the listener lives");
        client
    }

    /// The next accept fails.
    pub async fn fail(&self, error: io::Error) {
        self.0.send(Err(error)).await.expect("the listener lives");
    }
}
