//! Words for what is stored as text, so that an administrator can read the tables.

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

/// The reason of this name; `None` if this program never wrote it.
pub(super) fn wait(text: &str) -> Option<WaitReason> {
    WAITS.into_iter().find(|reason| of_wait(*reason) == text)
}

/// What became of a request, for people.
pub(super) fn in_words(
    state: &str,
    reason: Option<&str>,
    exit_status: Option<i64>,
    run_time_ms: Option<i64>,
) -> String {
    match (state, reason, exit_status, run_time_ms) {
        ("finished", _, Some(status), Some(millis)) => format!("finished: status {status} after {millis} ms"),
        ("finished", _, None, Some(_)) => "finished: the run was lost".to_owned(),
        ("finished", _, _, None) => "delivered, result unknown".to_owned(),
        (state, Some(reason), _, _) => format!("{state}: {}", reason.replace('_', " ")),
        (state, None, _, _) => state.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_to_wait_survive_their_text_form() {
        for reason in WAITS {
            assert_eq!(wait(of_wait(reason)), Some(reason));
        }
        assert_eq!(wait("bored"), None);
    }
}
