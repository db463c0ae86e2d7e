//! The way to a client whose connection ends here: bytes, through the embedded server's stream.

use std::sync::Arc;

use actix::{AsyncContext, Context};

use super::pump::Pump;
use super::totals::Ending;
use super::{Session, SessionParts, Way, now};
use crate::actors::tls_supervisor::Ticket;
use crate::actors::wire::Link;
use crate::ports::transport::Connection;
use crate::protocol::stream::server::{ServerEvent, ServerStream};
use crate::protocol::stream::{Output, Seed};

/// A connection, and the stream on it.
pub(super) struct SocketWay {
    pub link: Link,
    pub stream: ServerStream,
}

impl Session {
    /// A session with a connection accepted now.
    pub(super) fn accepted(parts: Arc<SessionParts>, connection: Box<dyn Connection>, ticket: Ticket) -> Self {
        let mut random = [0; 32];
        parts.entropy.fill(&mut random);
        let way = SocketWay {
            link: Link::new(connection),
            stream: ServerStream::new(Arc::clone(&parts.config), Seed::new(random), now()),
        };
        Self::new(parts, Way::Socket(Box::new(way)), ticket)
    }

    pub(super) fn start_socket(&self, ctx: &mut Context<Self>) {
        ctx.spawn(Pump::default());
    }

    pub(super) fn socket(&mut self) -> Option<&mut SocketWay> {
        match &mut self.way {
            Way::Socket(socket) => Some(socket),
            Way::Relay(_) => None,
        }
    }

    pub(super) fn receive(&mut self, bytes: &[u8], ctx: &mut Context<Self>) {
        self.totals.bytes_in += bytes.len() as u64;
        if let Some(socket) = self.socket() {
            socket.stream.receive(bytes, now());
        }
        self.perform(ctx);
    }

    /// Does one thing that the stream wants done; whether there was one.
    pub(super) fn perform_stream(&mut self, ctx: &mut Context<Self>) -> bool {
        let Some(socket) = self.socket() else { return false };
        match socket.stream.poll_output() {
            Some(Output::Write(bytes)) => self.write(bytes, ctx),
            Some(Output::StartTls) => {
                socket.link.present(socket.stream.domain());
                socket.link.start_tls();
            }
            Some(Output::Event(event)) => self.handle_event(event, ctx),
            Some(Output::Close(end)) => {
                socket.link.close(now());
                self.totals.ended(Ending::Stream(end));
            }
            None => return false,
        }
        true
    }

    fn write(&mut self, bytes: Vec<u8>, ctx: &mut Context<Self>) {
        self.totals.bytes_out += bytes.len() as u64;
        let Some(socket) = self.socket() else { return };
        if socket.link.outgoing.queue(bytes, now()).is_err() {
            self.end(Ending::SlowReader, ctx);
        }
    }

    fn handle_event(&mut self, event: ServerEvent, ctx: &mut Context<Self>) {
        match event {
            ServerEvent::Ask(token, question) => self.ask_for_account(token, question, ctx),
            ServerEvent::LoggedIn(jid) => self.log_in(jid.into(), ctx),
            ServerEvent::Client(activity) => self.handle_activity(activity, ctx),
        }
    }
}
