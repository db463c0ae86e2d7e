//! Accepting from one listener, at the pace that admission and descriptors allow.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Duration;

use actix::Context;
use actix::fut::ActorFuture;
use tokio::time::Instant;

use super::{Roster, TlsSupervisor};
use crate::ports::transport::Listener;

/// Pause after the first failure to accept; doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause. Descriptors become free when sessions end, and nobody tells us.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Connections accepted before others get their turn.
const ACCEPTED_AT_ONCE: usize = 64;
/// Refusals are logged at most this often; whoever causes them can do so at any rate.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Accepts for as long as its actor lives.
pub(super) struct Accepting {
    listener: Arc<dyn Listener>,
    roster: Arc<Roster>,
    wait: Option<Wait>,
    failures: u32,
    refused: u64,
    logged: Option<Instant>,
}

impl Accepting {
    pub fn new(listener: Arc<dyn Listener>, roster: Arc<Roster>) -> Self {
        Self {
            listener,
            roster,
            wait: None,
            failures: 0,
            refused: 0,
            logged: None,
        }
    }

    fn poll_next(&mut self, supervisor: &mut TlsSupervisor, task: &mut task::Context<'_>) -> Poll<()> {
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(task));
            self.wait = None;
        }
        if self.roster.is_full() {
            let roster = Arc::clone(&self.roster);
            self.wait = Some(Box::pin(async move { roster.wait_for_room().await }));
            return Poll::Ready(());
        }
        match ready!(self.listener.poll_accept(task)) {
            Ok(connection) => {
                self.failures = 0;
                let peer = connection.peer_addr();
                if let Err(refusal) = supervisor.parts.sessions.accept(connection) {
                    self.refused += 1;
                    self.log_sometimes(|refused| {
                        tracing::warn!(event = "connection_refused", peer_addr = %peer, reason = %refusal, refused);
                    });
                }
            }
            Err(error) => {
                let pause = FIRST_PAUSE
                    .saturating_mul(2_u32.saturating_pow(self.failures))
                    .min(LONGEST_PAUSE);
                self.failures = self.failures.saturating_add(1);
                self.wait = Some(Box::pin(tokio::time::sleep(pause)));
                self.log_sometimes(|_| {
                    tracing::error!(
                        event = "accept_failed",
                        error = %error,
                        "connections wait: raise the limit of open files, or lower that of connections"
                    );
                });
            }
        }
        Poll::Ready(())
    }

    fn log_sometimes(&mut self, log: impl FnOnce(u64)) {
        let now = Instant::now();
        if self
            .logged
            .is_none_or(|logged| now.duration_since(logged) >= LOG_INTERVAL)
        {
            log(self.refused);
            self.logged = Some(now);
            self.refused = 0;
        }
    }
}

impl ActorFuture<TlsSupervisor> for Accepting {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        supervisor: &mut TlsSupervisor,
        _: &mut Context<TlsSupervisor>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        for _ in 0..ACCEPTED_AT_ONCE {
            if supervisor.draining {
                return Poll::Ready(());
            }
            ready!(self.poll_next(supervisor, task));
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }
}
