//! The numbers of the push life cycle: settings, and the pauses that are fixed.

use std::time::Duration;

use crate::domain::push::request::WaitReason;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Who moves an action from queued to completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Standalone: the dispatcher, from what agents answer and report. Statuses 0 and 1 are both due.
    Dispatcher,
    /// A Satellite: `rhn_check` fetches its actions there.
    Satellite,
}

/// Settings of the life cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Who moves action states.
    pub authority: Authority,
    /// How long a request may stay unanswered.
    pub lease: Duration,
    /// How many systems may work at once; `None` is unlimited.
    pub notify_threshold: Option<usize>,
    /// The longest time one request holds its slot.
    pub slot_age: Duration,
    /// How many requests may be claimed in a second; `None` is unlimited.
    pub pushes_per_second: Option<u32>,
}

impl Default for Policy {
    /// Defaults of a standalone deployment.
    fn default() -> Self {
        Self {
            authority: Authority::Dispatcher,
            lease: MINUTE,
            notify_threshold: None,
            slot_age: 30 * MINUTE,
            pushes_per_second: None,
        }
    }
}

/// A pause that doubles each time it is used in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backoff {
    first: Duration,
    max: Duration,
}

impl Backoff {
    const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max }
    }

    /// The pause after `step` pauses of the same kind.
    pub(super) fn pause(self, step: u16) -> Duration {
        let factor = 1_u32.checked_shl(u32::from(step)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.max)
    }
}

/// The pauses for each reason to wait, as the life cycle's sections 1 and 3 give them.
pub(super) const fn backoff(reason: WaitReason) -> Backoff {
    match reason {
        WaitReason::CheckRunning | WaitReason::Rebooting | WaitReason::Stuck => {
            Backoff::new(MINUTE.saturating_mul(30), MINUTE.saturating_mul(240))
        }
        WaitReason::LeftBehind | WaitReason::CheckFailed | WaitReason::Refused(_) | WaitReason::Unanswered => {
            Backoff::new(MINUTE, MINUTE.saturating_mul(15))
        }
        WaitReason::StillQueued => Backoff::new(SECOND.saturating_mul(15), MINUTE.saturating_mul(15)),
        WaitReason::Unresponsive => Backoff::new(MINUTE.saturating_mul(15), MINUTE.saturating_mul(15)),
    }
}

/// How long a picked-up action, and its whole system, must have been quiet to be stuck.
pub(super) const STUCK_AFTER: Duration = MINUTE.saturating_mul(30);
/// Unanswered requests in a row after which the client is pinged.
pub(super) const UNANSWERED_MAX: u16 = 3;
/// How long a client has to answer a ping before it counts as unresponsive.
pub(super) const PING_TIMEOUT: Duration = MINUTE;
/// How long an answer of an existing agent holds its slot.
pub(super) const EXISTING_SLOT: Duration = SECOND.saturating_mul(30);
/// Between the two answers that complete an existing agent's action in a standalone deployment.
pub(super) const DELIVERED_GAP: Duration = MINUTE;
/// Before a request that a session could not take, or the store not record, is made again.
pub(super) const HICCUP: Duration = SECOND;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_doubles_up_to_its_bound_and_never_overflows() {
        let pauses = backoff(WaitReason::StillQueued);

        assert_eq!(pauses.pause(0), Duration::from_secs(15));
        assert_eq!(pauses.pause(1), Duration::from_secs(30));
        assert_eq!(pauses.pause(6), Duration::from_secs(15 * 60));
        assert_eq!(pauses.pause(u16::MAX), Duration::from_secs(15 * 60));
    }
}
