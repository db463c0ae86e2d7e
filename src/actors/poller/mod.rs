//! The poller: asks the store what is due and has it sent.
//!
//! The thinking is done by the pure [`Agenda`]; this actor tells it what happens, performs its tasks, and wakes it in
//! time. It owns no truth: after a crash a fresh one asks every session to announce itself, reads their records, and
//! goes on. One store operation is under way at a time, as the agenda demands.

mod handlers;
pub mod messages;
mod outage;
mod perform;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::SendError;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, SpawnHandle, WrapFuture};
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::messages::{AcknowledgeReports, DeliverPings, DeliverRequests, RequestDelivery};
use self::outage::Outage;
use crate::actors::session::Audience;
use crate::actors::supervision::{ExitGuard, ExitReason, LiveRecipient};
use crate::actors::tls_supervisor::AnnounceSessions;
use crate::domain::ids::{ConnectionId, Incarnation, RunId, SystemId};
use crate::domain::push::agenda::{Agenda, Task};
use crate::domain::push::policy::Policy;
use crate::domain::time::Timestamp;
use crate::ports::clock::Clock;
use crate::ports::push::PushStore;

/// Messages that wait for the poller; a session whose message does not fit waits, and reads no more from its client.
const MAILBOX: usize = 1_024;
/// How soon sessions are asked again to announce themselves, if that could not be said at once.
const ANNOUNCE_AGAIN: Duration = Duration::from_millis(200);
/// Pings of administrators that wait for their answers.
const PINGS_MAX: usize = 1_000;
/// How often the database is told who is connected: repairs what was missed, and says that this node lives.
const SETTLE_EVERY: Duration = Duration::from_secs(60);
/// The longest time between two looks at the agenda: bounds what a step of the wall clock can delay.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(1);

/// What every generation is built from.
#[derive(Clone)]
pub struct PollerParts {
    /// The database.
    pub store: Arc<dyn PushStore>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The life cycle's settings.
    pub policy: Policy,
    /// How often new work is looked for.
    pub poll_interval: Duration,
    /// How often the work of every connected system is read.
    pub reconcile_interval: Duration,
    /// Where requests go.
    pub requests: LiveRecipient<DeliverRequests>,
    /// Where pings go.
    pub pings: LiveRecipient<DeliverPings>,
    /// Where acknowledgements go.
    pub acknowledgements: LiveRecipient<AcknowledgeReports>,
    /// Who has the sessions announce themselves.
    pub sessions: LiveRecipient<AnnounceSessions>,
}

/// The actor; see the [module](self).
pub struct Poller {
    parts: PollerParts,
    agenda: Agenda,
    timer: Option<(Instant, SpawnHandle)>,
    awaited_pongs: BTreeMap<SystemId, Vec<(Instant, oneshot::Sender<Duration>)>>,
    /// Whether the store fails.
    outage: Outage,
    /// The newer start of this node that people were told of.
    superseded_by: Option<Incarnation>,
    /// Told when everything is recorded; nothing new is looked for any more.
    draining: Option<oneshot::Sender<()>>,
    guard: ExitGuard,
}

/// What one look at the agenda wants the router to do, in one message each.
#[derive(Default)]
struct Outbox {
    requests: Vec<RequestDelivery>,
    acknowledgements: Vec<(SystemId, ConnectionId, RunId)>,
}

impl Poller {
    /// A poller that knows no system yet.
    pub fn new(parts: PollerParts, guard: ExitGuard) -> Self {
        let agenda = Agenda::new(parts.policy.clone());
        Self {
            parts,
            agenda,
            timer: None,
            awaited_pongs: BTreeMap::new(),
            outage: Outage::default(),
            superseded_by: None,
            draining: None,
            guard,
        }
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    fn ask_for_sessions(&self, ctx: &mut Context<Self>) {
        match self.parts.sessions.try_send(AnnounceSessions(Audience::Poller)) {
            Ok(()) => {}
            Err(SendError::Full(_) | SendError::Closed(_)) => {
                ctx.run_later(ANNOUNCE_AGAIN, |poller, ctx| poller.ask_for_sessions(ctx));
            }
        }
    }

    /// Does what the agenda wants, and wakes it again in time.
    fn drive(&mut self, ctx: &mut Context<Self>) {
        loop {
            let outbox = self.take_tasks(ctx);
            if outbox.requests.is_empty() && outbox.acknowledgements.is_empty() {
                break;
            }
            self.post(outbox, ctx);
        }
        if self.draining.is_some() && self.agenda.is_idle() {
            return self.finish(ctx);
        }
        self.arm(ctx);
    }

    fn take_tasks(&mut self, ctx: &mut Context<Self>) -> Outbox {
        let mut outbox = Outbox::default();
        let now = self.now();
        while let Some(task) = self.agenda.poll_task(now) {
            match task {
                Task::Perform(operation) => self.perform(operation, ctx),
                Task::Deliver {
                    system,
                    connection,
                    number,
                    client,
                } => {
                    outbox.requests.push(RequestDelivery {
                        system,
                        connection,
                        number,
                        client,
                    });
                }
                Task::Ping { system, connection } => self.ping(system, connection, ctx),
                Task::Acknowledge {
                    system,
                    connection,
                    run,
                } => {
                    outbox.acknowledgements.push((system, connection, run));
                }
            }
        }
        outbox
    }

    /// Hands the router what the agenda decided. What it does not take counts as not sent.
    fn post(&mut self, outbox: Outbox, ctx: &mut Context<Self>) {
        let now = self.now();
        if !outbox.requests.is_empty()
            && let Err(SendError::Full(lost) | SendError::Closed(lost)) =
                self.parts.requests.try_send(DeliverRequests(outbox.requests))
        {
            for request in lost.0 {
                self.agenda.request_not_sent(request.system, request.number, now);
            }
        }
        self.acknowledge(outbox.acknowledgements, ctx);
    }

    fn arm(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        let pause = self
            .agenda
            .next_deadline()
            .map(|at| at.saturating_since(now).min(LOOK_AT_LEAST_EVERY));
        let wanted = pause.map(|pause| Instant::now() + pause);
        if let Some((at, handle)) = self.timer {
            if wanted.is_some_and(|wanted| wanted >= at) {
                return;
            }
            ctx.cancel_future(handle);
            self.timer = None;
        }
        if let (Some(at), Some(pause)) = (wanted, pause) {
            let handle = ctx.run_later(pause, |poller, ctx| {
                poller.timer = None;
                poller.drive(ctx);
            });
            self.timer = Some((at, handle));
        }
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        if self.draining.is_none() {
            self.agenda.look_for_changes();
            self.drive(ctx);
        }
    }

    fn reconcile(&mut self, ctx: &mut Context<Self>) {
        if self.draining.is_none() {
            self.agenda.reconcile();
            self.drive(ctx);
        }
    }

    fn settle_presence(&mut self, ctx: &mut Context<Self>) {
        if self.draining.is_none() {
            self.agenda.settle_presence();
            self.drive(ctx);
        }
    }

    fn finish(&mut self, ctx: &mut Context<Self>) {
        if let Some(done) = self.draining.take() {
            self.guard.end_as(ExitReason::Shutdown);
            // Nobody waits any more if the time was up.
            done.send(()).ok();
            ctx.stop();
        }
    }
}

impl Actor for Poller {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.ask_for_sessions(ctx);
        ctx.run_interval(self.parts.poll_interval, Self::tick);
        ctx.run_interval(self.parts.reconcile_interval, Self::reconcile);
        ctx.run_interval(SETTLE_EVERY, Self::settle_presence);
    }
}
