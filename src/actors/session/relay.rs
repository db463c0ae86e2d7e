//! The way to a client that is logged in to the site's own server: stanzas, through the one connection that we have there.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use actix::fut::ActorFuture;
use actix::prelude::SendError;
use actix::{ActorContext, AsyncContext, Context, Handler, Recipient};
use minidom::Element;
use tokio::sync::watch;

use super::totals::Ending;
use super::{EndCause, Relay, Relayed, SendStanza, Session, SessionParts, Way};
use crate::actors::poller::messages::NotSentReason;
use crate::actors::tls_supervisor::Ticket;
use crate::actors::wire::Timer;
use crate::protocol::stream::server::ClientActivity;

/// Stanzas that are kept while a session waits for the store, the router or the poller. Nothing slows their sender, who
/// repeats what is not acknowledged.
const WAITING_MAX: usize = 16;

/// A client of another server.
pub(super) struct RelayWay {
    pub jid: Arc<str>,
    pub dispatcher: Arc<str>,
    pub address: SocketAddr,
    pub congested: watch::Receiver<bool>,
    out: Recipient<SendStanza>,
    /// Why the last stanza could not be sent.
    unsent: Option<NotSentReason>,
    waiting: VecDeque<ClientActivity>,
}

impl RelayWay {
    pub fn send(&mut self, stanza: Element) {
        self.unsent = match self.out.try_send(SendStanza(stanza)) {
            Ok(()) => None,
            Err(SendError::Full(_)) => Some(NotSentReason::Busy),
            Err(SendError::Closed(_)) => Some(NotSentReason::NotConnected),
        };
    }

    pub fn last_sent(&self) -> Result<(), NotSentReason> {
        self.unsent.map_or(Ok(()), Err)
    }

    /// Keeps a stanza; `false` if there is no room.
    fn keep(&mut self, activity: ClientActivity) -> bool {
        let has_room = self.waiting.len() < WAITING_MAX;
        if has_room {
            self.waiting.push_back(activity);
        }
        has_room
    }

    fn next(&mut self) -> Option<ClientActivity> {
        let next = self.waiting.pop_front();
        if self.waiting.is_empty() {
            // An idle session keeps no buffer.
            self.waiting = VecDeque::new();
        }
        next
    }
}

impl Session {
    /// A session with a client that is available now.
    pub(super) fn relayed(parts: Arc<SessionParts>, relay: Relay, ticket: Ticket) -> Self {
        let way = RelayWay {
            jid: relay.jid,
            dispatcher: relay.dispatcher,
            address: relay.address,
            congested: relay.congested,
            out: relay.out,
            unsent: None,
            waiting: VecDeque::new(),
        };
        Self::new(parts, Way::Relay(Box::new(way)), ticket)
    }

    pub(super) fn start_relay(&mut self, jid: Arc<str>, congested: watch::Receiver<bool>, ctx: &mut Context<Self>) {
        ctx.spawn(RelayPump::new(congested));
        self.log_in(jid, ctx);
        self.perform(ctx);
    }

    /// Takes one stanza that waits; whether there was one that may be taken.
    pub(super) fn take_relayed(&mut self, ctx: &mut Context<Self>) -> bool {
        if !self.may_read() {
            return false;
        }
        let Way::Relay(relay) = &mut self.way else { return false };
        let Some(activity) = relay.next() else { return false };
        self.handle_activity(activity, ctx);
        true
    }
}

impl Handler<Relayed> for Session {
    type Result = ();

    fn handle(&mut self, Relayed(activity): Relayed, ctx: &mut Self::Context) {
        let Way::Relay(relay) = &mut self.way else { return };
        if activity == ClientActivity::Unavailable {
            return self.end(Ending::Ordered(EndCause::Unavailable), ctx);
        }
        if !relay.keep(activity) {
            tracing::debug!(
                event = "stanza_ignored",
                jid = self.jid.as_deref(),
                reason = "too many wait already"
            );
        }
        self.perform(ctx);
    }
}

/// What moves a relayed session of its own accord: its one timer, and the end of the connection that it belongs to.
struct RelayPump {
    change: Pin<Box<dyn Future<Output = Change>>>,
    timer: Timer,
}

/// What became of the connection: congested or not any more, with whatever comes next; or gone.
type Change = Option<watch::Receiver<bool>>;

impl RelayPump {
    fn new(congested: watch::Receiver<bool>) -> Self {
        Self {
            change: Box::pin(change(congested)),
            timer: Timer::default(),
        }
    }
}

async fn change(mut congested: watch::Receiver<bool>) -> Change {
    congested.changed().await.is_ok().then_some(congested)
}

impl ActorFuture<Session> for RelayPump {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        session: &mut Session,
        ctx: &mut Context<Session>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        session.waker.clone_from(task.waker());
        while let Poll::Ready(change_seen) = self.change.as_mut().poll(task) {
            let Some(congested) = change_seen else {
                session.end(Ending::UpstreamLost, ctx);
                break;
            };
            self.change = Box::pin(change(congested));
            session.perform(ctx);
        }
        loop {
            if ctx.state() != actix::ActorState::Running {
                return Poll::Ready(());
            }
            if self.timer.poll(session.talk_deadline(), task).is_pending() {
                return Poll::Pending;
            }
            session.handle_talk_deadline();
            session.perform(ctx);
        }
    }
}
