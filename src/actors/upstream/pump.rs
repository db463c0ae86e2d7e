//! What moves a connection: its bytes and its one timer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use actix::fut::ActorFuture;
use actix::{ActorContext, ActorFutureExt, ActorState, AsyncContext, Context, WrapFuture};
use minidom::Element;

use super::live::{ABANDONED_EVERY, Ending, now};
use super::{LoginReport, Upstream};
use crate::actors::session::{Relay, Relayed};
use crate::actors::wire::{Progress, Timer};
use crate::protocol::contacts::{ContactOutput, Contacts};
use crate::protocol::ns;
use crate::protocol::stanza::StanzaFault;
use crate::protocol::stream::Output;
use crate::protocol::stream::client::ClientEvent;
use crate::protocol::stream::server::ClientActivity;

/// Bytes read at once: thousands of presences come in a row.
const CHUNK: usize = 32 * 1024;

/// Runs as long as its connection.
pub(super) struct Pump {
    connection: u64,
    timer: Timer,
    buffer: Box<[u8]>,
}

impl Pump {
    pub(super) fn new(connection: u64) -> Self {
        Self {
            connection,
            timer: Timer::default(),
            buffer: vec![0; CHUNK].into_boxed_slice(),
        }
    }
}

impl ActorFuture<Upstream> for Pump {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        upstream: &mut Upstream,
        ctx: &mut Context<Upstream>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        if self.connection != upstream.connections {
            return Poll::Ready(());
        }
        upstream.waker.clone_from(task.waker());
        upstream.perform(ctx);
        loop {
            if ctx.state() != ActorState::Running {
                return Poll::Ready(());
            }
            if upstream.poll_link(&mut self.buffer, ctx, task).is_ready() {
                continue;
            }
            let Some(live) = &upstream.live else {
                return Poll::Ready(());
            };
            live.tell_congestion();
            if self.timer.poll(live.next_deadline(), task).is_pending() {
                return Poll::Pending;
            }
            upstream.handle_deadlines(ctx);
        }
    }
}

impl Upstream {
    /// Goes on after something other than the pump has changed the connection.
    pub(super) fn resume(&mut self, ctx: &mut Context<Self>) {
        self.perform(ctx);
        self.waker.wake_by_ref();
    }

    fn poll_link(&mut self, buffer: &mut [u8], ctx: &mut Context<Self>, task: &mut task::Context<'_>) -> Poll<()> {
        let now = now();
        let Some(live) = &mut self.live else {
            return Poll::Pending;
        };
        let progress = match live.link.poll(task, Some(&mut *buffer), &self.handshakes, now) {
            Poll::Ready(progress) => progress,
            Poll::Pending => return Poll::Pending,
        };
        let ended = match progress {
            Ok(Progress::Read(count)) => {
                live.stream.receive(buffer.get(..count).unwrap_or_default(), now);
                None
            }
            Ok(Progress::Secured(handshake)) => {
                live.stream.tls_established(handshake.channel_binding, now);
                None
            }
            Ok(Progress::Gone | Progress::Closed) => Some(Ending::Gone),
            Err(error) => Some(Ending::Link(error)),
        };
        // Why we are closing says more than that, or how, the connection is closed.
        match ended.map(|ended| live.ending.take().unwrap_or(ended)) {
            Some(ending) => self.end_live(&ending, ctx),
            None => self.perform(ctx),
        }
        Poll::Ready(())
    }

    fn handle_deadlines(&mut self, ctx: &mut Context<Self>) {
        let now = now();
        let Some(live) = &mut self.live else { return };
        if live.link.deadline().is_some_and(|at| at <= now) {
            let ending = live.ending.take().unwrap_or(Ending::SlowReader);
            return self.end_live(&ending, ctx);
        }
        live.stream.handle_deadline(now);
        if let Some(contacts) = &mut live.contacts {
            contacts.handle_deadline(now);
        }
        if live.look_at <= now {
            live.look_at = now + ABANDONED_EVERY;
            for jid in live.clients.abandoned() {
                self.see(&jid, Element::bare("presence", ns::CLIENT), ctx);
            }
        }
        self.perform(ctx);
    }

    /// Does everything that stream and contacts want done.
    pub(super) fn perform(&mut self, ctx: &mut Context<Self>) {
        while let Some(live) = &mut self.live {
            live.send_stanzas();
            if let Some(output) = live.contacts.as_mut().and_then(Contacts::poll_output) {
                self.perform_contacts(output, ctx);
                continue;
            }
            let Some(output) = live.stream.poll_output() else {
                return;
            };
            match output {
                Output::Write(bytes) => {
                    if live.link.outgoing.queue(bytes, now()).is_err() {
                        return self.end_live(&Ending::SlowReader, ctx);
                    }
                    live.tell_congestion();
                }
                Output::StartTls => live.link.start_tls(),
                Output::Close(end) => {
                    live.ending.get_or_insert(Ending::Stream(end));
                    live.link.close(now());
                }
                Output::Event(event) => self.handle_event(event),
            }
        }
    }

