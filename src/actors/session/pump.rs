//! What moves a session: its connection and its one timer.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Instant;

use actix::fut::ActorFuture;
use actix::{ActorContext, Context};
use tokio::time::Sleep;

use super::totals::Ending;
use super::{Session, now};
use crate::actors::wire::Progress;

/// Bytes read at once.
const CHUNK: usize = 8 * 1024;

thread_local! {
    /// One buffer for all sessions of a thread: none of them keeps one while it is idle.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// Runs as long as the session.
pub(super) struct Pump {
    timer: Pin<Box<Sleep>>,
}

impl Pump {
    pub fn new() -> Self {
        Self {
            timer: Box::pin(tokio::time::sleep_until(tokio::time::Instant::now())),
        }
    }

    /// Whether a deadline has come. The timer is set earlier, but never later: most deadlines are only moved on, and
    /// a timer that rings too early costs less than one that is set at each byte.
    fn poll_timer(&mut self, deadline: Option<Instant>, task: &mut task::Context<'_>) -> Poll<()> {
        let Some(deadline) = deadline.map(tokio::time::Instant::from_std) else {
            return Poll::Pending;
        };
        if deadline <= tokio::time::Instant::now() {
            return Poll::Ready(());
        }
        if self.timer.is_elapsed() || deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(task)
    }
}

impl ActorFuture<Session> for Pump {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        session: &mut Session,
        ctx: &mut Context<Session>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        session.waker.clone_from(task.waker());
        loop {
            if ctx.state() != actix::ActorState::Running {
                return Poll::Ready(());
            }
            match SCRATCH.with_borrow_mut(|buffer| session.poll_link(buffer, ctx, task)) {
                Poll::Ready(()) => continue,
                Poll::Pending => {}
            }
            if self.poll_timer(session.next_deadline(), task).is_pending() {
                return Poll::Pending;
            }
            session.handle_deadlines(ctx);
        }
    }
}

impl Session {
    fn poll_link(&mut self, buffer: &mut [u8], ctx: &mut Context<Self>, task: &mut task::Context<'_>) -> Poll<()> {
        let window = self.may_read().then_some(&mut *buffer);
        let progress = match self.link.poll(task, window, &self.parts.handshakes, now()) {
            Poll::Ready(progress) => progress,
            Poll::Pending => return Poll::Pending,
        };
        match progress {
            Ok(Progress::Read(count)) => self.receive(buffer.get(..count).unwrap_or_default(), ctx),
            Ok(Progress::Secured(handshake)) => {
                self.stream.tls_established(handshake.channel_binding, now());
                self.perform(ctx);
            }
            Ok(Progress::Gone) => self.end(Ending::Gone, ctx),
            Ok(Progress::Closed) => ctx.stop(),
            Err(error) => self.end(Ending::Link(error), ctx),
        }
        Poll::Ready(())
    }

    fn next_deadline(&self) -> Option<Instant> {
        let talk = self.talk.as_ref().and_then(|talk| talk.next_deadline());
        let talk = talk.map(|at| now() + at.saturating_since(self.parts.clock.now()));
        [
            talk,
            self.stream.next_deadline(),
            self.link.deadline(),
            self.link.turn_ends(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn handle_deadlines(&mut self, ctx: &mut Context<Self>) {
        let now = now();
        if self.link.deadline().is_some_and(|deadline| deadline <= now) {
            return self.end(Ending::SlowReader, ctx);
        }
        self.stream.handle_deadline(now);
        if let Some(talk) = &mut self.talk {
            talk.handle_deadline(self.parts.clock.now());
        }
        self.perform(ctx);
    }
}
