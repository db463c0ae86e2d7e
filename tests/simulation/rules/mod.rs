//! The life cycle of one system, driven through the planner: what the rules say, case by case.

mod bench;

use osa::domain::ids::{ActionId, ConnectionId, RequestNumber, RunId};
use osa::domain::push::action::{ActionKind, Progress};
use osa::domain::push::client::{AgentKind, Announcement, ClientEvent, Refusal, RunEnd, RunStart};
use osa::domain::push::policy::Authority;
use osa::domain::push::request::{Claim, LossReason, OpenRequest, PushRecord, RequestState, Step, WaitReason};
use osa::domain::push::system::Opening;

use bench::{Bench, CONNECTION, START, SYSTEM, queued, report, secs, work};

#[test]
fn queued_action_is_requested_at_once() {
    let bench = Bench::new(AgentKind::New, Authority::Dispatcher, &[queued(1)]);

    assert_eq!(bench.sent(), 1);
    assert_eq!(bench.requests[0].number, RequestNumber(1));
    assert_eq!(bench.requests[0].covers[0].action, ActionId(1));
}

#[test]
fn future_action_waits_for_its_time() {
    let mut later = queued(1);
    later.version.earliest = START + secs(3600);
    let mut bench = Bench::new(AgentKind::New, Authority::Dispatcher, &[later]);

    assert_eq!(bench.after(secs(3599)).sent(), 0);
    assert_eq!(bench.after(secs(1)).sent(), 1);
}

#[test]
fn second_request_waits_for_the_first_to_be_answered() {
    let mut bench = Bench::new(AgentKind::New, Authority::Dispatcher, &[queued(1)]);

    assert_eq!(bench.observe(&[queued(1), queued(2)]).sent(), 1);
    assert_eq!(bench.accept().sent(), 2);
    let covered: Vec<_> = bench.requests[1]
        .covers
        .iter()
        .map(|covered| covered.action.0)
        .collect();
    assert_eq!(covered, [1, 2]);
}

#[test]
fn new_version_of_an_answered_action_is_requested_again() {
    let mut bench = Bench::new(AgentKind::New, Authority::Dispatcher, &[queued(1)]);
    let mut rescheduled = queued(1);
    rescheduled.version.row = 99;

    assert_eq!(bench.accept().sent(), 1);
    assert_eq!(bench.observe(&[rescheduled]).sent(), 2);
}

#[test]
fn answered_request_of_a_new_agent_waits_half_an_hour_for_its_report() {
    let mut bench = Bench::new(AgentKind::New, Authority::Dispatcher, &[queued(1)]);
    bench.accept();

    assert_eq!(bench.after(secs(30 * 60 - 1)).sent(), 1);
    assert_eq!(bench.after(secs(1)).sent(), 2);
    bench.accept();
    assert_eq!(bench.after(secs(60 * 60 - 1)).sent(), 2);
    assert_eq!(bench.after(secs(1)).sent(), 3);
}

#[test]
fn failed_check_is_repeated_after_a_minute_doubling() {
    let mut bench = Bench::new(AgentKind::New, Authority::Dispatcher, &[queued(1)]);
    for pause in [60, 120, 240, 480, 900, 900] {
        let number = bench.requests.last().expect("a request was made").number;
        bench
            .accept()
            .hear(ClientEvent::Finished(report(number.0, RunEnd::Exited(1))))
            .observe(&[queued(1)]);
        let before = bench.sent();

        assert_eq!(bench.after(secs(pause - 1)).sent(), before, "{pause} s");
        assert_eq!(bench.after(secs(1)).sent(), before + 1, "{pause} s");
    }
}

#[test]
fn finished_report_rereads_before_anything_is_asked_again() {
    let mut bench = Bench::new(AgentKind::New, Authority::Satellite, &[queued(1)]);
    bench.accept().hear(ClientEvent::Finished(report(1, RunEnd::Exited(0))));

    assert_eq!(bench.rereads, 1);
    assert_eq!(bench.after(secs(3600)).sent(), 1);
    assert_eq!(bench.observe(&[queued(1)]).sent(), 2);
}

#[test]
fn answer_that_its_report_overtook_awaits_no_report() {
    let mut bench = Bench::new(AgentKind::New, Authority::Satellite, &[queued(1)]);
    bench.hear(ClientEvent::Finished(report(1, RunEnd::Exited(0)))).accept();

    assert!(!bench.steps.contains(&Step::Answered(RequestNumber(1))));
    assert_eq!(bench.after(secs(60)).observe(&[queued(1)]).sent(), 2);
}

