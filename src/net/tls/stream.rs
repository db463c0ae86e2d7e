//! The server's end of a TLS connection that keeps no buffers while it is idle.
//!
//! tokio-rustls holds a read buffer of 4 KiB per connection for good, which is more than all else an idle session
//! needs. rustls's unbuffered interface leaves buffers to the caller: here bytes are read into one buffer per thread,
//! and what cannot be used yet is kept until it can.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{Error, ProtocolVersion, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::exporter::ExporterSecret;
use super::failure::tls_failure;
use crate::ports::transport::{Handshake, LinkError};

/// Bytes read at once: a whole record of the longest kind.
const READ_MAX: usize = 18 * 1024;
/// Plaintext of one record at most (RFC 8446, section 5.1).
const RECORD_MAX: usize = 16 * 1024;
/// Room for a record's header, padding and tag.
const RECORD_OVERHEAD: usize = 64;
/// Room for an alert as it is encrypted.
const ALERT_ROOM: usize = 64;
/// Encrypted bytes that wait for a slow reader, beside what its session queues.
const UNSENT_MAX: usize = 16 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_MAX]);
}

/// A TLS connection over TCP.
pub(in crate::net) struct ServerTlsStream {
    tls: UnbufferedServerConnection,
    tcp: TcpStream,
    /// The start of a record whose rest has not come; empty while idle.
    incoming: Vec<u8>,
    /// Decrypted and not taken yet; empty while idle.
    plaintext: Vec<u8>,
    /// Encrypted and not sent yet; empty while idle.
    outgoing: Vec<u8>,
    exporter: Option<ExporterSecret>,
    peer_closed: bool,
    close_sent: bool,
    /// The peer broke the rules: nothing more can be said or understood.
    is_broken: bool,
}

impl ServerTlsStream {
    /// Begins with a connection on which the client's next bytes are its hello.
    pub fn new(config: Arc<ServerConfig>, tcp: TcpStream) -> Result<Self, LinkError> {
        let tls = UnbufferedServerConnection::new(config).map_err(|error| tls_failure(&error))?;
        Ok(Self {
            tls,
            tcp,
            incoming: Vec::new(),
            plaintext: Vec::new(),
            outgoing: Vec::new(),
            exporter: None,
            peer_closed: false,
            close_sent: false,
            is_broken: false,
        })
    }

