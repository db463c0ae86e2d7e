//! Calls that were refused, as the log tells them: whoever calls is a stranger, and can do so at any rate.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::tally::Tally;
use crate::protocol::xmlrpc::registration::Failure;

/// How often it is said how many calls were refused.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The refused calls.
#[derive(Default)]
pub(super) struct Refusals(Mutex<Tally<Failure>>);

impl Refusals {
    /// Tells the first call of a reason at once, and counts the others.
    pub(super) fn count(&self, failure: Failure, peer: SocketAddr) {
        if self.tally().count(failure, peer) {
            tracing::warn!(event = "registration_refused", peer_addr = %peer, reason = %failure);
        }
    }

    /// Tells what was counted, for as long as it is polled.
    pub(super) async fn tell(&self) {
        loop {
            tokio::time::sleep(TOLD_EVERY).await;
            let counted = self.tally().take();
            for (reason, untold) in counted {
                let (calls, last) = (untold.times, untold.last);
                tracing::warn!(event = "registration_refused", calls, peer_addr = %last, reason = %reason, "the last of several");
            }
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally<Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn flood_of_refused_calls_costs_two_lines_in_its_first_minute() {
        let (log, refusals) = (Log::default(), Refusals::default());
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false);
        let _guard = tracing::subscriber::set_default(subscriber.finish());
        let peer = SocketAddr::from(([192, 0, 2, 1], 1));

        for _ in 0..1_000 {
            refusals.count(Failure::InvalidCredentials, peer);
        }
        tokio::time::timeout(TOLD_EVERY * 3, refusals.tell()).await.unwrap_err();

        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(
            lines
                .iter()
                .all(|line| line.contains("registration_refused") && line.contains("Invalid System"))
        );
        assert!(text.contains("calls=999"), "{text}");
    }
}
