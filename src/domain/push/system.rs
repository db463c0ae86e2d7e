//! The push life cycle of one connected system.
//!
//! ```text
//!             due                granted            written
//!   Idle ───────────► Claiming ─────────► Claimed ─────────► Sent ──answer──► Idle (waiting for the run's report)
//!    ▲                    │                  │                 │
//!    └──── refused ◄──────┴──── not sent ◄───┴─ lease ended ◄──┘
//! ```
//!
//! `due.rs` says when the next request is due, `answer.rs` what the client's words change. What the database knows is
//! held here only while the system is pushable; the truth is the store's.

mod answer;
mod due;
mod opening;
mod steps;

use std::time::Duration;

use crate::domain::ids::{ConnectionId, RequestNumber, SystemId};
use crate::domain::push::action::{CoveredAction, PendingAction, SystemWork};
use crate::domain::push::client::AgentKind;
use crate::domain::push::planner::Effect;
use crate::domain::push::policy::{self, Authority, Policy};
use crate::domain::push::request::{Claim, Entry, LossReason, OpenRequest, Step, Wait, WaitReason};
use crate::domain::time::Timestamp;

pub(super) use due::Due;
pub use opening::Opening;
use steps::Steps;

/// What every transition needs beside the system: the time, the numbers, and where effects go.
pub(super) struct Turn<'a> {
    pub(super) now: Timestamp,
    pub(super) policy: &'a Policy,
    pub(super) effects: &'a mut Vec<Effect>,
}

/// A pending action with what requests did for it.
#[derive(Clone, Copy, Debug)]
struct Tracked {
    action: PendingAction,
    /// The last request that covered it at this version; zero if none did.
    request: RequestNumber,
    /// When an answer first covered it at this version.
    answered: Option<Timestamp>,
}

impl Tracked {
    fn is_uncovered(&self) -> bool {
        self.request == RequestNumber::default()
    }

    fn covered(&self) -> CoveredAction {
        CoveredAction {
            action: self.action.id,
            version: self.action.version,
        }
    }
}

/// The one request that may be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outstanding {
    None,
    /// The store is asked to record it.
    Claiming(RequestNumber),
    /// Recorded and handed to the router.
    Claimed(RequestNumber, Timestamp),
    /// Written to the connection; answered before the given time, or lost.
    Sent(RequestNumber, Timestamp),
}

/// Whether the client still speaks to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hearing {
    /// So many requests in a row went unanswered.
    Responsive(u16),
    /// A ping was sent that must be answered before the given time.
    Pinged(Timestamp),
    /// One request each quarter of an hour.
    Unresponsive,
}

/// How a connected system stands, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Which agent it is.
    pub kind: AgentKind,
    /// The request on its way, if any.
    pub outstanding: Option<RequestNumber>,
    /// Answered requests whose report is awaited.
    pub awaited: usize,
    /// Pending actions, future ones included.
    pub pending: usize,
    /// When the next request is due, if one is.
    pub next: Option<Timestamp>,
    /// The pause in force.
    pub wait: Option<Wait>,
    /// Whether the client answers.
    pub responsive: bool,
    /// Whether a reboot is picked up.
    pub rebooting: bool,
}

/// The life cycle of one pushable system.
#[derive(Debug)]
pub(super) struct SystemPush {
    id: SystemId,
    pub(super) connection: ConnectionId,
    pub(super) kind: AgentKind,
    last_number: RequestNumber,
    /// The last number that was given before this connection.
    number_before: RequestNumber,
    outstanding: Outstanding,
    /// Answered requests of a new agent whose run has not ended, oldest first.
    open: Vec<OpenRequest>,
    actions: Vec<Tracked>,
    last_change: Option<Timestamp>,
    wait: Option<Wait>,
    hearing: Hearing,
    /// The pending work in memory is known to be out of date.
    stale: bool,
    /// This session was sent a request.
    asked: bool,
    last_answer: Option<Timestamp>,
    /// Until then nothing is asked, whatever is due: the last attempt failed on our side.
    held_until: Option<Timestamp>,
    /// How often in a row each reason to wait was used.
    steps: Steps,
}

impl SystemPush {
    fn mark_covered(&mut self, number: RequestNumber, covers: &[CoveredAction]) {
        for tracked in self
            .actions
            .iter_mut()
            .filter(|tracked| covers.contains(&tracked.covered()))
        {
            tracked.request = tracked.request.max(number);
        }
    }

    /// Takes in what is pending now. An action, or version, not seen before ends every pause.
    pub(super) fn observe(&mut self, work: SystemWork, turn: &mut Turn<'_>) {
        self.stale = false;
        let was_rebooting = self.is_rebooting();
        self.track(work.actions);
        if self.actions.is_empty() {
            self.steps = Steps::default();
            self.set_wait(None, turn);
        }
        // A reboot that is cancelled leaves no trace but its absence.
        let changed = work.last_change > self.last_change || (was_rebooting && !self.is_rebooting());
        self.last_change = work.last_change;
        if changed && turn.policy.authority == Authority::Satellite {
            self.resume_soon(turn);
        }
    }

    /// The Satellite moved an action of this system: what is left is asked for soon, unless a report will come.
    fn resume_soon(&mut self, turn: &mut Turn<'_>) {
        let awaits_report = !self.open.is_empty();
        let in_pause = self.wait.is_some_and(|wait| match wait.reason {
            WaitReason::StillQueued | WaitReason::LeftBehind | WaitReason::CheckFailed => true,
            WaitReason::Rebooting => !self.is_rebooting(),
            WaitReason::CheckRunning
            | WaitReason::Refused(_)
            | WaitReason::Unanswered
            | WaitReason::Unresponsive
            | WaitReason::Stuck => false,
        });
        if in_pause && !awaits_report {
            self.steps = Steps::default();
            self.pause(WaitReason::StillQueued, turn);
        }
    }

