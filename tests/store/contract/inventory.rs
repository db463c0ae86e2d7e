//! Systems and actions, as the administrator handles them.

use osa::domain::ids::{ActionId, SystemId};
use osa::domain::push::client::RunEnd;
use osa::domain::push::request::{LossReason, RequestState, Step};
use osa::domain::secret::Secret;
use osa::domain::time::Timestamp;
use osa::ports::inventory::{ActionFilter, ActionStatus, NewAction};
use osa::ports::store::{Store, StoreError};

use super::{answered, at, behind, granted, number, pending, record, registered, report, row, scheduled};

pub async fn system_name_is_given_once(store: &dyn Store) {
    registered(store, "a").await;

    let again = store.add_system("a", &Secret::new("s"), at(0)).await;

    assert!(matches!(again, Err(StoreError::Exists { .. })), "{again:?}");
}

pub async fn systems_are_listed_by_name_with_what_is_pending(store: &dyn Store) {
    let b = registered(store, "b").await;
    let a = store.add_system("a", &Secret::new("s"), at(0)).await.unwrap();
    scheduled(store, &[b], "one").await;
    scheduled(store, &[a, b], "two").await;

    let systems = store.systems().await.unwrap();

    let told: Vec<(SystemId, bool, i64)> = systems.iter().map(|s| (s.id, s.jid.is_some(), s.pending)).collect();
    assert_eq!(told, [(a, false, 1), (b, true, 2)]);
    assert_eq!(store.system_by_name("b").await.unwrap().as_ref(), systems.get(1));
    assert_eq!(store.system_by_name("c").await.unwrap(), None);
}

pub async fn removed_system_leaves_nothing(store: &dyn Store) {
    let system = registered(store, "a").await;
    scheduled(store, &[system], "one").await;
    granted(store, system, 1, 0).await;

    assert!(store.remove_system(system).await.unwrap());

    assert!(!store.remove_system(system).await.unwrap());
    assert!(store.work(&[system]).await.unwrap().is_empty());
    assert_eq!(store.client_of_system(system).await.unwrap(), None);
    assert!(matches!(store.explain(system).await, Err(StoreError::NotFound { .. })));
    registered(store, "a").await;
}

pub async fn ids_are_not_given_twice(store: &dyn Store) {
    let first = registered(store, "a").await;
    store.remove_system(first).await.unwrap();

    let second = registered(store, "a").await;

    assert!(second > first);
}

pub async fn action_is_scheduled_for_all_or_none(store: &dyn Store) {
    let known = registered(store, "a").await;
    let action = NewAction {
        name: "one".to_owned(),
        systems: vec![known, SystemId(known.0 + 1)],
        earliest: at(0),
        prerequisite: None,
    };

    let refused = store.schedule(&action, at(0)).await;

    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
    assert!(pending(store, known).await.is_empty());
}

pub async fn unknown_prerequisite_is_refused(store: &dyn Store) {
    let system = registered(store, "a").await;
    let action = NewAction {
        name: "one".to_owned(),
        systems: vec![system],
        earliest: at(0),
        prerequisite: Some(ActionId(77)),
    };

    let refused = store.schedule(&action, at(0)).await;

    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
}

pub async fn action_behind_a_failed_one_fails_at_once(store: &dyn Store) {
    let system = registered(store, "a").await;
    let first = scheduled(store, &[system], "first").await;
    for request in 1..=5 {
        answered(store, system, request, 0).await;
        let run = u8::try_from(request).unwrap();
        record(store, system, 1, [report(run, request, RunEnd::Exited(1))]).await;
    }

    let second = behind(store, &[system], "second", Some(first)).await;

    assert_eq!(row(store, second, system).await.status, ActionStatus::Failed);
}

pub async fn rescheduled_action_is_pending_at_a_new_version(store: &dyn Store) {
    let system = registered(store, "a").await;
    let action = scheduled(store, &[system], "one").await;
    let before = pending(store, system).await.remove(0).version;
    answered(store, system, 1, 0).await;
    record(store, system, 1, [report(1, 1, RunEnd::Exited(0))]).await;

    assert!(store.reschedule(action, system, at(0)).await.unwrap());

    let after = pending(store, system).await.remove(0);
    assert_eq!(after.id, action);
    assert_ne!(after.version, before);
    let row = row(store, action, system).await;
    assert_eq!(
        (row.status, row.picked_up, row.completed),
        (ActionStatus::Queued, None, None)
    );
    assert_eq!((row.remaining_tries, row.result), (5, None));
}

pub async fn pending_action_is_not_rescheduled(store: &dyn Store) {
    let system = registered(store, "a").await;
    let action = scheduled(store, &[system], "one").await;
    let before = pending(store, system).await;

    assert!(!store.reschedule(action, system, at(9)).await.unwrap());

    assert_eq!(pending(store, system).await, before);
}

