//! What comes in between a decision and its claim, or a claim and its delivery.

use std::time::Duration;

use osa::domain::ids::{ActionId, ConnectionId, RequestNumber, RunId, SystemId};
use osa::domain::push::action::{ActionKind, ActionVersion, PendingAction, Progress, SystemWork};
use osa::domain::push::agenda::{Agenda, Arrival, Operation, Outcome, Task};
use osa::domain::push::client::{AgentKind, Announcement, RunStart};
use osa::domain::push::policy::Policy;
use osa::domain::push::request::{ClaimOutcome, OpenRequest, PushRecord, RequestState};
use osa::domain::time::Timestamp;

use crate::store::registration;
use crate::world::START;

const WAITING: SystemId = SystemId(1);
const RETURNING: SystemId = SystemId(2);
const DUE: Timestamp = Timestamp::from_secs(1_800_000_060);

fn arrival(system: SystemId, running: Option<RunStart>) -> Arrival {
    let announcement = Announcement {
        running,
        ..Announcement::default()
    };
    Arrival {
        system,
        connection: ConnectionId(7),
        kind: AgentKind::New,
        announcement: Some(announcement),
    }
}

fn work(system: SystemId, due: Option<Timestamp>) -> SystemWork {
    let actions = due.map(|earliest| PendingAction {
        id: ActionId(1),
        version: ActionVersion { row: 1, earliest },
        progress: Progress::Queued,
        kind: ActionKind::Ordinary,
    });
    SystemWork {
        system,
        actions: actions.into_iter().collect(),
        last_change: None,
    }
}

/// Answers operations until one of another kind than recording is wanted.
fn next(agenda: &mut Agenda, now: Timestamp) -> Option<Operation> {
    while let Some(task) = agenda.poll_task(now) {
        match task {
            Task::Perform(Operation::Record(_)) => agenda.performed(Outcome::Recorded, now),
            Task::Perform(operation) => return Some(operation),
            Task::Deliver { .. } | Task::Ping { .. } | Task::Acknowledge { .. } => {}
        }
    }
    None
}

#[test]
fn client_that_returns_with_its_check_running_takes_the_slot_of_a_claim_that_has_not_begun() {
    let mut agenda = Agenda::new(Policy {
        notify_threshold: Some(1),
        ..Policy::default()
    });
    agenda.session_opened(arrival(WAITING, None), START);
    assert_eq!(next(&mut agenda, START), Some(Operation::Open(vec![WAITING])));
    let found = vec![(PushRecord::default(), work(WAITING, Some(DUE)))];
    agenda.performed(Outcome::Opened(found), START);
    assert_eq!(next(&mut agenda, START), None);

    let run = RunStart {
        run: RunId([1; 16]),
        covers: RequestNumber(1),
    };
    agenda.session_opened(arrival(RETURNING, Some(run)), START);
    assert_eq!(next(&mut agenda, START), Some(Operation::Open(vec![RETURNING])));
    assert_eq!(next(&mut agenda, DUE), None, "the claim waits for the opening");
    let record = PushRecord {
        last_number: RequestNumber(1),
        open: vec![OpenRequest {
            number: RequestNumber(1),
            state: RequestState::Answered,
            since: START,
            covers: vec![],
        }],
        ..PushRecord::default()
    };
    agenda.performed(Outcome::Opened(vec![(record, work(RETURNING, None))]), DUE);

    let later = DUE + Duration::from_secs(10);
    assert!(!matches!(next(&mut agenda, later), Some(Operation::Claim(..))));
}

#[test]
fn session_that_says_again_that_it_is_here_is_not_read_again() {
    let mut agenda = Agenda::new(Policy::default());
    let again = Arrival {
        announcement: None,
        ..arrival(WAITING, None)
    };
    agenda.session_opened(arrival(WAITING, None), START);
    agenda.session_opened(again.clone(), START);
    assert_eq!(next(&mut agenda, START), Some(Operation::Open(vec![WAITING])));
    let found = vec![(PushRecord::default(), work(WAITING, Some(START)))];
    agenda.performed(Outcome::Opened(found), START);
    let Some(Operation::Claim(..)) = next(&mut agenda, START) else {
        panic!("it is due")
    };

    agenda.session_opened(again, START);

    agenda.performed(
        Outcome::Claimed(vec![ClaimOutcome::Granted(registration(WAITING, 1))]),
        START,
    );
    assert_eq!(next(&mut agenda, START), None, "the request is on its way");
}
