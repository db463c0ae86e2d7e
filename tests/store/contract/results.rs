//! What answers and reports do to actions, where the dispatcher owns them.

use osa::domain::push::action::Progress;
use osa::domain::push::client::RunEnd;
use osa::domain::push::request::{LossReason, Step};
use osa::ports::inventory::ActionStatus;
use osa::ports::store::Store;

use super::{
    answered, at, behind, due, granted, number, pending, push_record, record, registered, report, row, scheduled,
};

pub async fn answer_picks_queued_actions_up(store: &dyn Store) {
    let system = registered(store, "a").await;
    let action = scheduled(store, &[system], "one").await;
    let version = pending(store, system).await.remove(0).version;
    granted(store, system, 1, 0).await;
    let late = scheduled(store, &[system], "after the claim").await;

    record(store, system, 4, [Step::Answered(number(1))]).await;

    let now = pending(store, system).await;
    assert_eq!(now.iter().map(|a| a.id).collect::<Vec<_>>(), [action, late]);
    assert_eq!(
        now.first().map(|a| (a.progress, a.version)),
        Some((Progress::PickedUp(at(4)), version))
    );
    assert_eq!(now.last().map(|a| a.progress), Some(Progress::Queued));
    assert_eq!(row(store, action, system).await.picked_up, Some(at(4)));
}

pub async fn existing_agents_receipt_leaves_actions_alone(store: &dyn Store) {
    let system = registered(store, "a").await;
    let action = scheduled(store, &[system], "one").await;
    granted(store, system, 1, 0).await;

    record(store, system, 4, [Step::Received(number(1))]).await;

    assert_eq!(row(store, action, system).await.status, ActionStatus::Queued);
}

pub async fn success_completes_what_was_covered(store: &dyn Store) {
    let system = registered(store, "a").await;
    let first = scheduled(store, &[system], "first").await;
    let second = scheduled(store, &[system], "second").await;
    answered(store, system, 1, 0).await;
    let late = scheduled(store, &[system], "after the claim").await;

    record(store, system, 5, [report(1, 1, RunEnd::Exited(0))]).await;

    for action in [first, second] {
        let row = row(store, action, system).await;
        assert_eq!((row.status, row.completed), (ActionStatus::Completed, Some(at(5))));
        assert_eq!(row.result.as_deref(), Some("check ended with status 0"));
    }
    assert_eq!(row(store, late, system).await.status, ActionStatus::Queued);
}

pub async fn report_counts_once(store: &dyn Store) {
    let system = registered(store, "a").await;
    let action = scheduled(store, &[system], "one").await;
    answered(store, system, 1, 0).await;
    record(store, system, 1, [report(1, 1, RunEnd::Exited(1))]).await;
    answered(store, system, 2, 2).await;

    record(
        store,
        system,
        3,
        [report(1, 2, RunEnd::Exited(1)), report(1, 2, RunEnd::Exited(0))],
    )
    .await;

    assert_eq!(row(store, action, system).await.remaining_tries, 4);
    assert_eq!(push_record(store, system).await.open.len(), 1);
}

pub async fn run_id_of_one_system_is_not_anothers(store: &dyn Store) {
    let a = registered(store, "a").await;
    let b = registered(store, "b").await;
    let action = scheduled(store, &[a, b], "one").await;
    answered(store, a, 1, 0).await;
    answered(store, b, 1, 0).await;
    record(store, a, 1, [report(1, 1, RunEnd::Exited(0))]).await;

    record(store, b, 1, [report(1, 1, RunEnd::Exited(0))]).await;

    assert_eq!(row(store, action, b).await.status, ActionStatus::Completed);
}

pub async fn failure_costs_one_try_and_the_last_fails(store: &dyn Store) {
    let system = registered(store, "a").await;
    let action = scheduled(store, &[system], "one").await;
    for (run, left) in [(1, 4), (2, 3), (3, 2), (4, 1)] {
        answered(store, system, i64::from(run), 0).await;
        record(store, system, 1, [report(run, i64::from(run), RunEnd::Exited(3))]).await;
        let row = row(store, action, system).await;
        assert_eq!((row.status, row.remaining_tries), (ActionStatus::PickedUp, left));
    }
    let version = pending(store, system).await.remove(0).version;
    assert_eq!(version.row, 1);
    answered(store, system, 5, 0).await;

    record(store, system, 9, [report(5, 5, RunEnd::Exited(3))]).await;

    let row = row(store, action, system).await;
    assert_eq!((row.status, row.remaining_tries), (ActionStatus::Failed, 0));
    assert_eq!(row.completed, Some(at(9)));
    assert_eq!(row.result.as_deref(), Some("check ended with status 3"));
}

pub async fn one_run_costs_one_try_however_many_requests(store: &dyn Store) {
    let system = registered(store, "a").await;
    let action = scheduled(store, &[system], "one").await;
    answered(store, system, 1, 0).await;
    answered(store, system, 2, 0).await;

    record(store, system, 1, [report(1, 2, RunEnd::Exited(1))]).await;

    assert_eq!(row(store, action, system).await.remaining_tries, 4);
    assert!(push_record(store, system).await.open.is_empty());
}

