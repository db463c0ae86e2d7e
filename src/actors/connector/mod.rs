//! The agent's connection: dials, logs in, carries the conversation, and comes back when it is lost.
//!
//! ```text
//!             Connect                dialled                  stream ends, link fails
//!   Idle ───────────────► Dialing ──────────────► Live ──────────────────────────────► Waiting
//!                            ▲                                                            │
//!                            └──────────────── the wait is over, Connect ─────────────────┘
//! ```
//!
//! What the server does wrong ends the connection at most. A crash of this actor loses the connection and nothing else:
//! its successor asks the enroller what to connect as.

mod live;
pub mod messages;
mod notices;
mod presence;
mod pump;

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, SpawnHandle, WrapFuture,
};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

pub use crate::actors::wire::ReconnectPolicy;

use self::live::{Ending, Live};
use self::messages::{Connect, ReportEnrolled, ReportLink, Tell};
use self::notices::Notices;
use crate::actors::check_runner::CheckRunner;
use crate::actors::enroller::messages::{Cause, EnrolAgain, Enrolled, ReportEnrolment};
use crate::actors::enroller::{AgentServer, Enroller};
use crate::actors::supervision::{ExitGuard, ExitReason, LiveAddr, Shutdown};
use crate::actors::wire::Reconnect;
use crate::domain::check::{CheckInput, Dispatcher};
use crate::ports::agent_status::{LinkStatus, StatusBoard, Trouble};
use crate::ports::clock::{Clock, Entropy};
use crate::ports::transport::{Connection, DialError};
use crate::protocol::agent::Moment;
use crate::protocol::osa::agent_talk::AgentTalk;
use crate::protocol::stream::Seed;

/// How long the enroller may take to answer; it asks nobody for that.
const PEER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new enrolment may take before the old one is tried again, in case the enroller missed the call.
const ENROLMENT_PATIENCE: Duration = Duration::from_secs(120);
/// Failures in a row after which another server may be better.
const FAILURES_BEFORE_FAILOVER: u32 = 3;
/// Messages that wait.
const MAILBOX: usize = 16;

/// What every generation is built from.
#[derive(Clone)]
pub struct ConnectorParts {
    /// The servers; the enroller says which one.
    pub servers: Arc<[AgentServer]>,
    /// The wall clock, for signatures.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// How to come back.
    pub reconnect: ReconnectPolicy,
    /// Longest time without a byte from the server.
    pub silence_timeout: Duration,
    /// Who says what to connect as.
    pub enroller: LiveAddr<Enroller>,
    /// Who runs checks.
    pub check_runner: LiveAddr<CheckRunner>,
    /// Where it is shown how things are.
    pub status: Arc<dyn StatusBoard>,
}

/// The actor; see the [module](self).
pub struct Connector {
    parts: ConnectorParts,
    enrolled: Option<Arc<Enrolled>>,
    /// The conversation of the registration, while no connection has it.
    talk: Option<AgentTalk>,
    live: Option<Box<Live>>,
    /// Connections made so far.
    connections: u64,
    /// A dial or a wait.
    pending: Option<SpawnHandle>,
    reconnect: Reconnect,
    /// Connections in a row on which no dispatcher said a word.
    unheard: u32,
    /// The dispatcher that was heard last.
    heard: Option<Dispatcher>,
    /// When we last registered because of a dispatcher that the registration does not name.
    relisted_at: Option<Instant>,
    /// When we do so next, and because of whom.
    relist: Option<(Instant, String)>,
    notices: Notices,
    /// Our TLS handshakes at once: there is one connection.
    handshakes: Arc<Semaphore>,
    /// Wakes the pump.
    waker: Waker,
    /// Told when the last connection is closed.
    closed: Option<oneshot::Sender<()>>,
    guard: ExitGuard,
}

impl Connector {
    /// A generation.
    pub fn new(parts: ConnectorParts, guard: ExitGuard) -> Self {
        Self {
            reconnect: Reconnect::new(parts.reconnect),
            parts,
            enrolled: None,
            talk: None,
            live: None,
            connections: 0,
            pending: None,
            unheard: 0,
            heard: None,
            relisted_at: None,
            relist: None,
            notices: Notices::default(),
            handshakes: Arc::new(Semaphore::new(1)),
            waker: Waker::noop().clone(),
            closed: None,
            guard,
        }
    }

    fn connect_as(&mut self, enrolled: Arc<Enrolled>, ctx: &mut Context<Self>) {
        if self.closed.is_some() {
            return;
        }
        if self.live.take().is_some() {
            self.notify(CheckInput::LinkDown, ctx);
        }
        let enrolment = enrolled.enrolment.clone();
        let talk = AgentTalk::new(enrolled.jid.clone(), enrolment, u64::from_ne_bytes(self.random()));
        self.talk = Some(talk);
        self.relist = None;
        self.enrolled = Some(enrolled);
        self.dial(ctx);
    }

    fn dial(&mut self, ctx: &mut Context<Self>) {
        let server = self
            .enrolled
            .as_ref()
            .and_then(|enrolled| self.parts.servers.get(enrolled.server));
        let Some(server) = server else { return };
        let name = server.dialer.domain().to_owned();
        self.parts.status.link(LinkStatus::Connecting { server: name });
        let dialed = server.dialer.dial().into_actor(self);
        self.await_only(
            dialed.map(|dialed, connector, ctx| connector.handle_dialed(dialed, ctx)),
            ctx,
        );
    }

