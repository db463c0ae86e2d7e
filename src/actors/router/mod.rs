//! The router: from a system to the session of its client.
//!
//! It does no I/O and waits for nobody: what a session cannot take at once comes back to the poller as not sent.
//! It owns no truth: after a crash the sessions register again, and no connection is lost.

mod messages;
mod rivals;
mod table;

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::SendError;
use actix::{Actor, AsyncContext, Context, Handler, MessageResult, Recipient};
use tokio::time::Instant;

pub use messages::{DescribeRivals, EndAccountSessions, OpenSession, RegisterSession, UnregisterSessions};
use rivals::Rivals;
pub use rivals::{Rival, Rivalry};
pub use table::Table;

use crate::actors::poller::messages::{
    AcknowledgeReports, DeliverPings, DeliverRequests, NotSentReason, RequestNotSent, SessionEvent,
};
use crate::actors::session::{Audience, EndCause, SessionOrder};
use crate::actors::supervision::{ExitGuard, ExitReason, LiveRecipient, Shutdown, insist};
use crate::actors::tls_supervisor::AnnounceSessions;
use crate::domain::ids::{ConnectionId, SystemId};

/// Messages that wait for the router. Each session has at most one in flight beside this.
const MAILBOX: usize = 1_024;
/// How soon sessions are asked again to register, if that could not be said at once.
const ANNOUNCE_AGAIN: Duration = Duration::from_millis(200);

/// What leads to a session, and who it is.
struct Route {
    orders: Recipient<SessionOrder>,
    agent: Rival,
}

/// System to session; see the [module](self).
pub struct Router {
    table: Table<Route>,
    rivals: Rivals,
    poller: LiveRecipient<SessionEvent>,
    sessions: LiveRecipient<AnnounceSessions>,
    guard: ExitGuard,
}

impl Router {
    /// An empty router; sessions register when it starts.
    pub fn new(
        poller: LiveRecipient<SessionEvent>,
        sessions: LiveRecipient<AnnounceSessions>,
        guard: ExitGuard,
    ) -> Self {
        Self {
            table: Table::default(),
            rivals: Rivals::default(),
            poller,
            sessions,
            guard,
        }
    }

    fn ask_for_sessions(&self, ctx: &mut Context<Self>) {
        match self.sessions.try_send(AnnounceSessions(Audience::Router)) {
            Ok(()) => {}
            Err(SendError::Full(_) | SendError::Closed(_)) => {
                ctx.run_later(ANNOUNCE_AGAIN, |router, ctx| router.ask_for_sessions(ctx));
            }
        }
    }

    fn note_clash(&mut self, system: SystemId, older: Rival, connection: ConnectionId) {
        let Some(newer) = self.table.route(system, connection).map(|route| route.agent.clone()) else {
            return;
        };
        if self.rivals.note(system, older.clone(), newer.clone(), Instant::now()) {
            tracing::warn!(
                event = "agents_clashed",
                system_id = system.0,
                jid = %newer.jid,
                peer_addr = %newer.address,
                older_jid = %older.jid,
                older_addr = %older.address,
                "two agents are registered as one system: is one a clone, delete its systemid and register it anew"
            );
        }
    }

    fn report_not_sent(&self, not_sent: Vec<RequestNotSent>) {
        if not_sent.is_empty() {
            return;
        }
        let count = not_sent.len();
        if self.poller.try_send(SessionEvent::RequestsNotSent(not_sent)).is_err() {
            // Their leases end without it.
            tracing::warn!(event = "not_sent_report_lost", requests = count);
        }
    }
}

impl Actor for Router {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.ask_for_sessions(ctx);
    }
}

impl Handler<RegisterSession> for Router {
    type Result = ();

    fn handle(&mut self, session: RegisterSession, _: &mut Self::Context) {
        let route = Route {
            orders: session.route,
            agent: Rival {
                jid: Arc::clone(&session.jid),
                address: session.address,
            },
        };
        if let Some(displaced) = self.table.register(session.connection, &session.jid, route) {
            insist(&displaced.orders, SessionOrder::End(EndCause::Conflict));
        }
    }
}

