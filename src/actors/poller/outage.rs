//! A store that fails, and how much of that is said.
//!
//! ```text
//!            failed: said                                          failed: said if it has other words
//!   Well ─────────────────────────────────────────────► Failing ◄──────────────┐
//!     ▲                                                    │ └─────────────────┘
//!     └── whatever failed has succeeded, and a probe has ───┘ said, if the failing was
//! ```
//!
//! A standby, and a disk that is full, still answer questions: one operation that succeeds does not end what another met,
//! and only an operation that writes can be the [`PROBE`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::messages::StoreTrouble;
use crate::domain::time::Timestamp;
use crate::ports::store::StoreError;

/// What the limits of lines count by.
const MINUTE: Duration = Duration::from_secs(60);
/// Lines in a minute, so that a database that comes and goes does not fill the log.
const LINES_MAX: usize = 10;
/// Lines in a minute from which on only an outage of which nothing was said yet gets one.
const MORE_LINES_MAX: usize = 5;
/// Errors of an outage that are remembered, so that none is said twice.
const ERRORS_MAX: usize = 16;

/// The operation without whose success no outage ends.
const PROBE: &str = "settle_presence";
/// A claim that fails is tried again within seconds, unless it is of no use by now.
const CLAIM_GIVEN_UP: Duration = Duration::from_secs(30);

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Operations that have to succeed, and when they failed last.
    failing: BTreeMap<&'static str, Timestamp>,
    trouble: Option<StoreTrouble>,
    /// Whether anybody was told of it.
    is_said: bool,
    /// The errors it had, as words.
    errors: VecDeque<String>,
    /// When lines were said lately.
    lines: VecDeque<Timestamp>,
    kept_back: u64,
}

/// The end of an outage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recovery {
    /// How long it was.
    pub(super) lasted: Duration,
    /// Its last error.
    pub(super) error: String,
    /// To be said, as the outage was, with so many errors kept back since the last line.
    pub(super) said: Option<u64>,
}

impl Outage {
    /// What keeps the store from working, if anything does.
    pub(super) const fn trouble(&self) -> Option<&StoreTrouble> {
        self.trouble.as_ref()
    }

    /// An operation failed; the probe is to be tried. If that is to be said, how many errors were kept back since the
    /// last line.
    pub(super) fn failed(&mut self, operation: &'static str, error: &StoreError, now: Timestamp) -> Option<u64> {
        self.failing.insert(PROBE, now);
        self.failing.insert(operation, now);
        let since = self.trouble.as_ref().map_or(now, |trouble| trouble.since);
        let words = error.to_string();
        self.trouble = Some(StoreTrouble {
            since,
            stalled: matches!(error, StoreError::Stalled { .. }),
            error: words.clone(),
        });
        let is_known = self.errors.contains(&words);
        if is_known && self.is_said {
            return None;
        }
        if !is_known {
            self.errors.truncate(ERRORS_MAX - 1);
            self.errors.push_front(words);
        }
        if !self.has_line(now) {
            self.kept_back += u64::from(!is_known);
            return None;
        }
        self.is_said = true;
        Some(std::mem::take(&mut self.kept_back))
    }

    /// Takes a line of this minute's, if one is left. A clock that was set back gives all anew.
    fn has_line(&mut self, now: Timestamp) -> bool {
        let is_recent = |said: &Timestamp| *said <= now && now.saturating_since(*said) < MINUTE;
        self.lines.retain(is_recent);
        let most = if self.is_said { MORE_LINES_MAX } else { LINES_MAX };
        let has_line = self.lines.len() < most;
        if has_line {
            self.lines.push_back(now);
        }
        has_line
    }

