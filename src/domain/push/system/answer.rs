//! What a client's words, and its silence, change.

use std::time::Duration;

use super::{Hearing, Outstanding, SystemPush, Turn};
use crate::domain::ids::RequestNumber;
use crate::domain::push::action::{CoveredAction, Progress};
use crate::domain::push::client::{AgentKind, ClientEvent, Refusal, RunReport, RunStart};
use crate::domain::push::planner::Effect;
use crate::domain::push::policy::{self, Authority};
use crate::domain::push::request::{LossReason, OpenRequest, RequestState, Step, WaitReason};

impl SystemPush {
    /// Takes in one validly signed word of the client.
    pub(crate) fn hear(&mut self, event: ClientEvent, turn: &mut Turn<'_>) {
        self.heard(turn);
        match event {
            ClientEvent::Accepted(number) => self.accepted(number, turn),
            ClientEvent::Refused(number, refusal) => self.refused(number, refusal, turn),
            ClientEvent::Started(run) => self.started(run, turn),
            ClientEvent::Finished(report) => self.finished(report, turn),
            ClientEvent::Ponged => {}
        }
    }

    /// Any valid signed stanza ends unresponsiveness, and the pause that came with it.
    fn heard(&mut self, turn: &mut Turn<'_>) {
        self.note(Step::Heard, turn);
        self.steps.reset(WaitReason::Unanswered);
        let was = std::mem::replace(&mut self.hearing, Hearing::Responsive(0));
        if was == Hearing::Unresponsive {
            self.note(Step::Online(true), turn);
        }
        let waited_for_a_sign = self
            .wait
            .is_some_and(|wait| matches!(wait.reason, WaitReason::Unanswered | WaitReason::Unresponsive));
        if waited_for_a_sign {
            self.set_wait(None, turn);
        }
    }

    fn accepted(&mut self, number: RequestNumber, turn: &mut Turn<'_>) {
        if !self.end_outstanding(number) {
            return;
        }
        self.last_answer = Some(turn.now);
        self.steps.reset(WaitReason::Refused(Refusal::Disabled));
        match self.kind {
            AgentKind::New => {
                self.note(Step::Answered(number), turn);
                let state = RequestState::Answered;
                self.open.push(OpenRequest {
                    number,
                    state,
                    since: turn.now,
                    covers: Vec::new(),
                });
            }
            AgentKind::Existing => self.received(number, turn),
        }
        self.pause_after_answer(number, turn);
    }

    /// An existing agent may have forgotten the request as soon as it answered; standalone, two answers far enough
    /// apart must do for a result.
    fn received(&mut self, number: RequestNumber, turn: &mut Turn<'_>) {
        self.note(Step::Received(number), turn);
        if turn.policy.authority == Authority::Satellite {
            return;
        }
        let gap = turn.policy.shortened(policy::DELIVERED_GAP);
        let mut delivered: Vec<CoveredAction> = Vec::new();
        for tracked in self.actions.iter_mut().filter(|tracked| tracked.request == number) {
            let first = *tracked.answered.get_or_insert(turn.now);
            if turn.now.saturating_since(first) >= gap {
                delivered.push(tracked.covered());
            }
        }
        if !delivered.is_empty() {
            self.note(Step::Delivered(number, delivered), turn);
            self.distrust(turn);
        }
    }

    fn pause_after_answer(&mut self, number: RequestNumber, turn: &mut Turn<'_>) {
        let mut covered = self
            .actions
            .iter()
            .filter(|tracked| tracked.request == number)
            .peekable();
        let only_picked_up = covered.peek().is_some()
            && turn.policy.authority == Authority::Satellite
            && covered.all(|tracked| matches!(tracked.action.progress, Progress::PickedUp(_)));
        let reason = match self.kind {
            AgentKind::New | AgentKind::Existing if self.is_rebooting() => WaitReason::Rebooting,
            AgentKind::New | AgentKind::Existing if only_picked_up => WaitReason::Stuck,
            AgentKind::New => WaitReason::CheckRunning,
            AgentKind::Existing => WaitReason::StillQueued,
        };
        let second_answer_counts = reason == WaitReason::StillQueued && turn.policy.authority == Authority::Dispatcher;
        let least = if second_answer_counts {
            turn.policy.shortened(policy::DELIVERED_GAP)
        } else {
            Duration::ZERO
        };
        self.pause_for(reason, turn, |pause| pause.max(least));
    }