pub async fn lost_run_costs_a_try(store: &dyn Store) {
    let system = registered(store, "a").await;
    let action = scheduled(store, &[system], "one").await;
    answered(store, system, 1, 0).await;

    record(store, system, 1, [report(1, 1, RunEnd::Lost)]).await;

    let row = row(store, action, system).await;
    assert_eq!(
        (row.remaining_tries, row.result.as_deref()),
        (4, Some("check was lost"))
    );
}

pub async fn failed_action_fails_its_dependents(store: &dyn Store) {
    let system = registered(store, "a").await;
    let other = registered(store, "b").await;
    let first = scheduled(store, &[system, other], "first").await;
    let second = behind(store, &[system, other], "second", Some(first)).await;
    let third = behind(store, &[system], "third", Some(second)).await;
    let unrelated = scheduled(store, &[system], "unrelated").await;

    for run in 1..=5 {
        granted(store, system, i64::from(run), 0).await;
        let steps = [
            Step::Answered(number(i64::from(run))),
            report(run, i64::from(run), RunEnd::Exited(1)),
        ];
        record(store, system, 1, steps).await;
        if run == 1 {
            store.cancel(unrelated, system).await.unwrap();
        }
    }

    for action in [second, third] {
        let row = row(store, action, system).await;
        assert_eq!(row.status, ActionStatus::Failed);
        assert_eq!(row.result.as_deref(), Some("prerequisite failed"));
    }
    assert_eq!(row(store, second, other).await.status, ActionStatus::Queued);
}

pub async fn other_version_is_left_alone(store: &dyn Store) {
    let system = registered(store, "a").await;
    let action = scheduled(store, &[system], "one").await;
    answered(store, system, 1, 0).await;
    answered(store, system, 2, 0).await;
    record(store, system, 1, [report(1, 1, RunEnd::Exited(0))]).await;
    store.reschedule(action, system, at(0)).await.unwrap();

    record(store, system, 2, [report(2, 2, RunEnd::Exited(0))]).await;

    assert_eq!(row(store, action, system).await.status, ActionStatus::Queued);
}

pub async fn postponed_action_is_left_alone(store: &dyn Store) {
    let a = registered(store, "a").await;
    let b = registered(store, "b").await;
    let action = scheduled(store, &[a, b], "one").await;
    answered(store, a, 1, 0).await;
    answered(store, b, 1, 0).await;
    record(store, a, 1, [report(1, 1, RunEnd::Exited(0))]).await;
    store.reschedule(action, a, at(100)).await.unwrap();

    record(store, b, 2, [report(1, 1, RunEnd::Exited(0))]).await;

    assert_eq!(row(store, action, b).await.status, ActionStatus::PickedUp);
    assert_eq!(pending(store, b).await.remove(0).version.earliest, at(100));
}

pub async fn report_finishes_lost_requests(store: &dyn Store) {
    let system = registered(store, "a").await;
    let action = scheduled(store, &[system], "one").await;
    granted(store, system, 1, 0).await;
    record(store, system, 1, [Step::Lost(number(1), LossReason::Unanswered)]).await;
    granted(store, system, 2, 2).await;
    record(store, system, 3, [Step::Lost(number(2), LossReason::Unanswered)]).await;

    record(store, system, 4, [report(1, 1, RunEnd::Exited(0))]).await;

    assert_eq!(row(store, action, system).await.status, ActionStatus::Completed);
    let words: Vec<String> = store
        .explain(system)
        .await
        .unwrap()
        .history
        .into_iter()
        .map(|h| h.1)
        .collect();
    assert_eq!(words, ["lost: unanswered", "finished: status 0 after 1500 ms"]);
}

pub async fn report_leaves_later_requests_open(store: &dyn Store) {
    let system = registered(store, "a").await;
    let first = scheduled(store, &[system], "first").await;
    answered(store, system, 1, 0).await;
    let second = scheduled(store, &[system], "second").await;
    answered(store, system, 2, 0).await;

    record(store, system, 1, [report(1, 1, RunEnd::Exited(0))]).await;

    assert_eq!(row(store, first, system).await.status, ActionStatus::Completed);
    assert_eq!(row(store, second, system).await.status, ActionStatus::PickedUp);
    let open = push_record(store, system).await.open;
    assert_eq!(
        open.iter().map(|request| request.number).collect::<Vec<_>>(),
        [number(2)]
    );
}

pub async fn delivered_actions_are_completed(store: &dyn Store) {
    let system = registered(store, "a").await;
    let old = scheduled(store, &[system], "old").await;
    let covered = due(store, system).await;
    let new = scheduled(store, &[system], "new").await;
    granted(store, system, 1, 0).await;

    let steps = [Step::Received(number(1)), Step::Delivered(number(1), covered)];
    record(store, system, 70, steps).await;

    let done = row(store, old, system).await;
    assert_eq!((done.status, done.completed), (ActionStatus::Completed, Some(at(70))));
    assert_eq!(done.result.as_deref(), Some("delivered, result unknown"));
    assert_eq!(row(store, new, system).await.status, ActionStatus::Queued);
    assert!(push_record(store, system).await.open.is_empty());
}
