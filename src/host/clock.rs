//! The clock and the random numbers of the operating system.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::time::Timestamp;
use crate::ports::clock::{Clock, Entropy};

/// The wall clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_micros() / 1_000)
    }

    fn now_micros(&self) -> i64 {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
        let now = SystemTime::now();
        // A clock before 1970 is as wrong as one that stands there.
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
    }
}

/// The kernel's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    #[expect(
        clippy::expect_used,
        reason = "Linux answers getrandom(2) since 3.17; without it no key would be safe, so nothing may go on"
    )]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the kernel gives random numbers");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_is_not_stuck_at_its_origin_and_entropy_differs() {
        let [mut first, mut second] = [[0; 16]; 2];
        OsEntropy.fill(&mut first);
        OsEntropy.fill(&mut second);

        assert!(SystemClock.now() > Timestamp::from_secs(1_700_000_000));
        assert_ne!(first, second);
    }
}
