//! A connection's one timer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

/// Rings at the next of many deadlines. Takes no memory before it is set for the first time.
#[derive(Default)]
pub(in crate::actors) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Whether a deadline may have come. The timer is set earlier, but never later: most deadlines are only moved on, and
    /// a timer that rings too early costs less than one that is set at each byte.
    pub fn poll(&mut self, deadline: Option<Instant>, task: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = deadline.map(tokio::time::Instant::from_std) else {
            return Poll::Pending;
        };
        if deadline <= tokio::time::Instant::now() {
            return Poll::Ready(());
        }
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.is_elapsed() || deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(task)
    }
}