#[test]
fn refused_request_is_repeated_after_a_minute() {
    let mut bench = Bench::new(AgentKind::New, Authority::Dispatcher, &[queued(1)]);
    bench.hear(ClientEvent::Refused(RequestNumber(1), Refusal::Disabled));

    assert_eq!(bench.after(secs(59)).sent(), 1);
    assert_eq!(bench.after(secs(1)).sent(), 2);
    assert!(
        bench
            .steps
            .contains(&Step::Refused(RequestNumber(1), Refusal::Disabled))
    );
}

#[test]
fn silent_new_agent_is_asked_three_times_then_pinged_then_each_quarter_of_an_hour() {
    let mut bench = Bench::new(AgentKind::New, Authority::Dispatcher, &[queued(1)]);

    assert_eq!(bench.after(secs(60)).sent(), 2);
    assert_eq!(bench.after(secs(60)).sent(), 3);
    assert_eq!((bench.after(secs(60)).sent(), bench.pings), (3, 1));
    bench.after(secs(60));
    assert_eq!(
        bench.steps.iter().filter(|step| **step == Step::Online(false)).count(),
        1
    );
    assert_eq!(bench.after(secs(15 * 60 - 1)).sent(), 3);
    assert_eq!(bench.after(secs(1)).sent(), 4);
    bench.hear(ClientEvent::Ponged);
    assert_eq!(
        bench.steps.iter().filter(|step| **step == Step::Online(true)).count(),
        2
    );
}

#[test]
fn silent_existing_agent_is_asked_with_doubling_pauses() {
    let mut bench = Bench::new(AgentKind::Existing, Authority::Satellite, &[queued(1)]);

    assert_eq!(bench.after(secs(60)).sent(), 2);
    assert_eq!(bench.after(secs(119)).sent(), 2);
    assert_eq!(bench.after(secs(1)).sent(), 3);
    assert_eq!((bench.after(secs(60)).sent(), bench.pings), (3, 1));
}

#[test]
fn existing_agent_is_asked_again_while_its_action_stays_queued() {
    let mut bench = Bench::new(AgentKind::Existing, Authority::Satellite, &[queued(1)]);
    for pause in [15, 30, 60, 120, 240, 480, 900, 900] {
        bench.accept();
        let before = bench.sent();

        assert_eq!(bench.after(secs(pause - 1)).sent(), before, "{pause} s");
        assert_eq!(bench.after(secs(1)).sent(), before + 1, "{pause} s");
    }
}

#[test]
fn existing_agent_in_standalone_has_its_action_delivered_by_two_answers_a_minute_apart() {
    let mut bench = Bench::new(AgentKind::Existing, Authority::Dispatcher, &[queued(1)]);
    bench.accept();
    assert_eq!(bench.after(secs(59)).sent(), 1);
    bench.after(secs(1)).accept();

    assert!(
        bench
            .steps
            .iter()
            .any(|step| matches!(step, Step::Delivered(RequestNumber(2), covers) if covers.len() == 1))
    );
    assert_eq!(bench.observe(&[]).after(secs(86_400)).sent(), 2);
}

#[test]
fn picked_up_reboot_is_left_alone_but_for_one_request_and_one_each_half_hour() {
    let mut reboot = queued(1);
    (reboot.kind, reboot.progress) = (ActionKind::Reboot, Progress::PickedUp(START));
    let mut bench = Bench::new(AgentKind::New, Authority::Satellite, &[reboot, queued(2)]);
    assert_eq!(bench.sent(), 1);
    bench
        .accept()
        .hear(ClientEvent::Finished(report(1, RunEnd::Exited(0))))
        .observe(&[reboot, queued(2), queued(3)]);

    assert_eq!(bench.after(secs(30 * 60 - 1)).sent(), 1);
    assert_eq!(bench.after(secs(1)).sent(), 2);
}

/// The reboot happened, or was cancelled: what was queued beside it does not wait for half an hour.
#[test]
fn queued_action_is_asked_for_soon_after_the_end_of_a_reboot() {
    let mut reboot = queued(1);
    (reboot.kind, reboot.progress) = (ActionKind::Reboot, Progress::PickedUp(START));
    let mut bench = Bench::new(AgentKind::Existing, Authority::Satellite, &[reboot, queued(2)]);
    assert_eq!(bench.accept().after(secs(60)).sent(), 1);

    bench.observe(&[queued(2)]);

    assert_eq!(bench.after(secs(14)).sent(), 1);
    assert_eq!(bench.after(secs(1)).sent(), 2);
}

fn open(number: i64, state: RequestState) -> OpenRequest {
    OpenRequest {
        number: RequestNumber(number),
        state,
        since: START,
        covers: vec![],
    }
}

