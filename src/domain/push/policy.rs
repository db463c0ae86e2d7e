//! The numbers of the push life cycle: settings, and the pauses that are fixed.

use std::time::Duration;

use crate::domain::backoff::Backoff;
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
    /// What the pauses below are divided by: 1, unless a test has no time for them.
    pub pause_divisor: u32,
}

impl Policy {
    /// A pause as this policy keeps it.
    pub(super) fn shortened(&self, pause: Duration) -> Duration {
        pause / self.pause_divisor.max(1)
    }
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
            pause_divisor: 1,
        }
    }
}

/// The pauses for each reason to wait, as the life cycle's sections 1 and 3 give them.
pub(super) const fn backoff(reason: WaitReason) -> Backoff {
    match reason {
        WaitReason::CheckRunning | WaitReason::Rebooting | WaitReason::Stuck => doubling(30 * 60, 4 * 3600),
        WaitReason::LeftBehind | WaitReason::CheckFailed | WaitReason::Refused(_) | WaitReason::Unanswered => {
            doubling(60, 15 * 60)
        }
        WaitReason::StillQueued => doubling(15, 15 * 60),
        WaitReason::Unresponsive => doubling(15 * 60, 15 * 60),
    }
}

/// Units: seconds.
const fn doubling(first: u64, limit: u64) -> Backoff {
    Backoff {
        first: Duration::from_secs(first),
        limit: Duration::from_secs(limit),
    }
}

/// How long a picked-up action, and its whole system, must have been quiet to be stuck.
pub(super) const STUCK_AFTER: Duration = MINUTE.saturating_mul(30);
/// Unanswered requests in a row after which the client is pinged.
pub(super) const UNANSWERED_MAX: u16 = 3;
/// How long a client has to answer a ping before it counts as unresponsive.
pub(super) const PING_TIMEOUT: Duration = MINUTE;
/// How long an answer of an existing agent holds its slot.
pub(crate) const EXISTING_SLOT: Duration = SECOND.saturating_mul(30);
/// Between the two answers that complete an existing agent's action in a standalone deployment.
pub(super) const DELIVERED_GAP: Duration = MINUTE;
/// Before a request that a session could not take, or the store not record, is made again.
pub(super) const HICCUP: Duration = SECOND;
