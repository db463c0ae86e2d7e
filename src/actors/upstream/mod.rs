//! The dispatcher's login to a site's own XMPP server, as a client or as a component, and the clients that are seen through it.
//!
//! ```text
//!            the account is read     dialled                 stream ends, link fails
//!  Preparing ───────────────► Dialing ──────────────► Live ──────────────────────────┐
//!      ▲                                                                             ▼
//!      └───────────────────────────────── the wait is over ─────────────────────── Waiting
//!
//!              stanzas                 presence, messages of one client
//!  Connection ◄───────► ClientStream ◄──────────────┬──────────────► Session × n ──► router, poller
//!                            └──► Contacts ─────────┘  SendStanza ◄──────┘
//! ```
//!
//! It is one connection: when it ends, or this actor panics, the sessions behind it end and nothing else does. Presence
//! starts and ends them anew, so that all the rest is as with clients of our own.

mod account;
mod clients;
mod live;
mod messages;
mod pump;

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, ResponseFuture, SpawnHandle,
    WrapFuture,
};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

pub use messages::{DescribeUpstream, LoginReport, UpstreamReport};

use self::live::{Ending, Live};
use super::session::{SendStanza, Sessions};
use super::supervision::{ExitGuard, ExitReason, Shutdown};
use super::wire::{Reconnect, ReconnectPolicy};
use crate::domain::backoff::Backoff;
use crate::domain::dispatcher_account::DispatcherAccount;
use crate::domain::secret::Secret;
use crate::ports::clock::Entropy;
use crate::ports::transport::{Connection, DialError, Dialer};
use crate::ports::upstream::UpstreamAccounts;

/// How to come back: soon, and without end.
const RECONNECT: ReconnectPolicy = ReconnectPolicy {
    backoff: Backoff {
        first: Duration::from_secs(1),
        limit: Duration::from_secs(30),
    },
    stable_after: Duration::from_secs(60),
};
/// How soon we come back if somebody else uses our account: at once would only end that one, which then ends us.
const CONFLICT_PAUSE: Duration = Duration::from_secs(60);
/// How long a server may take to accept a connection.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Messages that wait: what sessions send, most of all. A session that finds no room says that it is busy.
const MAILBOX: usize = 4_096;

/// Of what the dispatcher is, if it is no client.
#[derive(Clone, Debug)]
pub struct Component {
    /// Its domain.
    pub domain: String,
    /// The secret that the server knows of it.
    pub secret: Secret,
}

/// What every generation is built from.
#[derive(Clone)]
pub struct UpstreamParts {
    /// The server.
    pub dialer: Arc<dyn Dialer>,
    /// What the dispatcher is there, if it is no client.
    pub component: Option<Component>,
    /// The account, and who is registered.
    pub accounts: Arc<dyn UpstreamAccounts>,
    /// Where sessions come from.
    pub sessions: Sessions,
    /// Longest time without a byte from the server.
    pub silence_timeout: Duration,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl UpstreamParts {
    /// The domain of our JID.
    fn domain(&self) -> &str {
        match &self.component {
            Some(component) => &component.domain,
            None => self.dialer.domain(),
        }
    }
}

/// The actor; see the [module](self).
pub struct Upstream {
    parts: UpstreamParts,
    account: Option<DispatcherAccount>,
    live: Option<Box<Live>>,
    /// Connections made so far.
    connections: u64,
    /// A reading, a dial or a wait.
    pending: Option<SpawnHandle>,
    reconnect: Reconnect,
    /// When another account was chosen last.
    rotated_at: Option<Instant>,
    login: LoginReport,
    /// Our TLS handshakes at once: there is one connection.
    handshakes: Arc<Semaphore>,
    /// Wakes the pump.
    waker: Waker,
    /// Told when the last connection is closed.
    closed: Option<oneshot::Sender<()>>,
    guard: ExitGuard,
}

impl Upstream {
    /// A generation.
    pub fn new(parts: UpstreamParts, guard: ExitGuard) -> Self {
        Self {
            parts,
            account: None,
            live: None,
            connections: 0,
            pending: None,
            reconnect: Reconnect::new(RECONNECT),
            rotated_at: None,
            login: LoginReport::Connecting,
            handshakes: Arc::new(Semaphore::new(1)),
            waker: Waker::noop().clone(),
            closed: None,
            guard,
        }
    }

    fn dial(&mut self, ctx: &mut Context<Self>) {
        let dialed = tokio::time::timeout(DIAL_TIMEOUT, self.parts.dialer.dial());
        let handle = ctx.spawn(dialed.into_actor(self).map(|dialed, upstream, ctx| match dialed {
            Ok(dialed) => upstream.handle_dialed(dialed, ctx),
            Err(_) => upstream.come_back("the server did not accept the connection in time".to_owned(), None, ctx),
        }));
        self.await_only(handle, ctx);
    }

