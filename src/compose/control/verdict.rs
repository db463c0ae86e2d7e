//! Why a system is being pushed, or not, in one sentence.

use super::explanation::RivalsView;
use crate::compose::time::Time;
use crate::domain::push::client::Refusal;
use crate::domain::push::request::{RequestState, Wait, WaitReason};
use crate::domain::push::system::Snapshot;
use crate::domain::time::Timestamp;
use crate::ports::inventory::{ActionRow, SystemRow};

const HELD_BACK: &str = "what is pending is held back: another action has to be completed first, or in the Satellite \
     the system is locked, not entitled or not pushed";

const NEVER_REGISTERED: &str =
    "its agent has never registered: start osad on it; without a Satellite, with the bundle of `systems add`";

/// All that decides whether a system is asked.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The system.
    pub system: &'a SystemRow,
    /// Its pending actions.
    pub pending: &'a [ActionRow],
    /// Whether a dispatcher runs.
    pub is_running: bool,
    /// How the running dispatcher sees the system, if it is connected.
    pub session: Option<&'a Snapshot>,
    /// Agents that take the system from each other.
    pub rivals: Option<&'a RivalsView>,
    /// Why no agent at all is there, if that is so.
    pub outage: Option<String>,
    /// The time now.
    pub now: Timestamp,
}

impl Facts<'_> {
    /// The first reason that applies, in the order in which a person would have to mend them.
    pub fn verdict(&self) -> String {
        // Once is an agent that moved to another account.
        let rivals = self.rivals.filter(|rivals| rivals.times > 1);
        rivals.map_or_else(|| self.of_its_actions(), RivalsView::sentence)
    }

    fn of_its_actions(&self) -> String {
        let time = |time: Timestamp| Time(time).local();
        let Some(first) = self.pending.iter().map(|action| action.earliest).min() else {
            return self.idle("nothing is pending".to_owned());
        };
        if first > self.now {
            return self.idle(format!("nothing is due before {}", time(first)));
        }
        if !self.is_running {
            return "no dispatcher runs, so nobody asks: start osa-dispatcher".to_owned();
        }
        if self.system.jid.is_none() {
            return NEVER_REGISTERED.to_owned();
        }
        let Some(session) = self.session else {
            return self.outage.clone().unwrap_or_else(|| self.absent());
        };
        if session.rebooting {
            return "a reboot is picked up: nothing else is asked until it has happened".to_owned();
        }
        if let Some(number) = session.outstanding {
            return format!("request {number} is on its way to the agent");
        }
        if let Some(wait) = session.wait.filter(|wait| wait.until > self.now) {
            return format!("{}; asked again at {}", reason(&wait), time(wait.until));
        }
        if session.awaited > 0 {
            return "the agent has been asked and its check is running, or is about to".to_owned();
        }
        match session.next {
            Some(next) if next > self.now => format!("the next request is due at {}", time(next)),
            Some(_) => {
                "due now: waits for a free slot (push.notify_threshold) or for push.pushes_per_second".to_owned()
            }
            None if session.pending == 0 => HELD_BACK.to_owned(),
            None => "nothing is due now".to_owned(),
        }
    }

    /// Nothing is to be done now, but what will keep it from being done can be mended by then.
    fn idle(&self, said: String) -> String {
        match self.system.jid {
            Some(_) => said,
            None => format!("{said}; {NEVER_REGISTERED}"),
        }
    }

    fn absent(&self) -> String {
        match &self.system.jid_owner {
            Some(owner) => format!(
                "its agent is not connected: the JID that it registered is that of {owner}; if its profile was registered \
                 anew as {owner}, remove this system, else delete osad-auth.conf on it and restart osad"
            ),
            None => {
                "its agent is not connected: it is asked as soon as it is; see `systemctl status osad` there".to_owned()
            }
        }
    }
}

/// What a pause is for.
pub fn reason(wait: &Wait) -> &'static str {
    match wait.reason {
        WaitReason::StillQueued => "the agent answered, but the action is still queued",
        WaitReason::CheckRunning => "the agent's check is running, and its report is awaited",
        WaitReason::LeftBehind => "the check ended with exit status 0 but left actions behind",
        WaitReason::CheckFailed => "the check failed",
        WaitReason::Refused(Refusal::Disabled) => "the agent refused: checks are disabled there (check.enabled)",
        WaitReason::Refused(Refusal::Clock) => "the agent refused: its clock and this machine's differ",
        WaitReason::Refused(Refusal::Signature) => "the agent refused the signature: restart osad there",
        WaitReason::Refused(Refusal::Draining) => "the agent refused: it is stopping",
        WaitReason::Unanswered => "requests stay unanswered",
        WaitReason::Unresponsive => "requests and a ping stay unanswered",
        WaitReason::Rebooting => "a reboot is picked up",
        WaitReason::Stuck => "an action was picked up, and nothing more was heard",
    }
}

