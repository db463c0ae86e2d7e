//! What comes in between a decision and its claim, or a claim and its delivery.

use std::time::Duration;

use osa::domain::ids::{ActionId, ConnectionId, RequestNumber, RunId, SystemId};
use osa::domain::push::action::{ActionKind, ActionVersion, PendingAction, Progress, SystemWork};
use osa::domain::push::agenda::{Agenda, Arrival, Operation, Outcome, Task};
use osa::domain::push::client::{AgentKind, Announcement, ClientEvent, Refusal, RunStart};
use osa::domain::push::policy::{Authority, Policy};
use osa::domain::push::request::{ClaimOutcome, OpenRequest, PushRecord, RequestState};
use osa::domain::time::Timestamp;

use crate::store::registration;
use crate::world::START;

const WAITING: SystemId = SystemId(1);
const RETURNING: SystemId = SystemId(2);
/// When what happens at the start is recorded beside a Satellite.
const RECORDED: Timestamp = Timestamp::from_millis(1_800_000_000_050);
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

/// Beside a Satellite, two connected systems without work, everything recorded.
fn two_connected(notify_threshold: Option<usize>) -> Agenda {
    let mut agenda = Agenda::new(Policy {
        authority: Authority::Satellite,
        notify_threshold,
        ..Policy::default()
    });
    let systems = [WAITING, RETURNING];
    for system in systems {
        agenda.session_opened(arrival(system, None), START);
    }
    assert_eq!(next(&mut agenda, START), Some(Operation::Open(systems.to_vec())));
    let found = systems.map(|system| (PushRecord::default(), work(system, None)));
    agenda.performed(Outcome::Opened(found.to_vec()), START);
    assert_eq!(agenda.poll_task(START), None, "nobody waits for what is to be recorded");
    assert_eq!(agenda.next_deadline(), Some(RECORDED));
    assert_eq!(next(&mut agenda, RECORDED), None);
    agenda
}

/// Has this be found, which waits for nothing.
fn find(agenda: &mut Agenda, work: SystemWork) {
    agenda.look_at([work.system]);
    let read = Task::Perform(Operation::Read(vec![work.system]));
    assert_eq!(agenda.poll_task(RECORDED), Some(read));
    agenda.performed(Outcome::Read(vec![work]), RECORDED);
}

/// The systems of the next operation, whatever it is.
fn systems_of_next(agenda: &mut Agenda, now: Timestamp) -> (&'static str, Vec<SystemId>) {
    match agenda.poll_task(now) {
        Some(Task::Perform(Operation::Record(entries))) => {
            ("record", entries.into_iter().map(|entry| entry.system).collect())
        }
        Some(Task::Perform(Operation::Claim(claims, _))) => {
            ("claim", claims.into_iter().map(|claim| claim.system).collect())
        }
        other => panic!("{other:?}"),
    }
}

/// Claims for the first of two, and has the request sent.
fn send_to_first(agenda: &mut Agenda) {
    find(agenda, work(WAITING, Some(START)));
    assert_eq!(systems_of_next(agenda, RECORDED), ("claim", vec![WAITING]));
    let granted = ClaimOutcome::Granted(registration(WAITING, 1));
    agenda.performed(Outcome::Claimed(vec![granted]), RECORDED);
    assert_eq!(next(agenda, RECORDED), None);
    agenda.request_sent(WAITING, RequestNumber(1), RECORDED);
}

#[test]
fn claim_does_not_wait_for_what_is_to_be_recorded_of_others() {
    let mut agenda = two_connected(None);
    send_to_first(&mut agenda);

    find(&mut agenda, work(RETURNING, Some(START)));

    assert_eq!(systems_of_next(&mut agenda, RECORDED), ("claim", vec![RETURNING]));
    let granted = ClaimOutcome::Granted(registration(RETURNING, 1));
    agenda.performed(Outcome::Claimed(vec![granted]), RECORDED);
    assert_eq!(next(&mut agenda, RECORDED), None);
    let later = RECORDED + Duration::from_millis(50);
    assert_eq!(systems_of_next(&mut agenda, later), ("record", vec![WAITING]));
}

#[test]
fn claim_that_counts_slots_finds_everything_recorded() {
    let mut agenda = two_connected(Some(9));
    send_to_first(&mut agenda);

    find(&mut agenda, work(RETURNING, Some(START)));

    assert_eq!(systems_of_next(&mut agenda, RECORDED), ("record", vec![WAITING]));
    agenda.performed(Outcome::Recorded, RECORDED);
    assert_eq!(systems_of_next(&mut agenda, RECORDED), ("claim", vec![RETURNING]));
}

#[test]
fn claim_finds_what_is_to_be_recorded_of_its_own_system() {
    let mut agenda = two_connected(None);
    send_to_first(&mut agenda);
    agenda.client_reported(
        WAITING,
        ConnectionId(7),
        ClientEvent::Refused(RequestNumber(1), Refusal::Draining),
        RECORDED,
    );

    // Another version is due at once.
    let mut anew = work(WAITING, Some(START));
    anew.actions[0].version.row = 2;
    find(&mut agenda, anew);

    assert_eq!(systems_of_next(&mut agenda, RECORDED).0, "record");
    agenda.performed(Outcome::Recorded, RECORDED);
    assert_eq!(systems_of_next(&mut agenda, RECORDED), ("claim", vec![WAITING]));
}

#[test]
fn records_that_failed_are_made_before_what_waits_for_them() {
    let mut agenda = two_connected(Some(9));
    send_to_first(&mut agenda);
    find(&mut agenda, work(RETURNING, Some(START)));
    assert_eq!(systems_of_next(&mut agenda, RECORDED), ("record", vec![WAITING]));

    agenda.performed(Outcome::Failed, RECORDED);

    let again = RECORDED + Duration::from_secs(10);
    assert_eq!(agenda.poll_task(RECORDED), None);
    assert_eq!(systems_of_next(&mut agenda, again), ("record", vec![WAITING]));
    agenda.performed(Outcome::Recorded, again);
    assert_eq!(systems_of_next(&mut agenda, again), ("claim", vec![RETURNING]));
}

#[test]
fn opening_finds_the_last_words_of_the_connection_before() {
    let mut agenda = two_connected(None);
    let anew = Arrival {
        connection: ConnectionId(8),
        ..arrival(WAITING, None)
    };
    agenda.session_opened(anew, RECORDED);

    agenda.client_reported(WAITING, ConnectionId(7), ClientEvent::Ponged, RECORDED);

    assert_eq!(systems_of_next(&mut agenda, RECORDED), ("record", vec![WAITING]));
    agenda.performed(Outcome::Recorded, RECORDED);
    assert_eq!(next(&mut agenda, RECORDED), Some(Operation::Open(vec![WAITING])));
}