    fn handle_dialed(&mut self, dialed: Result<Box<dyn Connection>, DialError>, ctx: &mut Context<Self>) {
        self.pending = None;
        match dialed {
            Ok(connection) => self.go_live(connection, ctx),
            Err(error) => {
                tracing::warn!(event = "connect_failed", %error, attempt = self.reconnect.failures() + 1);
                self.come_back(error.to_string(), None, ctx);
            }
        }
    }

    fn go_live(&mut self, connection: Box<dyn Connection>, ctx: &mut Context<Self>) {
        let (Some(enrolled), Some(talk)) = (&self.enrolled, self.talk.take()) else {
            return;
        };
        let Some(server) = self.parts.servers.get(enrolled.server) else {
            return;
        };
        let config = live::stream_config(server.dialer.domain(), &enrolled.account, self.parts.silence_timeout);
        let seed = Seed::new(self.random());
        self.live = Some(Box::new(Live::new(connection, config, talk, seed, self.moment())));
        self.connections += 1;
        ctx.spawn(pump::Pump::new(self.connections));
    }

    /// The connection is over: says so, and decides what comes next.
    fn end_live(&mut self, ending: Ending, ctx: &mut Context<Self>) {
        let Some(live) = self.live.take() else { return };
        let logged_in = live.log_end(&ending);
        self.talk = Some(live.into_talk());
        self.notify(CheckInput::LinkDown, ctx);
        if let Some(closed) = self.closed.take() {
            // Whoever waited may have lost patience.
            let _ = closed.send(());
            return ctx.stop();
        }
        match ending.cause() {
            Some(cause) => self.enrol_again(cause, ending.text(), ctx),
            None => self.come_back(ending.text(), logged_in, ctx),
        }
    }

    fn come_back(&mut self, reason: String, logged_in: Option<Duration>, ctx: &mut Context<Self>) {
        let wait = self.reconnect.next_wait(logged_in, u32::from_ne_bytes(self.random()));
        if self.parts.servers.len() > 1 && self.reconnect.failures().is_multiple_of(FAILURES_BEFORE_FAILOVER) {
            return self.enrol_again(Cause::Unreachable, reason, ctx);
        }
        self.dial_after(wait, reason, ctx);
    }

    fn enrol_again(&mut self, cause: Cause, reason: String, ctx: &mut Context<Self>) {
        if self.parts.enroller.try_send(EnrolAgain(cause)).is_err() {
            tracing::warn!(event = "enrolment_not_asked", retry_ms = ENROLMENT_PATIENCE.as_millis());
        }
        if self.live.is_none() {
            self.dial_after(ENROLMENT_PATIENCE, reason, ctx);
        }
    }

    fn dial_after(&mut self, wait: Duration, reason: String, ctx: &mut Context<Self>) {
        let retry_in = wait;
        self.parts.status.link(LinkStatus::Down(Trouble { reason, retry_in }));
        let waited = tokio::time::sleep(wait).into_actor(self);
        self.await_only(waited.map(|(), connector, ctx| connector.dial(ctx)), ctx);
    }

    /// Waits for this instead of whatever was waited for.
    fn await_only(&mut self, future: impl actix::ActorFuture<Self, Output = ()> + 'static, ctx: &mut Context<Self>) {
        if let Some(handle) = self.pending.take() {
            ctx.cancel_future(handle);
        }
        self.pending = Some(ctx.spawn(future));
    }

    fn moment(&self) -> Moment {
        Moment {
            wall: self.parts.clock.now(),
            steady: Instant::now().into_std(),
        }
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut random = [0; N];
        self.parts.entropy.fill(&mut random);
        random
    }
}

impl Actor for Connector {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        // A check runner that lived through our predecessor's end still believes in its connection.
        self.notify(CheckInput::LinkDown, ctx);
        let enroller = self.parts.enroller.clone();
        let known = async move { tokio::time::timeout(PEER_TIMEOUT, enroller.send(ReportEnrolment)).await };
        ctx.spawn(known.into_actor(self).map(|known, connector, ctx| {
            // What our predecessor had heard with this key is forgotten: under it, a repetition would count again.
            if let (Ok(Ok(Some(_))), None) = (known, &connector.enrolled) {
                connector.enrol_again(Cause::MemoryLost, "connector replaced".to_owned(), ctx);
            }
        }));
    }
}

impl Handler<Connect> for Connector {
    type Result = ();

    fn handle(&mut self, Connect(enrolled): Connect, ctx: &mut Self::Context) {
        self.connect_as(enrolled, ctx);
    }
}

impl Handler<Tell> for Connector {
    type Result = ();

    fn handle(&mut self, Tell(telling): Tell, ctx: &mut Self::Context) {
        let now = self.moment();
        if let Some(live) = &mut self.live {
            live.agent.tell(&telling, now);
            self.resume(ctx);
        }
    }
}

impl Handler<ReportLink> for Connector {
    type Result = Option<Dispatcher>;

    fn handle(&mut self, _: ReportLink, _: &mut Self::Context) -> Self::Result {
        self.live.as_ref()?.dispatcher
    }
}

impl Handler<ReportEnrolled> for Connector {
    type Result = Option<Arc<Enrolled>>;

    fn handle(&mut self, _: ReportEnrolled, _: &mut Self::Context) -> Self::Result {
        self.enrolled.clone()
    }
}

impl Handler<Shutdown> for Connector {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) -> Self::Result {
        self.guard.end_as(ExitReason::Shutdown);
        let (closed, is_closed) = oneshot::channel();
        if let Some(live) = &mut self.live {
            live.agent.close();
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
impl Handler<crate::actors::supervision::Crash> for Connector {
    type Result = ();

    fn handle(&mut self, _: crate::actors::supervision::Crash, _: &mut Self::Context) {
        panic!("crashed by a test");
    }
}