impl Handler<OpenSession> for Router {
    type Result = bool;

    fn handle(&mut self, session: OpenSession, _: &mut Self::Context) -> bool {
        let (system, connection) = (session.system, session.connection);
        let before = self.table.other(system, connection);
        let before = before.map(|route| (route.orders.clone(), route.agent.clone()));
        let opened = self.table.open(connection, system);
        if let Some((displaced, older)) = before.filter(|_| opened) {
            // Two agents with one systemid: the older is told, or it would wait for requests that go elsewhere.
            insist(&displaced, SessionOrder::End(EndCause::Displaced));
            self.note_clash(system, older, connection);
        }
        opened
    }
}

impl Handler<DescribeRivals> for Router {
    type Result = MessageResult<DescribeRivals>;

    fn handle(&mut self, DescribeRivals(system): DescribeRivals, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.rivals.of(system, Instant::now()))
    }
}

impl Handler<UnregisterSessions> for Router {
    type Result = ();

    fn handle(&mut self, UnregisterSessions(connections): UnregisterSessions, _: &mut Self::Context) {
        for connection in connections {
            self.table.remove(connection);
        }
    }
}

impl Handler<EndAccountSessions> for Router {
    type Result = ();

    fn handle(&mut self, EndAccountSessions { username }: EndAccountSessions, _: &mut Self::Context) {
        for route in self.table.routes_of_account(&username) {
            insist(&route.orders, SessionOrder::End(EndCause::AccountReset));
        }
    }
}

impl Handler<DeliverRequests> for Router {
    type Result = ();

    fn handle(&mut self, DeliverRequests(requests): DeliverRequests, _: &mut Self::Context) {
        let mut not_sent = Vec::new();
        for request in requests {
            let (system, number, connection) = (request.system, request.number, request.connection);
            let client = Box::new(request.client);
            let outcome = match self.table.route(system, connection) {
                Some(route) => route
                    .orders
                    .try_send(SessionOrder::Request { number, client })
                    .map_err(reason),
                None => Err(NotSentReason::NotConnected),
            };
            if let Err(reason) = outcome {
                not_sent.push(RequestNotSent {
                    system,
                    number,
                    connection,
                    reason,
                });
            }
        }
        self.report_not_sent(not_sent);
    }
}

fn reason(error: SendError<SessionOrder>) -> NotSentReason {
    match error {
        SendError::Full(_) => NotSentReason::Busy,
        SendError::Closed(_) => NotSentReason::NotConnected,
    }
}

impl Handler<DeliverPings> for Router {
    type Result = ();

    fn handle(&mut self, DeliverPings(pings): DeliverPings, _: &mut Self::Context) {
        for ping in pings {
            if let Some(route) = self.table.route(ping.system, ping.connection) {
                let client = Box::new(ping.client);
                // A ping that is not sent is not answered either, which is what the poller looks at.
                route.orders.try_send(SessionOrder::Ping { client }).ok();
            }
        }
    }
}

impl Handler<AcknowledgeReports> for Router {
    type Result = ();

    fn handle(&mut self, AcknowledgeReports(reports): AcknowledgeReports, _: &mut Self::Context) {
        for (system, connection, run) in reports {
            if let Some(route) = self.table.route(system, connection) {
                // An agent that hears nothing reports again at its next connection.
                route.orders.try_send(SessionOrder::Acknowledge(run)).ok();
            }
        }
    }
}

impl Handler<Shutdown> for Router {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.guard.end_as(ExitReason::Shutdown);
        actix::ActorContext::stop(ctx);
    }
}

#[cfg(debug_assertions)]
impl Handler<crate::actors::supervision::Crash> for Router {
    type Result = ();

    fn handle(&mut self, _: crate::actors::supervision::Crash, _: &mut Self::Context) {
        panic!("crashed by a test");
    }
}