    fn track(&mut self, actions: Vec<PendingAction>) {
        let before = std::mem::take(&mut self.actions);
        self.actions = actions
            .into_iter()
            .map(|action| {
                let same = before
                    .iter()
                    .find(|old| old.action.id == action.id && old.action.version == action.version);
                Tracked {
                    action,
                    request: same.map(|old| old.request).unwrap_or_default(),
                    answered: same.and_then(|old| old.answered),
                }
            })
            .collect();
    }

    /// The work in memory no longer counts until it is read again.
    pub(super) fn distrust(&mut self, turn: &mut Turn<'_>) {
        self.stale = true;
        turn.effects.push(Effect::Reread(self.id));
    }

    /// Makes the next request; the caller has found that it is due.
    pub(super) fn claim(&mut self, turn: &mut Turn<'_>) -> Claim {
        let number = self.last_number.next();
        if self.due_actions(turn).any(Tracked::is_uncovered) {
            self.steps = Steps::default();
        }
        let covers = self.due_actions(turn).map(Tracked::covered).collect();
        self.outstanding = Outstanding::Claiming(number);
        Claim {
            system: self.id,
            number,
            covers,
        }
    }

    /// Whether the store was asked for this very request.
    pub(super) fn awaits(&self, number: RequestNumber) -> bool {
        self.outstanding == Outstanding::Claiming(number)
    }

    /// The store recorded the claim.
    pub(super) fn granted(&mut self, claim: &Claim, lease_until: Timestamp) {
        self.last_number = claim.number;
        self.mark_covered(claim.number, &claim.covers);
        self.outstanding = Outstanding::Claimed(claim.number, lease_until);
    }

    /// The store did not record the claim.
    pub(super) fn not_claimed(&mut self, turn: &mut Turn<'_>) {
        self.outstanding = Outstanding::None;
        self.held_until = Some(turn.now + policy::HICCUP);
    }

    /// The router or the session could not take the request: it never left, so nothing counts against the client.
    pub(super) fn not_sent(&mut self, number: RequestNumber, turn: &mut Turn<'_>) {
        if !matches!(self.outstanding, Outstanding::Claimed(claimed, _) if claimed == number) {
            return;
        }
        self.outstanding = Outstanding::None;
        self.note(Step::Lost(number, LossReason::NotSent), turn);
        for tracked in self.actions.iter_mut().filter(|tracked| tracked.request == number) {
            tracked.request = RequestNumber::default();
        }
        self.held_until = Some(turn.now + policy::HICCUP);
    }

    /// The request was written to the client's connection.
    pub(super) fn sent(&mut self, number: RequestNumber, turn: &mut Turn<'_>) {
        if let Outstanding::Claimed(claimed, lease_until) = self.outstanding
            && claimed == number
        {
            self.outstanding = Outstanding::Sent(number, lease_until);
            self.asked = true;
            self.note(Step::Sent(number), turn);
        }
    }

    /// The system's name, key or JID changed: its lease and its pause are void.
    pub(super) fn renewed(&mut self, turn: &mut Turn<'_>) {
        if let Outstanding::Claimed(number, _) | Outstanding::Sent(number, _) = self.outstanding {
            self.note(Step::Lost(number, LossReason::Reconnected), turn);
            self.outstanding = Outstanding::None;
        }
        self.hearing = Hearing::Responsive(0);
        self.steps = Steps::default();
        self.set_wait(None, turn);
    }

    /// How the system stands.
    pub(super) fn snapshot(&self, policy: &Policy) -> Snapshot {
        Snapshot {
            kind: self.kind,
            outstanding: match self.outstanding {
                Outstanding::None => None,
                Outstanding::Claiming(number) | Outstanding::Claimed(number, _) | Outstanding::Sent(number, _) => {
                    Some(number)
                }
            },
            awaited: self.open.len(),
            pending: self.actions.len(),
            next: self.due(policy).map(|due| due.at),
            wait: self.wait,
            responsive: self.is_responsive(),
            rebooting: self.is_rebooting(),
        }
    }

    /// Whether the client answers.
    pub(super) fn is_responsive(&self) -> bool {
        self.hearing != Hearing::Unresponsive
    }

    /// The connection is gone.
    pub(super) fn close(self, turn: &mut Turn<'_>) {
        self.note(Step::Online(false), turn);
    }

    fn note(&self, step: Step, turn: &mut Turn<'_>) {
        turn.effects.push(Effect::Record(Entry {
            system: self.id,
            at: turn.now,
            step,
        }));
    }

    /// Starts the pause for a reason, doubled for each one in a row.
    fn pause(&mut self, reason: WaitReason, turn: &mut Turn<'_>) {
        self.pause_for(reason, turn, |pause| pause);
    }

    fn pause_for(&mut self, reason: WaitReason, turn: &mut Turn<'_>, adjust: impl FnOnce(Duration) -> Duration) {
        let step = self.steps.advance(reason);
        let pause = policy::backoff(reason).after(u32::from(step) + 1);
        let until = turn.now + adjust(turn.policy.shortened(pause));
        self.set_wait(Some(Wait { until, reason, step }), turn);
    }

    fn set_wait(&mut self, wait: Option<Wait>, turn: &mut Turn<'_>) {
        if self.wait != wait {
            self.wait = wait;
            self.note(Step::Waiting(wait), turn);
        }
    }
}
