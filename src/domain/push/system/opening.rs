//! How a system's life cycle goes on when its client becomes pushable.

use super::{Hearing, Outstanding, Steps, SystemPush, Turn};
use crate::domain::ids::{ConnectionId, RequestNumber, SystemId};
use crate::domain::push::action::SystemWork;
use crate::domain::push::client::{AgentKind, Announcement};
use crate::domain::push::request::{LossReason, OpenRequest, PushRecord, RequestState, Step, WaitReason};

/// A session as it opens: the client's initial presence has been received and verified.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The connection that made the system pushable.
    pub connection: ConnectionId,
    /// Which agent it is.
    pub kind: AgentKind,
    /// What a new agent announced; `None` if the session merely goes on under a new poller, or what it announced is old.
    pub announcement: Option<Announcement>,
    /// What the store has recorded, reports of the announcement applied.
    pub record: PushRecord,
    /// What is pending.
    pub work: SystemWork,
}

impl SystemPush {
    /// Takes over a system whose client just became pushable; voids the lease and the pause of earlier connections.
    /// `before` is what was known so far.
    pub(crate) fn open(system: SystemId, opening: Opening, before: Option<&Self>, turn: &mut Turn<'_>) -> Self {
        let before = before.filter(|before| before.connection == opening.connection);
        let number_before = before.map_or(opening.record.last_number, |before| before.number_before);
        let mut push = Self {
            id: system,
            connection: opening.connection,
            kind: opening.kind,
            last_number: opening.record.last_number,
            number_before,
            outstanding: before.map_or(Outstanding::None, |before| before.outstanding),
            open: Vec::new(),
            actions: Vec::new(),
            last_change: opening.work.last_change,
            wait: None,
            hearing: Hearing::Responsive(0),
            stale: false,
            asked: false,
            last_answer: None,
            held_until: None,
            steps: Steps::default(),
        };
        push.track(opening.work.actions);
        push.restore(opening.record, opening.announcement.as_ref(), turn);
        if opening.kind == AgentKind::New && opening.announcement.is_some() {
            push.note(Step::AgentAnnounced, turn);
        }
        push.note(Step::Online(true), turn);
        push
    }

    /// Settles what was open before: what a new agent announces goes on, the rest is lost. A request that was made on this
    /// very connection is not: the announcement was on its way as well, and speaks of the time before.
    fn restore(&mut self, record: PushRecord, announcement: Option<&Announcement>, turn: &mut Turn<'_>) {
        let on_its_way = std::mem::replace(&mut self.outstanding, Outstanding::None);
        let Some(announcement) = announcement else {
            return self.resume(record, on_its_way, turn);
        };
        let running = announcement.running;
        let started_up_to = running.map_or(RequestNumber::default(), |run| run.covers);
        let received_up_to = announcement.pending.unwrap_or_default().max(started_up_to);
        for mut request in record.open {
            let number = request.number;
            if number > received_up_to && number > self.number_before {
                self.take_up(request, on_its_way, turn);
                continue;
            }
            let was_answered = matches!(request.state, RequestState::Answered | RequestState::Started(_));
            if number > received_up_to {
                let reason = if was_answered {
                    LossReason::Forgotten
                } else {
                    LossReason::Reconnected
                };
                self.note(Step::Lost(number, reason), turn);
                continue;
            }
            if !was_answered {
                self.note(Step::Answered(number), turn);
            }
            match running {
                Some(run) if number <= started_up_to => {
                    self.note(Step::Started(run), turn);
                    request.state = RequestState::Started(run);
                }
                Some(_) | None => request.state = RequestState::Answered,
            }
            self.keep_open(request);
        }
        if !self.open.is_empty() {
            self.pause(WaitReason::CheckRunning, turn);
        }
    }

    /// Goes on after a new poller took over while the connection lived, or until a new agent announces itself anew.
    fn resume(&mut self, record: PushRecord, on_its_way: Outstanding, turn: &mut Turn<'_>) {
        self.wait = record.wait;
        for request in record.open {
            self.take_up(request, on_its_way, turn);
        }
        for covered in &record.covered {
            self.mark_covered(record.last_number, std::slice::from_ref(covered));
        }
    }

    /// Goes on with a request as it stands. What this connection was given last, the store may not have as sent yet.
    fn take_up(&mut self, request: OpenRequest, on_its_way: Outstanding, turn: &mut Turn<'_>) {
        match (request.state, on_its_way) {
            (RequestState::Claimed, Outstanding::Claimed(number, _) | Outstanding::Sent(number, _))
                if number == request.number =>
            {
                self.mark_covered(number, &request.covers);
                self.outstanding = on_its_way;
            }
            (RequestState::Claimed, _) => self.note(Step::Lost(request.number, LossReason::NotSent), turn),
            (RequestState::Sent, _) => {
                self.mark_covered(request.number, &request.covers);
                self.outstanding = Outstanding::Sent(request.number, request.since + turn.policy.lease);
            }
            (RequestState::Answered | RequestState::Started(_), _) => self.keep_open(request),
        }
    }

    fn keep_open(&mut self, request: OpenRequest) {
        self.mark_covered(request.number, &request.covers);
        self.open.push(OpenRequest {
            covers: Vec::new(),
            ..request
        });
    }
}
