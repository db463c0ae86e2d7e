//! What moves a session at a socket: its connection and its one timer.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Instant;

use actix::fut::ActorFuture;
use actix::{ActorContext, Context};

use super::totals::Ending;
use super::{Session, Way, now};
use crate::actors::wire::{Progress, Timer};

/// Bytes read at once.
const CHUNK: usize = 8 * 1024;

thread_local! {
    /// One buffer for all sessions of a thread: none of them keeps one while it is idle.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// Runs as long as the session.
#[derive(Default)]
pub(super) struct Pump {
    timer: Timer,
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
            if self.timer.poll(session.next_deadline(), task).is_pending() {
                return Poll::Pending;
            }
            session.handle_deadlines(ctx);
        }
    }
}

impl Session {
    fn poll_link(&mut self, buffer: &mut [u8], ctx: &mut Context<Self>, task: &mut task::Context<'_>) -> Poll<()> {
        let may_read = self.may_read();
        let Way::Socket(socket) = &mut self.way else {
            return Poll::Pending;
        };
        let window = may_read.then_some(&mut *buffer);
        let progress = match socket.link.poll(task, window, &self.parts.handshakes, now()) {
            Poll::Ready(progress) => progress,
            Poll::Pending => return Poll::Pending,
        };
        match progress {
            Ok(Progress::Read(count)) => self.receive(buffer.get(..count).unwrap_or_default(), ctx),
            Ok(Progress::Secured(handshake)) => {
                socket.stream.tls_established(handshake.channel_binding, now());
                self.perform(ctx);
            }
            Ok(Progress::Gone) => self.end(Ending::Gone, ctx),
            Ok(Progress::Closed) => ctx.stop(),
            Err(error) => self.end(Ending::Link(error), ctx),
        }
        Poll::Ready(())
    }

    pub(super) fn talk_deadline(&self) -> Option<Instant> {
        let at = self.talk.as_ref().and_then(|talk| talk.next_deadline())?;
        Some(now() + at.saturating_since(self.parts.clock.now()))
    }

    fn next_deadline(&self) -> Option<Instant> {
        let (stream, link, turn) = match &self.way {
            Way::Socket(socket) => (
                socket.stream.next_deadline(),
                socket.link.deadline(),
                socket.link.turn_ends(),
            ),
            Way::Relay(_) => (None, None, None),
        };
        [self.talk_deadline(), stream, link, turn].into_iter().flatten().min()
    }

    fn handle_deadlines(&mut self, ctx: &mut Context<Self>) {
        let now = now();
        if let Some(socket) = self.socket() {
            if socket.link.deadline().is_some_and(|deadline| deadline <= now) {
                return self.end(Ending::SlowReader, ctx);
            }
            socket.stream.handle_deadline(now);
        }
        self.handle_talk_deadline();
        self.perform(ctx);
    }

    pub(super) fn handle_talk_deadline(&mut self) {
        if let Some(talk) = &mut self.talk {
            talk.handle_deadline(self.parts.clock.now());
        }
    }
}
