//! The parent of long-lived actors: one for one, within an intensity.

use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, ResponseFuture};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{
    ChildExited, ChildId, ChildSpec, ExitGuard, ExitReason, Generation, Intensity, Policy, RestartHistory, Shutdown,
    Verdict,
};

/// Children failed too often: the program must end and be started anew by whoever keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaveUp {
    /// The child whose exit was one too many.
    pub child: &'static str,
    /// How it ended.
    pub reason: ExitReason,
}

/// Stop the children, the last started first; the reply comes when all have stopped or their time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct StopChildren {
    /// How long each child may take.
    pub within: Duration,
}

struct Child {
    spec: ChildSpec,
    generation: Generation,
}

/// Starts children in order and restarts each one alone; see the [module](super).
pub struct Supervisor {
    children: Vec<Child>,
    history: RestartHistory,
    give_up: Option<oneshot::Sender<GaveUp>>,
    stopping: bool,
}

impl Supervisor {
    /// Makes a supervisor of these children; `give_up` is told once, when they fail too often.
    pub fn new(specs: Vec<ChildSpec>, intensity: Intensity, give_up: oneshot::Sender<GaveUp>) -> Self {
        let children = specs.into_iter().map(|spec| Child {
            spec,
            generation: Generation(0),
        });
        Self {
            children: children.collect(),
            history: RestartHistory::new(intensity),
            give_up: Some(give_up),
            stopping: false,
        }
    }

    fn start_child(&mut self, id: ChildId, ctx: &Context<Self>) {
        let Some(child) = self.children.get_mut(id.0) else {
            return;
        };
        if self.stopping {
            return;
        }
        child.generation.0 += 1;
        let guard = ExitGuard::new(id, child.generation, ctx.address().recipient());
        (child.spec.start)(guard);
        tracing::debug!(
            event = "child_started",
            child = child.spec.name,
            generation = child.generation.0
        );
    }

    fn restart_child(&mut self, exited: ChildExited, name: &'static str, ctx: &mut Context<Self>) {
        match self.history.judge(Instant::now()) {
            Verdict::RestartAfter(pause) => {
                tracing::error!(event = "child_exited", child = name, reason = ?exited.reason, restart_in = ?pause);
                ctx.run_later(pause, move |supervisor, ctx| supervisor.start_child(exited.child, ctx));
            }
            Verdict::GiveUp => {
                tracing::error!(event = "supervision_gave_up", child = name, reason = ?exited.reason);
                self.stopping = true;
                if let Some(give_up) = self.give_up.take() {
                    // Nobody listens only while the program is ending anyway.
                    give_up
                        .send(GaveUp {
                            child: name,
                            reason: exited.reason,
                        })
                        .ok();
                }
            }
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        for index in 0..self.children.len() {
            self.start_child(ChildId(index), ctx);
        }
    }
}

impl Handler<ChildExited> for Supervisor {
    type Result = ();

    fn handle(&mut self, exited: ChildExited, ctx: &mut Self::Context) {
        let Some(child) = self.children.get(exited.child.0) else {
            return;
        };
        if self.stopping || child.generation != exited.generation {
            return;
        }
        let name = child.spec.name;
        let unplanned = matches!(exited.reason, ExitReason::Failed | ExitReason::Panicked);
        match child.spec.policy {
            Policy::Permanent => self.restart_child(exited, name, ctx),
            Policy::Transient if unplanned => self.restart_child(exited, name, ctx),
            Policy::Transient => tracing::debug!(event = "child_ended", child = name, reason = ?exited.reason),
        }
    }
}

impl Handler<StopChildren> for Supervisor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, stop: StopChildren, _: &mut Self::Context) -> Self::Result {
        self.stopping = true;
        let shutdown = Shutdown { within: stop.within };
        let stops: Vec<_> = self
            .children
            .iter()
            .rev()
            .map(|child| (child.spec.stop)(shutdown))
            .collect();
        Box::pin(async move {
            for stopped in stops {
                stopped.await;
            }
        })
    }
}
