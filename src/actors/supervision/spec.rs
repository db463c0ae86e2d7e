//! What a supervisor must know of a child.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, ArbiterHandle, Context, Handler, Message};

use super::{ExitGuard, LiveAddr};

/// When a child is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Whenever it ends.
    Permanent,
    /// When it failed or panicked; it may end by itself.
    Transient,
}

/// Finish what is in hand, start nothing new, and stop; the reply comes when that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Shutdown {
    /// After this the child is left behind.
    pub within: Duration,
}

type Start = Box<dyn Fn(ExitGuard)>;
type Stop = Box<dyn Fn(Shutdown) -> Pin<Box<dyn Future<Output = ()>>>>;

/// A child: how it is called, when it is restarted, how it is built.
pub struct ChildSpec {
    pub(super) name: &'static str,
    pub(super) policy: Policy,
    pub(super) start: Start,
    pub(super) stop: Stop,
}

impl ChildSpec {
    /// Describes a child that runs on `arbiter` and is reached through `live`.
    ///
    /// The factory is called for every generation, on the arbiter's thread, and must build the actor from settings and
    /// ports alone. The actor keeps the guard it is given.
    pub fn new<A>(
        name: &'static str,
        policy: Policy,
        arbiter: ArbiterHandle,
        live: LiveAddr<A>,
        factory: impl Fn(ExitGuard) -> A + Send + Sync + 'static,
    ) -> Self
    where
        A: Actor<Context = Context<A>> + Handler<Shutdown>,
        A::Context: ToEnvelope<A, Shutdown>,
    {
        let factory = Arc::new(factory);
        let started = live.clone();
        let start = move |guard| {
            let factory = Arc::clone(&factory);
            started.set(A::start_in_arbiter(&arbiter, move |_| factory(guard)));
        };
        let stop = move |shutdown: Shutdown| -> Pin<Box<dyn Future<Output = ()>>> {
            let live = live.clone();
            Box::pin(async move {
                // Whether it replied, was gone already or is left behind: the supervisor goes on to the next child.
                tokio::time::timeout(shutdown.within, live.send(shutdown)).await.ok();
            })
        };
        Self {
            name,
            policy,
            start: Box::new(start),
            stop: Box::new(stop),
        }
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ChildSpec")
            .field("name", &self.name)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
