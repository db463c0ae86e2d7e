//! Keeps a server outside of the actors running: the registration endpoint.

use std::sync::Arc;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};

use crate::actors::supervision::{ExitGuard, ExitReason, Shutdown};
use crate::ports::service::Service;

/// Serves for as long as it lives.
pub struct Endpoint {
    service: Arc<dyn Service>,
    guard: ExitGuard,
}

impl Endpoint {
    /// One generation.
    pub fn new(service: Arc<dyn Service>, guard: ExitGuard) -> Self {
        Self { service, guard }
    }
}

impl Actor for Endpoint {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let served = self.service.serve().into_actor(self);
        ctx.spawn(served.map(|(), endpoint, ctx| {
            endpoint.guard.end_as(ExitReason::Failed);
            ctx.stop();
        }));
    }
}

impl Handler<Shutdown> for Endpoint {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.guard.end_as(ExitReason::Shutdown);
        ctx.stop();
    }
}
