//! When to connect again; pure.

use std::time::Duration;

use crate::domain::backoff::Backoff;

/// How to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReconnectPolicy {
    /// Bounds of the waits; each wait is anything from zero to its bound.
    pub backoff: Backoff,
    /// How long a login must last for the bound to start anew.
    pub stable_after: Duration,
}

/// Counts failures in a row.
#[derive(Clone, Copy, Debug)]
pub(in crate::actors) struct Reconnect {
    policy: ReconnectPolicy,
    failures: u32,
}

impl Reconnect {
    pub(in crate::actors) const fn new(policy: ReconnectPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// A connection ended that was logged in for so long, if at all; or none came about. How long to wait.
    pub(in crate::actors) fn next_wait(&mut self, logged_in: Option<Duration>, entropy: u32) -> Duration {
        if logged_in.is_some_and(|lasted| lasted >= self.policy.stable_after) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.policy.backoff.jittered(self.failures, entropy)
    }

    /// How many in a row.
    pub(in crate::actors) const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_until_a_connection_was_stable() {
        let mut reconnect = Reconnect::new(ReconnectPolicy {
            backoff: Backoff {
                first: Duration::from_secs(1),
                limit: Duration::from_secs(300),
            },
            stable_after: Duration::from_secs(60),
        });
        let mut longest = |lasted| reconnect.next_wait(lasted, u32::MAX).as_secs();

        assert_eq!([None, None, None].map(&mut longest), [1, 2, 4]);
        assert_eq!(longest(Some(Duration::from_secs(59))), 8);
        assert_eq!(longest(Some(Duration::from_secs(60))), 1);
        assert_eq!((0..12).map(|_| longest(None)).last(), Some(300));
        assert_eq!(reconnect.next_wait(None, 0), Duration::ZERO);
    }
}