pub async fn cancelled_action_takes_its_dependents_along(store: &dyn Store) {
    let system = registered(store, "a").await;
    let other = registered(store, "b").await;
    let first = scheduled(store, &[system, other], "first").await;
    let second = behind(store, &[system, other], "second", Some(first)).await;
    behind(store, &[system], "third", Some(second)).await;
    let unrelated = scheduled(store, &[system], "unrelated").await;

    assert!(store.cancel(first, system).await.unwrap());

    assert!(!store.cancel(first, system).await.unwrap());
    let left: Vec<ActionId> = pending(store, system).await.iter().map(|a| a.id).collect();
    assert_eq!(left, [unrelated]);
    assert_eq!(pending(store, other).await.len(), 1);
    assert_eq!(row(store, second, other).await.status, ActionStatus::Queued);
}

pub async fn actions_are_filtered_and_newest_first(store: &dyn Store) {
    let a = registered(store, "a").await;
    let b = registered(store, "b").await;
    let first = scheduled(store, &[a], "first").await;
    let second = scheduled(store, &[a, b], "second").await;
    answered(store, b, 1, 0).await;
    let list = async |filter: ActionFilter| {
        let rows = store.actions(&filter).await.unwrap();
        rows.into_iter().map(|row| (row.id, row.system)).collect::<Vec<_>>()
    };
    let all = ActionFilter {
        limit: 10,
        ..ActionFilter::default()
    };

    assert_eq!(list(all.clone()).await, [(second, a), (second, b), (first, a)]);
    let of_a = ActionFilter {
        system: Some(a),
        ..all.clone()
    };
    assert_eq!(list(of_a).await, [(second, a), (first, a)]);
    let picked_up = ActionFilter {
        statuses: vec![ActionStatus::PickedUp],
        ..all.clone()
    };
    assert_eq!(list(picked_up).await, [(second, b)]);
    let newest = ActionFilter {
        limit: 1,
        ..all.clone()
    };
    assert_eq!(list(newest).await, [(second, a)]);
    let by_id = ActionFilter {
        ids: vec![first],
        ..all
    };
    assert_eq!(list(by_id).await, [(first, a)]);
}

pub async fn explanation_tells_the_requests(store: &dyn Store) {
    let system = registered(store, "a").await;
    let action = scheduled(store, &[system], "one").await;
    answered(store, system, 1, 0).await;
    record(store, system, 1, [report(1, 1, RunEnd::Exited(9))]).await;
    granted(store, system, 2, 2).await;
    record(
        store,
        system,
        3,
        [Step::Sent(number(2)), Step::Lost(number(2), LossReason::NotSent)],
    )
    .await;
    granted(store, system, 3, 4).await;

    let told = store.explain(system).await.unwrap();

    let states: Vec<RequestState> = told.open.iter().map(|request| request.state).collect();
    assert_eq!(states, [RequestState::Claimed]);
    let words: Vec<&str> = told.history.iter().map(|(_, words)| words.as_str()).collect();
    assert_eq!(words, ["claimed", "lost: not sent", "finished: status 9 after 1500 ms"]);
    let times = told
        .history
        .last()
        .map(|(trace, _)| (trace.claimed, trace.sent, trace.answered, trace.ended));
    assert_eq!(times, Some((Some(at(0)), Some(at(0)), Some(at(0)), Some(at(1)))));
    let trace = row(store, action, system).await.trace;
    assert_eq!((trace.number, trace.claimed, trace.sent), (Some(3), Some(at(4)), None));
}

pub async fn completed_action_shows_the_request_that_completed_it(store: &dyn Store) {
    // The report of the run is what completes it.
    completed_action_shows_its_request(store, async |_, _, _| {}).await;
}

/// Whoever else completes actions does so when a check reports, before it ends.
pub async fn completed_action_shows_its_request(
    store: &dyn Store,
    complete: impl AsyncFn(ActionId, SystemId, Timestamp),
) {
    let system = registered(store, "a").await;
    let action = scheduled(store, &[system], "one").await;
    answered(store, system, 1, 0).await;
    record(store, system, 1, [Step::Lost(number(1), LossReason::NodeRestarted)]).await;
    answered(store, system, 2, 2).await;

    // The run of the first request is reported while the second one is on its way, and covers what that one covers.
    complete(action, system, at(4)).await;
    record(store, system, 4, [report(1, 1, RunEnd::Exited(0))]).await;
    record(store, system, 9, [report(2, 2, RunEnd::Exited(0))]).await;

    let row = row(store, action, system).await;
    assert_eq!((row.status, row.completed), (ActionStatus::Completed, Some(at(4))));
    assert_eq!((row.trace.number, row.trace.ended), (Some(1), Some(at(4))));
}