    fn handle_event(&mut self, event: ClientEvent) {
        let Some(live) = &mut self.live else { return };
        match event {
            ClientEvent::LoggedIn { jid, registered } => self.handle_login(jid, registered),
            ClientEvent::Roster(items) => {
                if let Some(contacts) = &mut live.contacts {
                    tracing::debug!(event = "upstream_roster", contacts = items.len());
                    contacts.handle_roster(items, now());
                }
            }
            ClientEvent::RosterChanged(items) => {
                if let Some(contacts) = &mut live.contacts {
                    contacts.handle_roster_change(items);
                }
            }
            ClientEvent::Pong { from, is_error } => {
                if let Some(contacts) = &mut live.contacts {
                    match is_error {
                        true => contacts.handle_returned(&from),
                        false => contacts.handle_answered(&from),
                    }
                }
            }
            ClientEvent::Deliver(stanza) => self.handle_stanza(stanza),
        }
    }

    fn handle_stanza(&mut self, stanza: Element) {
        let Some(live) = &mut self.live else { return };
        let Some(contacts) = &mut live.contacts else { return };
        if stanza.name() == "presence" {
            return contacts.handle_presence(stanza, now());
        }
        let from = stanza.attr("from").unwrap_or_default().to_owned();
        if stanza.attr("type") == Some("error") {
            tracing::debug!(
                event = "message_returned",
                jid = from,
                reason = StanzaFault::condition_in(&stanza)
            );
            return contacts.handle_returned(&from);
        }
        if !live.clients.hear(&from, stanza) {
            tracing::debug!(
                event = "stanza_ignored",
                jid = from,
                reason = "nobody of this JID is there"
            );
        }
    }

    fn handle_login(&mut self, jid: String, registered: bool) {
        let (Some(live), Some(account)) = (&mut self.live, &self.account) else {
            return;
        };
        let wanted = account.jid(self.parts.domain());
        if jid != wanted {
            return live.close_for(Ending::OtherJid { given: jid, wanted });
        }
        tracing::info!(event = "upstream_logged_in", jid, registered, peer_addr = %live.link.peer_addr());
        live.log_in(&jid);
        self.login = LoginReport::LoggedIn { jid };
    }

    fn perform_contacts(&mut self, output: ContactOutput, ctx: &mut Context<Self>) {
        match output {
            ContactOutput::ReadRegistrations => self.read_registrations(ctx),
            ContactOutput::Available { jid, presence } => self.see(&jid, presence, ctx),
            ContactOutput::Unavailable(jid) => {
                if let Some(live) = &mut self.live {
                    live.clients.end(&jid);
                }
            }
        }
    }

    fn read_registrations(&mut self, ctx: &mut Context<Self>) {
        let (store, connection) = (Arc::clone(&self.parts.accounts), self.connections);
        let jids = async move { store.known_jids().await };
        ctx.spawn(jids.into_actor(self).map(move |jids, upstream, ctx| {
            if let Err(error) = &jids {
                tracing::warn!(event = "registrations_not_read", error = %error, "contacts stay as they are until they can be");
            }
            let live = upstream.live.as_mut().filter(|_| upstream.connections == connection);
            if let Some(contacts) = live.and_then(|live| live.contacts.as_mut()) {
                contacts.registered(jids.ok(), now());
                upstream.resume(ctx);
            }
        }));
    }

    /// A client's presence: to its session, which begins with it.
    fn see(&mut self, jid: &str, presence: Element, ctx: &mut Context<Self>) {
        let Some(live) = &mut self.live else { return };
        let Some(presence) = live.clients.see(jid, presence) else {
            return;
        };
        let relay = Relay {
            jid: jid.into(),
            dispatcher: Arc::clone(&live.jid),
            address: live.link.peer_addr(),
            out: ctx.address().recipient(),
            congested: live.congested.subscribe(),
        };
        match self.parts.sessions.relay(relay) {
            Ok(session) => {
                session.try_send(Relayed(ClientActivity::Available(presence))).ok();
                live.clients.insert(jid, session);
            }
            Err(refusal) if live.has_refused => {
                tracing::debug!(event = "client_still_refused", jid, reason = %refusal);
            }
            Err(refusal) => {
                live.has_refused = true;
                tracing::warn!(event = "client_refused", jid, reason = %refusal, "raise limits.connections");
            }
        }
    }
}
