//! The owner of TLS: certificates, listeners, admission; the parent of sessions.
//!
//! Nothing a client holds depends on this actor living: the listening sockets, the certificates in use and the
//! [`Roster`] of sessions are shared values that its factory hands to every generation. While it is being restarted,
//! new clients wait in the kernel's queue, sessions go on, and those that end are recorded in the roster. The next
//! generation accepts from the same sockets and cleans up after the sessions that ended meanwhile.

mod accepting;
mod messages;
mod roster;

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture, WrapFuture};

pub use messages::{AnnounceSessions, ReloadTls, SetAdmissionLimits};
pub use roster::{Departed, Roster, Ticket};

use self::accepting::Accepting;
use crate::actors::poller::messages::SessionEvent;
use crate::actors::router::UnregisterSessions;
use crate::actors::session::{EndCause, SessionOrder, SessionParts, Sessions};
use crate::actors::supervision::{ExitGuard, ExitReason, Shutdown, insist};
use crate::domain::ids::{ConnectionId, SystemId};
use crate::domain::tally::Untold;
use crate::ports::tls::{CertificateInfo, Certificates, TlsError};
use crate::ports::transport::Listener;

/// How often it is said how many connections never logged in.
const STRANGERS_TOLD_EVERY: Duration = Duration::from_secs(60);
/// How often the certificate's end is looked at, and the files are read anew in case they were renewed.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(12 * 3600);
/// How often the sessions that are left are counted while shutting down.
const DRAIN_CHECK: Duration = Duration::from_millis(50);
/// How long router and poller may be too busy to hear who is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause before they are told again; longer than a supervisor's longest pause before a restart.
const RETRY_PAUSE: Duration = Duration::from_secs(3);
/// Messages that wait.
const MAILBOX: usize = 16;

/// What every generation is built from.
#[derive(Clone)]
pub struct TlsParts {
    /// The certificates in use; none where clients log in to the site's own server.
    pub certificates: Option<Arc<dyn Certificates>>,
    /// Where XMPP clients come from; from nowhere in that case.
    pub listeners: Vec<Arc<dyn Listener>>,
    /// Where sessions are started, and those that live.
    pub sessions: Sessions,
}

/// The actor; see the [module](self).
pub struct TlsSupervisor {
    parts: TlsParts,
    draining: bool,
    guard: ExitGuard,
}

impl TlsSupervisor {
    /// One generation.
    pub fn new(parts: TlsParts, guard: ExitGuard) -> Self {
        Self {
            parts,
            draining: false,
            guard,
        }
    }

    /// Gives an order to every session; how many there are.
    fn order_all(&self, order: &SessionOrder) -> usize {
        let orders = self.parts.sessions.roster.orders();
        let count = orders.len();
        for session in orders.iter().filter_map(actix::WeakRecipient::upgrade) {
            insist(&session, order.clone());
        }
        count
    }

    /// Waits for sessions to end, tells router and poller, and waits again.
    fn watch_departures(&mut self, ctx: &mut Context<Self>) {
        let roster = Arc::clone(&self.parts.sessions.roster);
        let parts = Arc::clone(&self.parts.sessions.parts);
        let watch = async move {
            loop {
                clean_up(&parts, &roster).await;
                roster.wait_for_departure().await;
            }
        };
        ctx.spawn(watch.into_actor(self));
    }

    fn reload(&self) -> Result<Option<CertificateInfo>, TlsError> {
        let Some(certificates) = &self.parts.certificates else {
            return Ok(None);
        };
        let reloaded = certificates.reload(self.parts.sessions.parts.clock.now());
        match &reloaded {
            Ok(info) => log_warnings(info),
            Err(error) => {
                tracing::error!(event = "certificate_reload_failed", error = %error, "the old one stays in use");
            }
        }
        reloaded.map(Some)
    }
}

fn log_warnings(info: &CertificateInfo) {
    for warning in &info.warnings {
        tracing::warn!(event = "certificate_questioned", warning = %warning);
    }
}

/// One line for each cause: whoever never logs in can come at any rate.
fn tell_strangers(roster: &Roster) {
    for (cause, connections) in roster.take_strangers() {
        tracing::info!(event = "strangers_left", cause, connections, "never logged in");
    }
    if let Some(Untold { times, last }) = roster.take_legacy() {
        tracing::warn!(event = "legacy_tls_refused", connections = times, peer_addr = %last, "the last of several without TLS 1.2");
    }
}

