//! What a session tells the router and the poller: in order, one at a time, awaited.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::SendError;
use actix::{ActorFutureExt, AsyncContext, Context, Handler, MailboxError, Message, Recipient, WrapFuture};

use super::totals::Ending;
use super::{Audience, Session, SessionOrder, SessionParts};
use crate::actors::poller::messages::{SessionEvent, SessionOpened};
use crate::actors::router::{OpenSession, RegisterSession, Router};
use crate::domain::ids::{ConnectionId, SystemId};
use crate::domain::push::client::AgentKind;

/// Tries per notice. More than one, because the receiver may just be restarting; not more than two, because it may be
/// this very notice that it panics at.
const TRIES: usize = 2;
/// Pause between tries; longer than a supervisor's longest pause before a restart.
const RETRY_PAUSE: Duration = Duration::from_secs(3);
/// Pause between questions to a database that fails: the session has nothing else to do.
const STORE_PAUSE: Duration = Duration::from_secs(5);
/// How long a receiver may be too busy.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// Something that others must know.
enum Notice {
    /// Router: this JID is here.
    Register(RegisterSession),
    /// Router: this system is here.
    Route(OpenSession),
    /// Router, then poller: this system may be pushed.
    Open(Box<SessionOpened>),
    /// Poller, which is new: the same again, with the row as it is now.
    Reopen(SystemId, AgentKind),
    /// Poller: anything else.
    Tell(SessionEvent),
}

/// Notices that wait for the one before them.
#[derive(Default)]
pub(super) struct Notices {
    waiting: VecDeque<Notice>,
    under_way: bool,
}

impl Notices {
    pub fn is_idle(&self) -> bool {
        !self.under_way
    }
}

/// Nobody took a notice.
struct Undelivered;

impl Session {
    /// Tells the router that this JID is here.
    pub(super) fn register(&mut self, ctx: &mut Context<Self>) {
        if let Some(jid) = &self.jid {
            let register = RegisterSession {
                connection: self.ticket.connection(),
                jid: Arc::clone(jid),
                address: self.way.peer_addr().ip(),
                route: route(ctx),
            };
            self.notify_router(register, Notice::Register, ctx);
        }
    }

    /// Tells router and poller that this system may be pushed.
    pub(super) fn open(&mut self, opened: SessionOpened, ctx: &mut Context<Self>) {
        self.notify(Notice::Open(Box::new(opened)), ctx);
    }

    /// Tells the poller what must not be lost.
    pub(super) fn tell_poller(&mut self, event: SessionEvent, ctx: &mut Context<Self>) {
        self.notify(Notice::Tell(event), ctx);
    }

    /// Tells the poller what need not be waited for. While the poller is full it waits by itself, and not the client;
    /// if it is lost, the lease of the request makes it good.
    pub(super) fn report(&mut self, event: SessionEvent, ctx: &mut Context<Self>) {
        let event = match self.parts.poller.try_send(event) {
            Ok(()) => return,
            Err(error) => error.into_inner(),
        };
        let parts = Arc::clone(&self.parts);
        let later = async move {
            let sent = tokio::time::timeout(SEND_TIMEOUT, parts.poller.send(event)).await;
            if !matches!(sent, Ok(Ok(()))) {
                tracing::debug!(event = "request_report_lost");
            }
        };
        ctx.spawn(later.into_actor(self));
    }

    /// Says again who is here.
    pub(super) fn announce(&mut self, audience: Audience, ctx: &mut Context<Self>) {
        let connection = self.ticket.connection();
        match (audience, self.pushable) {
            (Audience::Router, pushable) => {
                self.register(ctx);
                if let Some((system, _)) = pushable {
                    self.notify_router(OpenSession { connection, system }, Notice::Route, ctx);
                }
            }
            (Audience::Poller, Some((system, kind))) => self.notify(Notice::Reopen(system, kind), ctx),
            (Audience::Poller, None) => {}
        }
    }