/// The state of a request as a word.
pub const fn state(state: RequestState) -> &'static str {
    match state {
        RequestState::Claimed => "claimed",
        RequestState::Sent => "sent",
        RequestState::Answered => "answered",
        RequestState::Started(_) => "started",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ActionId, RequestNumber, SystemId};
    use crate::domain::push::client::AgentKind;
    use crate::ports::inventory::{ActionStatus, RequestTrace};

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn system(jid: Option<&str>) -> SystemRow {
        SystemRow {
            id: SystemId(1),
            name: "web".to_owned(),
            jid: jid.map(str::to_owned),
            jid_owner: None,
            online: jid.is_some(),
            last_message: None,
            pending: 1,
        }
    }

    fn action(earliest: Timestamp) -> ActionRow {
        ActionRow {
            id: ActionId(1),
            system: SystemId(1),
            system_name: "web".to_owned(),
            name: "update".to_owned(),
            status: ActionStatus::Queued,
            created: earliest,
            earliest,
            picked_up: None,
            completed: None,
            remaining_tries: 5,
            result: None,
            trace: RequestTrace::default(),
        }
    }

    fn session() -> Snapshot {
        Snapshot {
            kind: AgentKind::New,
            outstanding: None,
            awaited: 0,
            pending: 1,
            next: None,
            wait: None,
            responsive: true,
            rebooting: false,
        }
    }

    fn verdict(jid: Option<&str>, earliest: &[i64], is_running: bool, session: Option<&Snapshot>) -> String {
        let pending: Vec<ActionRow> = earliest
            .iter()
            .map(|secs| action(Timestamp::from_secs(*secs)))
            .collect();
        let facts = Facts {
            system: &system(jid),
            pending: &pending,
            is_running,
            session,
            rivals: None,
            outage: None,
            now: NOW,
        };
        facts.verdict()
    }

    #[test]
    fn what_a_person_must_mend_first_is_said_first() {
        let live = session();

        assert_eq!(verdict(Some("a@b/c"), &[], false, None), "nothing is pending");
        assert!(verdict(Some("a@b/c"), &[2_000], false, None).starts_with("nothing is due before "));
        for nothing_now in [&[][..], &[2_000]] {
            let said = verdict(None, nothing_now, true, None);
            assert!(
                said.starts_with("nothing is ") && said.contains("; its agent has never registered"),
                "{said}"
            );
        }
        assert!(verdict(None, &[2_000, 1], false, None).starts_with("no dispatcher runs"));
        assert!(verdict(None, &[1], true, None).starts_with("its agent has never registered"));
        assert!(verdict(Some("a@b/c"), &[1], true, None).starts_with("its agent is not connected"));
        assert_eq!(verdict(Some("a@b/c"), &[1], true, Some(&live)), "nothing is due now");
    }

    #[test]
    fn system_whose_jid_is_that_of_another_is_told_so() {
        let claimant = SystemRow {
            jid_owner: Some("web-2".to_owned()),
            ..system(Some("a@b/c"))
        };
        let pending = [action(Timestamp::from_secs(1))];
        let facts = Facts {
            system: &claimant,
            pending: &pending,
            is_running: true,
            session: None,
            rivals: None,
            outage: None,
            now: NOW,
        };

        let said = facts.verdict();

        assert!(
            said.contains("that of web-2") && said.contains("remove this system"),
            "{said}"
        );
        let live = session();
        let session = Some(&live);
        assert_eq!(Facts { session, ..facts }.verdict(), "nothing is due now");
    }

    #[test]
    fn connected_system_is_explained_by_what_it_waits_for() {
        let of = |session: Snapshot| verdict(Some("a@b/c"), &[1], true, Some(&session));
        let wait = |until, reason| {
            let step = 0;
            Some(Wait { until, reason, step })
        };
        let later = Timestamp::from_secs(2_000);
        let refused = wait(later, WaitReason::Refused(Refusal::Disabled));

        assert!(
            of(Snapshot {
                outstanding: Some(RequestNumber(7)),
                ..session()
            })
            .starts_with("request 7")
        );
        assert!(
            of(Snapshot {
                wait: refused,
                ..session()
            })
            .starts_with("the agent refused: checks are disabled")
        );
        assert!(
            of(Snapshot {
                wait: wait(NOW, WaitReason::CheckFailed),
                awaited: 1,
                ..session()
            })
            .contains("running")
        );
        assert!(
            of(Snapshot {
                rebooting: true,
                wait: refused,
                ..session()
            })
            .starts_with("a reboot")
        );
        assert!(
            of(Snapshot {
                next: Some(NOW),
                ..session()
            })
            .contains("notify_threshold")
        );
        assert!(
            of(Snapshot {
                next: Some(later),
                ..session()
            })
            .starts_with("the next request is due at")
        );
        assert!(
            of(Snapshot {
                pending: 0,
                ..session()
            })
            .contains("another action")
        );
    }
}