/// Tells router and poller of everybody who departed.
async fn clean_up(parts: &SessionParts, roster: &Roster) {
    let departed = roster.departed();
    if departed.is_empty() {
        return;
    }
    for session in departed.iter().filter(|session| session.reason == ExitReason::Panicked) {
        tracing::error!(
            event = "session_panicked",
            connection = session.connection.0,
            system_id = session.system.map(|system| system.0)
        );
    }
    let connections = departed.iter().map(|session| session.connection).collect();
    // A router that is gone forgets all routes with it.
    let unregister = parts.router.send(UnregisterSessions(connections));
    tokio::time::timeout(SEND_TIMEOUT, unregister).await.ok();
    let opened = departed
        .iter()
        .filter_map(|session| Some((session.system?, session.connection)));
    tell_closed(parts, opened.collect()).await;
    roster.settle(departed.len());
}

async fn tell_closed(parts: &SessionParts, closed: Vec<(SystemId, ConnectionId)>) {
    while !closed.is_empty() {
        let told = parts.poller.send(SessionEvent::Closed(closed.clone()));
        if let Ok(Ok(())) = tokio::time::timeout(SEND_TIMEOUT, told).await {
            return;
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

impl Actor for TlsSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        if let Some(certificates) = &self.parts.certificates {
            log_warnings(&certificates.in_use());
        }
        for listener in &self.parts.listeners {
            let roster = Arc::clone(&self.parts.sessions.roster);
            ctx.spawn(Accepting::new(Arc::clone(listener), roster));
        }
        self.watch_departures(ctx);
        ctx.run_interval(CERTIFICATE_CHECK, |supervisor, _| {
            // Whatever is wrong has been logged.
            supervisor.reload().ok();
        });
        ctx.run_interval(STRANGERS_TOLD_EVERY, |supervisor, _| {
            tell_strangers(&supervisor.parts.sessions.roster)
        });
    }
}

impl Handler<ReloadTls> for TlsSupervisor {
    type Result = Result<Option<CertificateInfo>, TlsError>;

    fn handle(&mut self, _: ReloadTls, _: &mut Self::Context) -> Self::Result {
        self.reload()
    }
}

impl Handler<SetAdmissionLimits> for TlsSupervisor {
    type Result = ();

    fn handle(&mut self, SetAdmissionLimits(limits): SetAdmissionLimits, _: &mut Self::Context) {
        self.parts.sessions.roster.set_limits(limits);
    }
}

impl Handler<AnnounceSessions> for TlsSupervisor {
    type Result = ();

    fn handle(&mut self, AnnounceSessions(audience): AnnounceSessions, _: &mut Self::Context) {
        let sessions = self.order_all(&SessionOrder::Announce(audience));
        tracing::debug!(event = "sessions_announced", audience = ?audience, sessions);
    }
}

impl Handler<Shutdown> for TlsSupervisor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, shutdown: Shutdown, _: &mut Self::Context) -> Self::Result {
        self.draining = true;
        self.guard.end_as(ExitReason::Shutdown);
        self.order_all(&SessionOrder::End(EndCause::Shutdown));
        let roster = Arc::clone(&self.parts.sessions.roster);
        let drained = async move {
            while roster.counts().0 > 0 {
                tokio::time::sleep(DRAIN_CHECK).await;
            }
        };
        let bounded = tokio::time::timeout(shutdown.within, drained);
        Box::pin(
            bounded
                .into_actor(self)
                .map(|drained, supervisor, ctx: &mut Context<Self>| {
                    if drained.is_err() {
                        let (left, _) = supervisor.parts.sessions.roster.counts();
                        tracing::warn!(event = "sessions_left_behind", sessions = left);
                    }
                    ctx.stop();
                }),
        )
    }
}

#[cfg(debug_assertions)]
impl Handler<crate::actors::supervision::Crash> for TlsSupervisor {
    type Result = ();

    fn handle(&mut self, _: crate::actors::supervision::Crash, _: &mut Self::Context) {
        panic!("crashed by a test");
    }
}