    /// Says something that a router which is gone will ask for when it is back: so nobody waits until it was heard, only
    /// for room in the mailbox, and for what was to be said before.
    fn notify_router<M>(&mut self, message: M, notice: fn(M) -> Notice, ctx: &mut Context<Self>)
    where
        M: Message + Send + 'static,
        M::Result: Send,
        Router: Handler<M>,
    {
        if self.notices.under_way {
            return self.notify(notice(message), ctx);
        }
        match self.parts.router.try_send(message) {
            Ok(()) => {}
            Err(SendError::Full(message) | SendError::Closed(message)) => self.notify(notice(message), ctx),
        }
    }

    fn notify(&mut self, notice: Notice, ctx: &mut Context<Self>) {
        self.notices.waiting.push_back(notice);
        if !self.notices.under_way {
            self.deliver_next(ctx);
        }
    }

    fn deliver_next(&mut self, ctx: &mut Context<Self>) {
        let Some(notice) = self.notices.waiting.pop_front() else {
            self.notices = Notices::default();
            return self.resume(ctx);
        };
        self.notices.under_way = true;
        let delivery = deliver(Arc::clone(&self.parts), self.ticket.connection(), notice);
        let then_next =
            |delivered: Result<(), Undelivered>, session: &mut Self, ctx: &mut Context<Self>| match delivered {
                Ok(()) => session.deliver_next(ctx),
                Err(Undelivered) => session.end(Ending::Undelivered, ctx),
            };
        ctx.spawn(delivery.into_actor(self).map(then_next));
    }
}

fn route(ctx: &Context<Session>) -> Recipient<SessionOrder> {
    ctx.address().recipient()
}

async fn deliver(parts: Arc<SessionParts>, connection: ConnectionId, notice: Notice) -> Result<(), Undelivered> {
    match notice {
        Notice::Register(session) => {
            let send = || {
                parts.router.send(RegisterSession {
                    connection,
                    jid: Arc::clone(&session.jid),
                    address: session.address,
                    route: session.route.clone(),
                })
            };
            // A router that is gone will ask for it when it is back.
            insist(send).await.ok();
            Ok(())
        }
        Notice::Route(session) => {
            insist(|| parts.router.send(session)).await.ok();
            Ok(())
        }
        Notice::Open(opened) => {
            let system = opened.system;
            let routed = insist(|| parts.router.send(OpenSession { connection, system })).await;
            // A newer connection serves the system: this one must not be pushed.
            if matches!(routed, Ok(false)) {
                return Ok(());
            }
            tell(&parts, SessionEvent::Opened(opened)).await
        }
        Notice::Reopen(system, kind) => reopen(&parts, connection, system, kind).await,
        Notice::Tell(event) => tell(&parts, event).await,
    }
}

async fn reopen(
    parts: &SessionParts,
    connection: ConnectionId,
    system: SystemId,
    kind: AgentKind,
) -> Result<(), Undelivered> {
    let client = loop {
        match parts.registrations.client_of_system(system).await {
            Ok(Some(client)) => break client,
            // The registration is gone, so there is nobody to be pushed.
            Ok(None) => return Ok(()),
            // Whatever befalls the database, the connection stays.
            Err(error) => parts.complaints.client_not_read(&error),
        }
        tokio::time::sleep(STORE_PAUSE).await;
    };
    let opened = SessionOpened {
        system,
        connection,
        client,
        kind,
        announcement: None,
        at: parts.clock.now(),
    };
    tell(parts, SessionEvent::Opened(Box::new(opened))).await
}

async fn tell(parts: &SessionParts, event: SessionEvent) -> Result<(), Undelivered> {
    insist(|| parts.poller.send(event.clone())).await
}

async fn insist<T, F>(mut send: impl FnMut() -> F) -> Result<T, Undelivered>
where
    F: Future<Output = Result<T, MailboxError>>,
{
    for attempt in 1..=TRIES {
        if let Ok(Ok(reply)) = tokio::time::timeout(SEND_TIMEOUT, send()).await {
            return Ok(reply);
        }
        if attempt < TRIES {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
    Err(Undelivered)
}
