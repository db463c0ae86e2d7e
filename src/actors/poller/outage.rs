//! A store that fails, and how often that is said.
//!
//! ```text
//!            failed: said, if this kind of error was not           failed: said once for each kind of error
//!   Well ─────────────────────────────────────────────► Failing ◄──────────────┐
//!     ▲                                                    │ └─────────────────┘
//!     └── whatever failed has succeeded, and a probe has ───┘
//! ```
//!
//! A standby, and a disk that is full, still answer questions: one operation that succeeds does not end what another met,
//! and only an operation that writes can be the [`PROBE`].

use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use super::messages::StoreTrouble;
use crate::domain::time::Timestamp;
use crate::ports::store::StoreError;

/// How long after an outage the same kind of error is not said again: bounds the log where it comes and goes.
const QUIET: Duration = Duration::from_secs(60);

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
    /// Kinds of errors that were said in this outage or lately, and when their outage ended.
    said: Vec<(Discriminant<StoreError>, Option<Timestamp>)>,
}

/// The end of an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recovery {
    /// How long it was.
    pub(super) lasted: Duration,
    /// Whether anybody was told of it.
    pub(super) was_said: bool,
}

impl Outage {
    /// What keeps the store from working, if anything does.
    pub(super) const fn trouble(&self) -> Option<&StoreTrouble> {
        self.trouble.as_ref()
    }

    /// An operation failed; the probe is to be tried. Whether that is to be said.
    pub(super) fn failed(&mut self, operation: &'static str, error: &StoreError, now: Timestamp) -> bool {
        self.failing.insert(PROBE, now);
        self.failing.insert(operation, now);
        let since = self.trouble.as_ref().map_or(now, |trouble| trouble.since);
        self.trouble = Some(StoreTrouble {
            since,
            stalled: matches!(error, StoreError::Stalled { .. }),
            error: error.to_string(),
        });
        let is_recent = |ended: Option<Timestamp>| ended.is_none_or(|ended| now.saturating_since(ended) < QUIET);
        self.said.retain(|(_, ended)| is_recent(*ended));
        let kind = discriminant(error);
        let is_new = self.said.iter().all(|(said, _)| *said != kind);
        if is_new {
            self.said.push((kind, None));
        }
        is_new
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
        let was_said = self.said.iter().any(|(_, ended)| ended.is_none());
        self.said.iter_mut().for_each(|(_, ended)| *ended = ended.or(Some(now)));
        Some(Recovery {
            lasted: now.saturating_since(trouble.since),
            was_said,
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

    #[test]
    fn each_kind_of_error_is_said_once_in_an_outage_however_long_it_is() {
        let mut outage = Outage::default();

        assert!(outage.failed("claim", &unreachable("terminating connection"), at(0)));
        for second in 1..10_000 {
            assert!(!outage.failed("claim", &unreachable("connection refused"), at(second)));
        }
        assert!(outage.failed("claim", &StoreError::ReadOnly(label()), at(10_000)));
        assert!(!outage.failed("claim", &unreachable("connection refused"), at(10_001)));

        let trouble = outage.trouble().expect("it fails");
        assert_eq!((trouble.since, trouble.stalled), (at(0), false));
        assert!(trouble.error.contains("connection refused"), "{trouble:?}");
        assert_eq!(outage.succeeded(PROBE, at(10_002)), None);
        let recovery = outage.succeeded("claim", at(10_003)).expect("it works");
        assert_eq!((recovery.lasted.as_secs(), recovery.was_said), (10_003, true));
        assert!(outage.trouble().is_none());
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
        assert!(!outage.failed("claim", &StoreError::Full(label()), at(5)));
        assert_eq!(outage.succeeded(PROBE, at(6)), None);

        assert!(outage.succeeded("read", at(36)).is_some(), "nobody claims any more");
    }

    #[test]
    fn error_that_comes_and_goes_is_said_once_a_minute() {
        let mut outage = Outage::default();
        let mut said = Vec::new();
        for second in (0..240).step_by(2) {
            if outage.failed("read", &unreachable("x"), at(second)) {
                said.push(second);
            }
            outage.succeeded("read", at(second + 1));
            let recovery = outage.succeeded(PROBE, at(second + 1)).expect("it works");
            assert_eq!(recovery.was_said, said.last() == Some(&second));
        }

        assert_eq!(said, [0, 62, 124, 186]);
    }

    #[test]
    fn store_that_always_worked_has_nothing_to_recover_from() {
        assert_eq!(Outage::default().succeeded("read", at(0)), None);
    }
}
