//! The way back to the first server.
//!
//! While another one is used, it is looked every few minutes whether the first can be reached; no more than that is
//! tried, since the connection in use is a good one. Each return that did not last makes the next look later.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::Enroller;
use crate::domain::backoff::Backoff;

/// The longest wait between looks, after many returns that did not last. The shortest is the longest of a reconnect.
const LOOKS_MAX: Duration = Duration::from_secs(4 * 3600);

impl Enroller {
    /// Looks for the first server after a while, if another one is in use.
    pub(super) fn watch_first_server(&mut self, ctx: &mut Context<Self>) {
        if let Some(handle) = self.looking.take() {
            ctx.cancel_future(handle);
        }
        let Some(first) = self.parts.servers.first().filter(|_| self.plan.server() != 0) else {
            return;
        };
        let dialer = first.dialer.clone();
        // Half of it is chance: all clients of a Proxy lose it at one moment.
        let looks = Backoff {
            first: self.parts.backoff.limit,
            limit: LOOKS_MAX,
        };
        let wait = looks.after(self.returns + 1) / 2;
        let wait = wait + self.random_part(wait);
        let looked = async move {
            tokio::time::sleep(wait).await;
            dialer.dial().await.is_ok()
        };
        self.looking = Some(ctx.spawn(looked.into_actor(self).map(|is_back, enroller, ctx| {
            enroller.looking = None;
            if is_back {
                enroller.return_to_first_server(ctx);
            } else {
                enroller.watch_first_server(ctx);
            }
        })));
    }

    fn return_to_first_server(&mut self, ctx: &mut Context<Self>) {
        self.returns = self.returns.saturating_add(1);
        // If something is being done over, it may lead there, or back here.
        if self.plan.published().is_none() {
            return;
        }
        tracing::info!(event = "first_server_back", attempt = self.returns);
        self.plan.return_to_first();
        self.start_over(ctx);
    }

    fn random_part(&self, longest: Duration) -> Duration {
        let bounds = Backoff {
            first: longest,
            limit: longest,
        };
        let mut random = [0; 4];
        self.parts.entropy.fill(&mut random);
        bounds.jittered(1, u32::from_ne_bytes(random))
    }
}