    fn refused(&mut self, number: RequestNumber, refusal: Refusal, turn: &mut Turn<'_>) {
        if !self.end_outstanding(number) {
            return;
        }
        self.note(Step::Refused(number, refusal), turn);
        self.pause(WaitReason::Refused(refusal), turn);
    }

    /// Ends the request on its way if it has this number; a late answer to one taken for lost is only a sign of life.
    fn end_outstanding(&mut self, number: RequestNumber) -> bool {
        let matches = matches!(
            self.outstanding,
            Outstanding::Claimed(current, _) | Outstanding::Sent(current, _) if current == number
        );
        if matches {
            self.outstanding = Outstanding::None;
        }
        matches
    }

    fn started(&mut self, run: RunStart, turn: &mut Turn<'_>) {
        let mut begun = false;
        for request in self.open.iter_mut().filter(|request| request.number <= run.covers) {
            begun |= request.state == RequestState::Answered;
            request.state = RequestState::Started(run);
        }
        if begun {
            self.note(Step::Started(run), turn);
        }
    }

    /// A run ended. It is recorded in any case: the store tells a repeated report by its run id.
    fn finished(&mut self, report: RunReport, turn: &mut Turn<'_>) {
        self.note(Step::Finished(report), turn);
        if matches!(self.outstanding, Outstanding::Sent(number, _) if number <= report.covers) {
            // Its answer is overtaken: nothing is awaited of it any more.
            self.outstanding = Outstanding::None;
        }
        self.open.retain(|request| request.number > report.covers);
        self.steps.reset(WaitReason::CheckRunning);
        self.distrust(turn);
        if !self.open.is_empty() {
            return;
        }
        if report.end.is_success() {
            self.steps.reset(WaitReason::CheckFailed);
            self.pause(WaitReason::LeftBehind, turn);
        } else {
            self.steps.reset(WaitReason::LeftBehind);
            self.pause(WaitReason::CheckFailed, turn);
        }
    }

    /// Lets time pass: ends leases and pings that are over.
    pub(crate) fn pass(&mut self, turn: &mut Turn<'_>) {
        match self.outstanding {
            Outstanding::Claimed(number, until) if until <= turn.now => self.not_sent(number, turn),
            Outstanding::Sent(number, until) if until <= turn.now => self.unanswered(number, turn),
            Outstanding::None | Outstanding::Claiming(_) | Outstanding::Claimed(..) | Outstanding::Sent(..) => {}
        }
        if let Hearing::Pinged(until) = self.hearing
            && until <= turn.now
        {
            self.hearing = Hearing::Unresponsive;
            self.note(Step::Online(false), turn);
            self.pause(WaitReason::Unresponsive, turn);
        }
    }

    /// Three in a row are followed by a ping; silence after that makes the client unresponsive.
    fn unanswered(&mut self, number: RequestNumber, turn: &mut Turn<'_>) {
        self.outstanding = Outstanding::None;
        self.note(Step::Lost(number, LossReason::Unanswered), turn);
        match self.hearing {
            Hearing::Responsive(before) if before + 1 < policy::UNANSWERED_MAX => {
                self.hearing = Hearing::Responsive(before + 1);
                self.pause_unanswered(turn);
            }
            Hearing::Responsive(_) => {
                self.hearing = Hearing::Pinged(turn.now + turn.policy.shortened(policy::PING_TIMEOUT));
                turn.effects.push(Effect::Ping {
                    system: self.id,
                    connection: self.connection,
                });
            }
            Hearing::Pinged(_) => {}
            Hearing::Unresponsive => self.pause(WaitReason::Unresponsive, turn),
        }
    }

    /// New agents are asked again at once, the lease being pause enough; for existing ones the pause doubles.
    fn pause_unanswered(&mut self, turn: &mut Turn<'_>) {
        let lease = turn.policy.lease;
        let kind = self.kind;
        self.pause_for(WaitReason::Unanswered, turn, |pause| match kind {
            AgentKind::New => Duration::ZERO,
            AgentKind::Existing => pause.saturating_sub(lease),
        });
    }
}