    fn handle_dialed(&mut self, dialed: Result<Box<dyn Connection>, DialError>, ctx: &mut Context<Self>) {
        self.pending = None;
        match dialed {
            Ok(connection) => self.go_live(connection, ctx),
            Err(error) => self.come_back(error.to_string(), None, ctx),
        }
    }

    fn go_live(&mut self, connection: Box<dyn Connection>, ctx: &mut Context<Self>) {
        let Some(account) = &self.account else { return };
        let config = live::stream_config(&self.parts, account, connection.peer_addr());
        let seed = self.random();
        self.live = Some(Box::new(Live::new(connection, config, seed)));
        self.connections += 1;
        ctx.spawn(pump::Pump::new(self.connections));
    }

    /// The connection is over: says so, and decides what comes next.
    fn end_live(&mut self, ending: &Ending, ctx: &mut Context<Self>) {
        let Some(live) = self.live.take() else { return };
        let (lasted, peer) = (live.lasted(), live.link.peer_addr());
        // Its sessions go with it.
        drop(live);
        if let Some(closed) = self.closed.take() {
            // Whoever waited may have lost patience.
            let _ = closed.send(());
            return ctx.stop();
        }
        if ending.is_account_taken() {
            return self.rotate_account(ctx);
        }
        let reason = format!("{} (at {peer})", self.account_reason(ending));
        self.come_back(reason, lasted.filter(|_| !ending.is_conflict()), ctx);
        if ending.is_conflict() {
            self.wait(CONFLICT_PAUSE, ctx);
        }
    }

    /// Says why, and tries again later.
    fn come_back(&mut self, reason: String, logged_in: Option<Duration>, ctx: &mut Context<Self>) {
        let wait = self.reconnect.next_wait(logged_in, u32::from_ne_bytes(self.random()));
        let (server, attempt) = (self.parts.dialer.domain(), self.reconnect.failures());
        if matches!(&self.login, LoginReport::Down { reason: before } if *before == reason) {
            tracing::debug!(event = "upstream_still_lost", server, reason, attempt);
        } else {
            tracing::warn!(event = "upstream_lost", server, reason, attempt);
        }
        self.login = LoginReport::Down { reason };
        self.wait(wait, ctx);
    }

    fn wait(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        let waited = tokio::time::sleep(wait).into_actor(self);
        let handle = ctx.spawn(waited.map(|(), upstream, ctx| upstream.prepare(ctx)));
        self.await_only(handle, ctx);
    }

    /// Waits for this instead of whatever was waited for.
    fn await_only(&mut self, handle: SpawnHandle, ctx: &mut Context<Self>) {
        if let Some(before) = self.pending.replace(handle) {
            ctx.cancel_future(before);
        }
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut random = [0; N];
        self.parts.entropy.fill(&mut random);
        random
    }
}

impl Actor for Upstream {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.prepare(ctx);
    }
}

impl Handler<SendStanza> for Upstream {
    type Result = ();

    fn handle(&mut self, SendStanza(stanza): SendStanza, ctx: &mut Self::Context) {
        // Of a connection that is gone, whose sessions end.
        let Some(live) = &mut self.live else { return };
        live.stream.send(&stanza);
        self.resume(ctx);
    }
}

impl Handler<DescribeUpstream> for Upstream {
    type Result = MessageResult<DescribeUpstream>;

    fn handle(&mut self, _: DescribeUpstream, _: &mut Self::Context) -> Self::Result {
        MessageResult(UpstreamReport {
            server: self.parts.dialer.domain().to_owned(),
            login: self.login.clone(),
            registrations: self.live.as_ref().map_or(0, |live| live.registrations()),
            available: self.live.as_ref().map_or(0, |live| live.clients.len()),
        })
    }
}

impl Handler<Shutdown> for Upstream {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) -> Self::Result {
        self.guard.end_as(ExitReason::Shutdown);
        let (closed, is_closed) = oneshot::channel();
        if let Some(live) = &mut self.live {
            live.take_leave();
            self.closed = Some(closed);
            self.resume(ctx);
        } else {
            ctx.stop();
        }
        // Gone without a word is closed as well.
        Box::pin(async move { is_closed.await.unwrap_or(()) })
    }
}

#[cfg(debug_assertions)]
impl Handler<super::supervision::Crash> for Upstream {
    type Result = ();

    fn handle(&mut self, _: super::supervision::Crash, _: &mut Self::Context) {
        panic!("crashed by a test");
    }
}
