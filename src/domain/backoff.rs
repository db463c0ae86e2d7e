//! How long to wait before the next try.

use std::time::Duration;

/// A wait that doubles with each failure up to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait.
    pub limit: Duration,
}

impl Backoff {
    /// The wait after `failures` failures in a row; zero after none.
    pub fn after(self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.limit)
    }

    /// The same with full jitter: any length from zero to [`Backoff::after`], chosen by `entropy`, so that many who
    /// lost their server at one moment do not come back at one moment.
    pub fn jittered(self, failures: u32, entropy: u32) -> Duration {
        let longest = u64::try_from(self.after(failures).as_millis()).unwrap_or(u64::MAX);
        // 32 random bits scale a length of any practical size without overflow and without modulo bias.
        let share = u128::from(longest) * u128::from(entropy) / u128::from(u32::MAX);
        Duration::from_millis(u64::try_from(share).unwrap_or(longest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: Backoff = Backoff {
        first: Duration::from_secs(15),
        limit: Duration::from_secs(300),
    };

    #[test]
    fn wait_doubles_up_to_its_limit() {
        let waits: Vec<u64> = [0, 1, 2, 3, 5, 6, 33, u32::MAX]
            .into_iter()
            .map(|failures| POLICY.after(failures).as_secs())
            .collect();

        assert_eq!(waits, [0, 15, 30, 60, 240, 300, 300, 300]);
    }

    proptest! {
        #[test]
        fn jittered_wait_spans_zero_to_the_full_wait(failures in 0_u32..50, entropy: u32) {
            prop_assert!(POLICY.jittered(failures, entropy) <= POLICY.after(failures));
            prop_assert_eq!(POLICY.jittered(failures, 0), Duration::ZERO);
            prop_assert_eq!(POLICY.jittered(failures, u32::MAX), POLICY.after(failures));
        }
    }
}
