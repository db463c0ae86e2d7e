//! How often in a row a system waited for the same reason.

use crate::domain::push::request::WaitReason;

/// How often in a row each reason to wait was used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Steps([u16; 8]);

impl Steps {
    /// Counts one more pause for the reason; how many came before it.
    pub(super) fn advance(&mut self, reason: WaitReason) -> u16 {
        let step = &mut self.0[Self::index(reason)];
        let before = *step;
        *step = before.saturating_add(1);
        before
    }

    pub(super) fn reset(&mut self, reason: WaitReason) {
        self.0[Self::index(reason)] = 0;
    }

    const fn index(reason: WaitReason) -> usize {
        match reason {
            WaitReason::StillQueued => 0,
            WaitReason::CheckRunning => 1,
            WaitReason::LeftBehind => 2,
            WaitReason::CheckFailed => 3,
            WaitReason::Refused(_) => 4,
            WaitReason::Unanswered | WaitReason::Unresponsive => 5,
            WaitReason::Rebooting => 6,
            WaitReason::Stuck => 7,
        }
    }
}
