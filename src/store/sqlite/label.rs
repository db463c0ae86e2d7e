//! Words for what is stored as text, so that an administrator can read the tables.

use super::failure::Failure;
use crate::domain::push::client::Refusal;
use crate::domain::push::request::{LossReason, WaitReason};

pub(super) const fn of_loss(reason: LossReason) -> &'static str {
    match reason {
        LossReason::Unanswered => "unanswered",
        LossReason::Reconnected => "reconnected",
        LossReason::NodeRestarted => "node_restarted",
        LossReason::Forgotten => "forgotten",
        LossReason::NotSent => "not_sent",
    }
}

pub(super) const fn of_refusal(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Disabled => "disabled",
        Refusal::Clock => "clock",
        Refusal::Signature => "signature",
        Refusal::Draining => "draining",
    }
}

pub(super) const fn of_wait(reason: WaitReason) -> &'static str {
    match reason {
        WaitReason::StillQueued => "still_queued",
        WaitReason::CheckRunning => "check_running",
        WaitReason::LeftBehind => "left_behind",
        WaitReason::CheckFailed => "check_failed",
        WaitReason::Refused(Refusal::Disabled) => "refused_disabled",
        WaitReason::Refused(Refusal::Clock) => "refused_clock",
        WaitReason::Refused(Refusal::Signature) => "refused_signature",
        WaitReason::Refused(Refusal::Draining) => "refused_draining",
        WaitReason::Unanswered => "unanswered",
        WaitReason::Unresponsive => "unresponsive",
        WaitReason::Rebooting => "rebooting",
        WaitReason::Stuck => "stuck",
    }
}

/// Every reason to wait; what [`of_wait`] writes is found again here.
const WAITS: [WaitReason; 12] = [
    WaitReason::StillQueued,
    WaitReason::CheckRunning,
    WaitReason::LeftBehind,
    WaitReason::CheckFailed,
    WaitReason::Refused(Refusal::Disabled),
    WaitReason::Refused(Refusal::Clock),
    WaitReason::Refused(Refusal::Signature),
    WaitReason::Refused(Refusal::Draining),
    WaitReason::Unanswered,
    WaitReason::Unresponsive,
    WaitReason::Rebooting,
    WaitReason::Stuck,
];

pub(super) fn wait(text: &str) -> Result<WaitReason, Failure> {
    WAITS
        .into_iter()
        .find(|reason| of_wait(*reason) == text)
        .ok_or(Failure::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_to_wait_survive_their_text_form() {
        for reason in WAITS {
            assert_eq!(wait(of_wait(reason)).unwrap(), reason);
        }
        assert!(wait("bored").is_err());
    }
}