    /// Shakes hands.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<Handshake, LinkError>> {
        loop {
            if let Err(error) = self.process() {
                self.send_alert(cx);
                return Poll::Ready(Err(tls_failure(&error).into()));
            }
            if !self.tls.is_handshaking() {
                // In TLS 1.3 only a ticket is left to be sent. It goes with the first words, which the client waits for.
                if self.tls.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
                    ready!(self.poll_flush(cx))?;
                }
                let exporter = self.exporter.take();
                return Poll::Ready(Ok(Handshake {
                    channel_binding: exporter.and_then(|secret| secret.channel_binding()),
                }));
            }
            if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
                return Poll::Ready(Err(error));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()));
            }
        }
    }

    /// Reads plaintext. An end without `close_notify` is an end: many clients never send it (compatibility contract,
    /// section 1.15).
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, LinkError>> {
        loop {
            if !self.plaintext.is_empty() {
                return Poll::Ready(Ok(take_front(&mut self.plaintext, buffer)));
            }
            if self.peer_closed {
                return Poll::Ready(Ok(0));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(0));
            }
            if let Err(error) = self.process() {
                self.send_alert(cx);
                return Poll::Ready(Err(tls_failure(&error).into()));
            }
            // What the records made us say; it is sent with the next write if it cannot be now.
            if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
                return Poll::Ready(Err(error));
            }
        }
    }

    /// Encrypts and sends as much as a record holds.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, LinkError>> {
        if self.outgoing.len() >= UNSENT_MAX {
            ready!(self.poll_flush(cx))?;
        }
        let bytes = bytes.get(..RECORD_MAX).unwrap_or(bytes);
        self.encrypt(bytes.len(), |state, room| match state {
            ConnectionState::WriteTraffic(mut traffic) => traffic.encrypt(bytes, room).map(Some),
            _ => Ok(None),
        })?;
        if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    /// Hands everything encrypted to the system.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        let mut sent = 0;
        let outcome = loop {
            let rest = self.outgoing.get(sent..).unwrap_or_default();
            if rest.is_empty() {
                break Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.tcp).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into())),
                Poll::Ready(Ok(count)) => sent += count,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error.into())),
                Poll::Pending => break Poll::Pending,
            }
        };
        discard_front(&mut self.outgoing, sent);
        outcome
    }

    /// Says goodbye and closes.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        if !self.close_sent {
            self.close_sent = true;
            self.encrypt(0, |state, room| match state {
                ConnectionState::WriteTraffic(mut traffic) => traffic.queue_close_notify(room).map(Some),
                _ => Ok(None),
            })?;
        }
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx).map_err(Into::into)
    }

    /// Reads what has come; how many bytes, zero at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut buffer))?;
            self.incoming.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    /// Takes records off `incoming` until it needs more of them.
    fn process(&mut self) -> Result<(), Error> {
        if self.is_broken {
            return Err(Error::HandshakeNotComplete);
        }
        loop {
            let goes_on = self.process_once();
            if let Some(secret) = ExporterSecret::take() {
                self.exporter = Some(secret);
            }
            self.is_broken = goes_on.is_err();
            if !goes_on? {
                return Ok(());
            }
        }
    }

    /// One step of rustls; whether there may be another one.
    fn process_once(&mut self) -> Result<bool, Error> {
        let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(&mut self.incoming);
        let goes_on = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    self.plaintext.extend_from_slice(record.payload);
                }
                Ok(true)
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                let room = match data.encode(&mut []) {
                    Err(EncodeError::InsufficientSize(needed)) => needed.required_size,
                    Ok(_) | Err(EncodeError::AlreadyEncoded) => 0,
                };
                append(&mut self.outgoing, room, |room| data.encode(room).ok());
                Ok(true)
            }
            // It is in `outgoing`, which is sent in order.
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Ok(true)
            }
            Ok(ConnectionState::PeerClosed) => {
                self.peer_closed = true;
                Ok(true)
            }
            // Early data is not enabled, and the rest waits for the client or for us.
            Ok(_) => Ok(false),
            Err(error) => Err(error),
        };
        discard_front(&mut self.incoming, discard);
        goes_on
    }

    /// Lets `write` encrypt so many bytes into `outgoing`. It is given whatever state the connection is in.
    fn encrypt(
        &mut self,
        count: usize,
        write: impl Fn(ConnectionState<'_, '_, rustls::server::ServerConnectionData>, &mut [u8]) -> Encrypted,
    ) -> Result<(), LinkError> {
        self.process().map_err(|error| tls_failure(&error))?;
        let UnbufferedStatus { discard, state } = self.tls.process_tls_records(&mut self.incoming);
        let state = state.map_err(|error| tls_failure(&error))?;
        let written = append(&mut self.outgoing, count + RECORD_OVERHEAD, |room| {
            write(state, room).ok().flatten()
        });
        discard_front(&mut self.incoming, discard);
        match written {
            Some(()) => Ok(()),
            None => Err(io::Error::from(io::ErrorKind::NotConnected).into()),
        }
    }

    /// Sends what rustls says to a peer that broke the rules, as far as it can be sent at once.
    fn send_alert(&mut self, cx: &mut Context<'_>) {
        // One call only: a second one would stumble over the same bytes again.
        let status = self.tls.process_tls_records(&mut self.incoming);
        if let Ok(ConnectionState::EncodeTlsData(mut alert)) = status.state {
            append(&mut self.outgoing, ALERT_ROOM, |room| alert.encode(room).ok());
        }
        if self.poll_flush(cx).is_pending() {
            self.outgoing = Vec::new();
        }
    }
}

type Encrypted = Result<Option<usize>, EncryptError>;

/// Appends what `write` puts into the room it is given; `None` if it does not.
fn append(bytes: &mut Vec<u8>, room: usize, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<()> {
    let start = bytes.len();
    bytes.resize(start + room, 0);
    let written = bytes.get_mut(start..).and_then(write);
    bytes.truncate(start + written.unwrap_or(0));
    written.map(|_| ())
}

/// Moves bytes from the front of `bytes` to `buffer`; how many.
fn take_front(bytes: &mut Vec<u8>, buffer: &mut [u8]) -> usize {
    let count = bytes.len().min(buffer.len());
    for (to, from) in buffer.iter_mut().zip(bytes.iter()) {
        *to = *from;
    }
    discard_front(bytes, count);
    count
}

/// Removes bytes from the front, and the memory with the last of them.
fn discard_front(bytes: &mut Vec<u8>, count: usize) {
    if count >= bytes.len() {
        *bytes = Vec::new();
    } else {
        bytes.drain(..count);
    }
}