    /// An operation succeeded. Whether that ends an outage.
    pub(super) fn succeeded(&mut self, operation: &'static str, now: Timestamp) -> Option<Recovery> {
        self.failing.remove(operation);
        let is_wanted = |name: &str, failed| name != "claim" || now.saturating_since(failed) < CLAIM_GIVEN_UP;
        self.failing.retain(|name, failed| is_wanted(name, *failed));
        if !self.failing.is_empty() {
            return None;
        }
        let trouble = self.trouble.take()?;
        self.errors.clear();
        let was_said = std::mem::take(&mut self.is_said);
        Some(Recovery {
            lasted: now.saturating_since(trouble.since),
            error: trouble.error,
            said: was_said.then(|| std::mem::take(&mut self.kept_back)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::store::DatabaseLabel;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn label() -> DatabaseLabel {
        DatabaseLabel::new("db:5432/rhnschema")
    }

    fn unreachable(reason: &str) -> StoreError {
        StoreError::Unreachable {
            database: label(),
            reason: reason.to_owned(),
        }
    }

    /// Ends an outage whose only failing operation is `operation`.
    fn recovery(outage: &mut Outage, operation: &'static str, now: Timestamp) -> Recovery {
        outage.succeeded(operation, now);
        outage.succeeded(PROBE, now).expect("it works")
    }

    #[test]
    fn each_error_is_said_once_in_an_outage_however_long_it_is() {
        let mut outage = Outage::default();

        assert_eq!(
            outage.failed("claim", &unreachable("terminating connection"), at(0)),
            Some(0)
        );
        assert_eq!(
            outage.failed("claim", &unreachable("connection refused"), at(1)),
            Some(0)
        );
        for second in 2..10_000 {
            assert_eq!(
                outage.failed("claim", &unreachable("connection refused"), at(second)),
                None
            );
        }
        assert_eq!(
            outage.failed("claim", &StoreError::ReadOnly(label()), at(10_000)),
            Some(0)
        );
        assert_eq!(
            outage.failed("claim", &unreachable("connection refused"), at(10_001)),
            None
        );

        let trouble = outage.trouble().expect("it fails");
        assert_eq!((trouble.since, trouble.stalled), (at(0), false));
        assert!(trouble.error.contains("connection refused"), "{trouble:?}");
        assert_eq!(outage.succeeded(PROBE, at(10_002)), None);
        let recovery = outage.succeeded("claim", at(10_003)).expect("it works");
        assert_eq!((recovery.lasted.as_secs(), recovery.said), (10_003, Some(0)));
        assert_eq!(recovery.error, unreachable("connection refused").to_string());
        assert!(outage.trouble().is_none());
    }

    #[test]
    fn every_outage_is_said_soon_after_another_as_well() {
        let mut outage = Outage::default();
        for second in [0, 7, 14, 21] {
            assert_eq!(outage.failed("read", &unreachable("x"), at(second)), Some(0));
            assert_eq!(recovery(&mut outage, "read", at(second + 1)).said, Some(0));
        }
    }

    #[test]
    fn errors_that_all_differ_are_said_a_few_times_a_minute_with_the_count_of_the_others() {
        let mut outage = Outage::default();
        let mut said = Vec::new();
        for second in 0..100 {
            if let Some(kept_back) = outage.failed("read", &unreachable(&second.to_string()), at(second)) {
                said.push((second, kept_back));
            }
        }

        let lines = [0, 1, 2, 3, 4, 60, 61, 62, 63, 64];
        assert_eq!(said, lines.map(|second| (second, if second == 60 { 55 } else { 0 })));
        assert_eq!(recovery(&mut outage, "read", at(101)).said, Some(35));
    }

    #[test]
    fn first_error_of_an_outage_is_said_after_another_that_used_up_its_lines() {
        let mut outage = Outage::default();
        for second in 0..8 {
            outage.failed("read", &unreachable(&second.to_string()), at(second));
        }
        recovery(&mut outage, "read", at(8));

        assert_eq!(outage.failed("read", &unreachable("x"), at(9)), Some(0));
    }

    #[test]
    fn store_that_comes_and_goes_is_said_a_few_times_a_minute() {
        let mut outage = Outage::default();
        let (mut said, mut recovered) = (Vec::new(), 0);
        for millis in (0..120_000).step_by(100) {
            let now = Timestamp::from_millis(millis);
            if let Some(kept_back) = outage.failed("read", &unreachable("x"), now) {
                said.push((millis, kept_back));
            }
            recovered += usize::from(recovery(&mut outage, "read", now).said.is_some());
        }

        assert_eq!((said.len(), recovered), (2 * LINES_MAX, 2 * LINES_MAX));
        assert_eq!(said[LINES_MAX], (60_000, 590));
    }

    #[test]
    fn outage_that_was_kept_back_is_said_when_it_lasts() {
        let mut outage = Outage::default();
        for second in 0..LINES_MAX as i64 {
            outage.failed("read", &unreachable("x"), at(second));
            recovery(&mut outage, "read", at(second));
        }

        assert_eq!(outage.failed("read", &unreachable("x"), at(30)), None);
        assert_eq!(outage.failed("read", &unreachable("x"), at(59)), None);
        assert_eq!(outage.failed("read", &unreachable("x"), at(60)), Some(1));
        assert_eq!(recovery(&mut outage, "read", at(61)).said, Some(0));
    }

    #[test]
    fn clock_that_is_set_back_silences_nothing() {
        let mut outage = Outage::default();
        for _ in 0..=LINES_MAX {
            outage.failed("read", &unreachable("x"), at(7_200));
            recovery(&mut outage, "read", at(7_200));
        }

        assert_eq!(outage.failed("read", &unreachable("x"), at(3_600)), Some(1));
    }

    #[test]
    fn reading_does_not_end_what_may_keep_from_writing() {
        let mut outage = Outage::default();
        outage.failed("ask_changed", &unreachable("x"), at(0));

        assert_eq!(outage.succeeded("ask_changed", at(1)), None);
        assert_eq!(outage.succeeded("read", at(2)), None);

        assert!(outage.succeeded(PROBE, at(3)).is_some());
    }

    #[test]
    fn writing_elsewhere_does_not_end_what_a_claim_has_no_room_for() {
        let mut outage = Outage::default();
        outage.failed("claim", &StoreError::Full(label()), at(0));

        assert_eq!(outage.succeeded(PROBE, at(1)), None);
        assert_eq!(outage.succeeded("record", at(2)), None);
        assert_eq!(outage.failed("claim", &StoreError::Full(label()), at(5)), None);
        assert_eq!(outage.succeeded(PROBE, at(6)), None);

        assert!(outage.succeeded("read", at(36)).is_some(), "nobody claims any more");
    }

    #[test]
    fn store_that_always_worked_has_nothing_to_recover_from() {
        assert_eq!(Outage::default().succeeded("read", at(0)), None);
    }
}