#[test]
fn reconnect_loses_answered_requests_that_the_agent_does_not_announce() {
    let run = RunStart {
        run: RunId([2; 16]),
        covers: RequestNumber(1),
    };
    let record = PushRecord {
        last_number: RequestNumber(3),
        open: vec![
            open(1, RequestState::Answered),
            open(2, RequestState::Answered),
            open(3, RequestState::Sent),
        ],
        ..PushRecord::default()
    };
    let announcement = Announcement {
        running: Some(run),
        ..Announcement::default()
    };
    let bench = Bench::opened(
        AgentKind::New,
        Authority::Dispatcher,
        &[queued(1)],
        record,
        announcement,
    );

    assert!(bench.steps.contains(&Step::Started(run)));
    assert!(
        bench
            .steps
            .contains(&Step::Lost(RequestNumber(2), LossReason::Forgotten))
    );
    assert!(
        bench
            .steps
            .contains(&Step::Lost(RequestNumber(3), LossReason::Reconnected))
    );
    assert_eq!(bench.requests[0].number, RequestNumber(4));
}

#[test]
fn poller_restart_keeps_the_request_that_is_on_its_way() {
    let sent = OpenRequest {
        number: RequestNumber(5),
        state: RequestState::Sent,
        since: START,
        covers: vec![],
    };
    let record = PushRecord {
        last_number: RequestNumber(5),
        open: vec![sent],
        ..PushRecord::default()
    };
    let mut bench = Bench::new(AgentKind::New, Authority::Dispatcher, &[]);
    let (kind, announcement) = (AgentKind::New, None);
    let opening = Opening {
        connection: CONNECTION,
        kind,
        announcement,
        record,
        work: work(&[queued(1)]),
    };
    bench.planner.open(SYSTEM, opening, bench.now);
    bench.settle();

    assert_eq!(bench.sent(), 0);
    assert_eq!(bench.after(secs(60)).sent(), 1);
}

#[test]
fn new_agent_whose_announcement_does_not_count_yet_loses_nothing() {
    let record = PushRecord {
        last_number: RequestNumber(2),
        open: vec![open(1, RequestState::Answered), open(2, RequestState::Sent)],
        ..PushRecord::default()
    };
    let opening = Opening {
        connection: CONNECTION,
        kind: AgentKind::New,
        announcement: None,
        record,
        work: work(&[queued(1)]),
    };
    let mut bench = Bench::new(AgentKind::New, Authority::Dispatcher, &[]);

    bench.planner.open(SYSTEM, opening, bench.now);
    bench.settle();

    let is_lost = |step: &Step| matches!(step, Step::Lost(..));
    assert!(!bench.steps.iter().any(is_lost), "{:?}", bench.steps);
}

/// A dispatcher that comes to a site's server hears what the agent said before, and asks; the agent sees it come, and says
/// the same again.
#[test]
fn announcement_on_the_same_connection_loses_no_request_that_was_made_on_it() {
    // The store may not know yet that it was sent.
    for state in [RequestState::Claimed, RequestState::Sent, RequestState::Answered] {
        let mut bench = Bench::new(AgentKind::New, Authority::Dispatcher, &[queued(1)]);
        let Claim { number, covers, .. } = bench.requests[0].clone();
        let request = OpenRequest {
            covers,
            ..open(number.0, state)
        };
        let record = PushRecord {
            last_number: number,
            open: vec![request],
            ..PushRecord::default()
        };

        bench.open_again(CONNECTION, record);

        let is_lost = |step: &Step| matches!(step, Step::Lost(..));
        assert!(!bench.steps.iter().any(is_lost), "{:?}", bench.steps);
        assert_eq!(bench.sent(), 1);
    }
}

#[test]
fn announcement_on_another_connection_loses_the_request_that_is_on_its_way() {
    let mut bench = Bench::new(AgentKind::New, Authority::Dispatcher, &[queued(1)]);
    let number = bench.requests[0].number;
    let record = PushRecord {
        last_number: number,
        open: vec![open(number.0, RequestState::Sent)],
        ..PushRecord::default()
    };

    bench.open_again(ConnectionId(8), record);

    assert!(bench.steps.contains(&Step::Lost(number, LossReason::Reconnected)));
    assert_eq!(bench.sent(), 2);
}

#[test]
fn late_close_of_an_old_connection_changes_nothing() {
    let mut bench = Bench::new(AgentKind::New, Authority::Dispatcher, &[]);
    bench.planner.close(SYSTEM, ConnectionId(6), bench.now);
    bench.settle();

    assert_eq!(bench.planner.connection(SYSTEM), Some(CONNECTION));
    assert!(!bench.steps.contains(&Step::Online(false)));
}

#[test]
fn pause_names_its_reason() {
    let mut bench = Bench::new(AgentKind::New, Authority::Dispatcher, &[queued(1)]);
    bench.accept();

    let wait = bench.planner.snapshot(SYSTEM).and_then(|snapshot| snapshot.wait);
    assert_eq!(wait.map(|wait| wait.reason), Some(WaitReason::CheckRunning));
}
