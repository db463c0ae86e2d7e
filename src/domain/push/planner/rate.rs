//! Requests per second, smoothed.

use std::time::Duration;

use crate::domain::time::Timestamp;

/// Units: millionths of a request, so that slow rates lose nothing to rounding.
const TOKEN: u64 = 1_000_000;

/// A token bucket that holds a tenth of a second's requests, at least one.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: Option<u64>,
    tokens: u64,
    since: Option<Timestamp>,
}

impl Rate {
    pub(super) fn new(per_second: Option<u32>) -> Self {
        let per_second = per_second.map(|rate| u64::from(rate.max(1)));
        Self {
            per_second,
            tokens: per_second.map_or(0, Self::capacity),
            since: None,
        }
    }

    /// Takes one request's worth, if there is one.
    pub(super) fn take(&mut self, now: Timestamp) -> bool {
        let Some(per_second) = self.per_second else { return true };
        let passed = now.saturating_since(*self.since.get_or_insert(now));
        if !passed.is_zero() {
            let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
            let gained = millis.saturating_mul(per_second).saturating_mul(TOKEN / 1_000);
            self.tokens = self.tokens.saturating_add(gained).min(Self::capacity(per_second));
            self.since = Some(now);
        }
        let enough = self.tokens >= TOKEN;
        if enough {
            self.tokens -= TOKEN;
        }
        enough
    }

    /// When the next request may be made, if that is not now.
    pub(super) fn next_token(&self) -> Option<Timestamp> {
        let per_second = self.per_second?;
        let missing = TOKEN.saturating_sub(self.tokens);
        let millis = missing.div_ceil(per_second * (TOKEN / 1_000));
        (missing > 0).then(|| self.since.unwrap_or_default() + Duration::from_millis(millis))
    }

    fn capacity(per_second: u64) -> u64 {
        (per_second * TOKEN / 10).max(TOKEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_no_more_than_the_rate_in_any_second() {
        let mut rate = Rate::new(Some(200));
        let taken = (0..10_000).filter(|&ms| rate.take(Timestamp::from_millis(ms))).count();

        assert_eq!(taken, 20 + 10 * 200 - 1);
    }

    #[test]
    fn says_when_the_next_request_may_be_made() {
        let mut rate = Rate::new(Some(1));
        let start = Timestamp::from_secs(100);

        assert!(rate.take(start));
        assert!(!rate.take(start));
        assert_eq!(rate.next_token(), Some(start + Duration::from_secs(1)));
        assert!(rate.take(start + Duration::from_secs(1)));
    }
}
