//! When the next request of a system is due, and whether it holds a slot.

use super::{Hearing, Outstanding, SystemPush, Tracked, Turn};
use crate::domain::push::action::{ActionKind, Progress};
use crate::domain::push::client::AgentKind;
use crate::domain::push::policy::{self, Authority, Policy};
use crate::domain::push::request::WaitReason;
use crate::domain::time::Timestamp;

/// The next request of a system, in the order in which requests are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    /// When it may be made.
    pub(crate) at: Timestamp,
    /// Whether every action it would cover has been asked for before; first requests come first.
    pub(crate) retry: bool,
    /// The earliest `earliest_action` it would cover.
    pub(crate) earliest: Timestamp,
}

impl SystemPush {
    /// The next request, if one is to be made at all as things stand.
    pub(crate) fn due(&self, policy: &Policy) -> Option<Due> {
        if self.outstanding != Outstanding::None || self.stale || matches!(self.hearing, Hearing::Pinged(_)) {
            return None;
        }
        let at = match self.reboot_picked_up() {
            Some(since) => self.due_in_reboot(since, policy),
            None => self.actions.iter().map(|tracked| self.due_at(tracked, policy)).min()?,
        };
        Some(Due {
            at: self.held_until.map_or(at, |held| held.max(at)),
            retry: !self.actions.iter().any(Tracked::is_uncovered),
            earliest: self
                .actions
                .iter()
                .map(|tracked| tracked.action.version.earliest)
                .min()?,
        })
    }

    /// The actions a request made now would cover.
    pub(super) fn due_actions<'a>(&'a self, turn: &Turn<'_>) -> impl Iterator<Item = &'a Tracked> {
        let (now, policy) = (turn.now, turn.policy);
        let rebooting = self.is_rebooting();
        self.actions
            .iter()
            .filter(move |tracked| rebooting || self.eligible_at(tracked, policy) <= now)
    }

    /// When the action itself is due, pauses aside.
    fn eligible_at(&self, tracked: &Tracked, policy: &Policy) -> Timestamp {
        let earliest = tracked.action.version.earliest;
        match (tracked.action.progress, policy.authority) {
            (Progress::Queued, _) | (Progress::PickedUp(_), Authority::Dispatcher) => earliest,
            (Progress::PickedUp(since), Authority::Satellite) => {
                if self.wait.is_some_and(|wait| wait.reason == WaitReason::LeftBehind) {
                    return earliest;
                }
                self.last_change.map_or(since, |change| change.max(since)) + policy.shortened(policy::STUCK_AFTER)
            }
        }
    }

    fn due_at(&self, tracked: &Tracked, policy: &Policy) -> Timestamp {
        let eligible = self.eligible_at(tracked, policy);
        // The pick-up gave the row a new version, but there is nothing new to do.
        let picked_up = policy.authority == Authority::Satellite && tracked.action.progress != Progress::Queued;
        if self.hearing == Hearing::Unresponsive || picked_up || !tracked.is_uncovered() {
            let paused = self.wait.map_or(eligible, |wait| wait.until.max(eligible));
            return self.works_until(policy).map_or(paused, |end| end.max(paused));
        }
        eligible
    }

    /// An existing agent that picked an action up is left alone while it may still be at it.
    fn works_until(&self, policy: &Policy) -> Option<Timestamp> {
        if self.kind == AgentKind::New || policy.authority == Authority::Dispatcher {
            return None;
        }
        let picked_up = self.actions.iter().filter_map(|tracked| match tracked.action.progress {
            Progress::PickedUp(since) => Some(since),
            Progress::Queued => None,
        });
        let last = picked_up.max()?;
        let ended_since = self.last_change.is_some_and(|change| change > last);
        (!ended_since).then_some(last + policy.shortened(policy::STUCK_AFTER))
    }

    /// One request for a session that had none, then one 30 min after the pick-up and on with doubling pauses: only a check
    /// can end a reboot.
    fn due_in_reboot(&self, since: Timestamp, policy: &Policy) -> Timestamp {
        if !self.asked {
            return since;
        }
        let first = since + policy.shortened(policy::STUCK_AFTER);
        match self.wait {
            Some(wait) if wait.reason == WaitReason::Rebooting => wait.until.max(first),
            Some(_) | None => first,
        }
    }

    fn reboot_picked_up(&self) -> Option<Timestamp> {
        self.actions
            .iter()
            .find_map(|tracked| match (tracked.action.kind, tracked.action.progress) {
                (ActionKind::Reboot, Progress::PickedUp(since)) => Some(since),
                (ActionKind::Reboot | ActionKind::Ordinary, _) => None,
            })
    }

    pub(super) fn is_rebooting(&self) -> bool {
        self.reboot_picked_up().is_some()
    }

    /// When something happens by the passing of time alone: a lease or a ping ends.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let lease = match self.outstanding {
            Outstanding::Claimed(_, until) | Outstanding::Sent(_, until) => Some(until),
            Outstanding::None | Outstanding::Claiming(_) => None,
        };
        match self.hearing {
            Hearing::Pinged(until) => Some(lease.map_or(until, |lease| lease.min(until))),
            Hearing::Responsive(_) | Hearing::Unresponsive => lease,
        }
    }

    /// Until when the system holds one of the slots that `notify_threshold` counts; `None` if it holds none.
    pub(crate) fn slot_until(&self, now: Timestamp, policy: &Policy) -> Option<Timestamp> {
        if self.is_rebooting() {
            return None;
        }
        let claimed = match self.outstanding {
            Outstanding::None => None,
            Outstanding::Claiming(_) => Some(now + policy.slot_age),
            Outstanding::Claimed(_, until) | Outstanding::Sent(_, until) => Some(until),
        };
        let awaited = self.open.iter().map(|request| request.since + policy.slot_age);
        let answered = self
            .last_answer
            .filter(|_| self.kind == AgentKind::Existing)
            .map(|at| at + policy.shortened(policy::EXISTING_SLOT));
        let picked_up = self
            .actions
            .iter()
            .filter_map(|tracked| match (tracked.action.progress, policy.authority) {
                (Progress::PickedUp(since), Authority::Satellite) => Some(since + policy.slot_age),
                (Progress::PickedUp(_), Authority::Dispatcher) | (Progress::Queued, _) => None,
            });
        let until = claimed
            .into_iter()
            .chain(awaited)
            .chain(answered)
            .chain(picked_up)
            .max()?;
        (until > now).then_some(until)
    }
}
