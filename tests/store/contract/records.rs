//! What is pending, what changed, what is remembered.

use osa::domain::ids::{ActionId, ClientName, SystemId};
use osa::domain::push::client::{Refusal, RunEnd};
use osa::domain::push::request::{LossReason, Step};
use osa::domain::secret::Secret;
use osa::domain::time::Timestamp;
use osa::ports::inventory::NewAction;
use osa::ports::store::Store;

use super::{
    answered, at, behind, due, granted, jid, number, pending, push_record, record, registered, report, scheduled,
};

async fn changed(store: &dyn Store) -> Vec<SystemId> {
    let mut systems = store.changed_systems().await.unwrap().systems;
    systems.sort();
    systems.dedup();
    systems
}

pub async fn work_is_ordered_and_leaves_out_what_must_wait(store: &dyn Store) {
    let system = registered(store, "a").await;
    let at_time = |name: &str, earliest| NewAction {
        name: name.to_owned(),
        systems: vec![system],
        earliest,
        prerequisite: None,
    };
    let later = store.schedule(&at_time("later", at(50)), at(0)).await.unwrap();
    let first = store.schedule(&at_time("first", at(1)), at(0)).await.unwrap();
    let same = store.schedule(&at_time("same time", at(1)), at(0)).await.unwrap();
    let waiting = behind(store, &[system], "waiting", Some(first)).await;

    let ids: Vec<ActionId> = pending(store, system).await.iter().map(|action| action.id).collect();

    assert_eq!(ids, [first, same, later]);
    answered(store, system, 1, 0).await;
    record(store, system, 1, [report(1, 1, RunEnd::Exited(0))]).await;
    let ids: Vec<ActionId> = pending(store, system).await.iter().map(|action| action.id).collect();
    assert_eq!(ids, [waiting]);
}

pub async fn prerequisite_of_another_system_does_not_hold_back(store: &dyn Store) {
    let a = registered(store, "a").await;
    let b = registered(store, "b").await;
    let first = scheduled(store, &[a], "first").await;

    let second = behind(store, &[b], "second", Some(first)).await;

    assert_eq!(pending(store, b).await.first().map(|action| action.id), Some(second));
}

pub async fn last_change_follows_the_actions(store: &dyn Store) {
    let system = registered(store, "a").await;
    scheduled(store, &[system], "one").await;
    let last_change = async || store.work(&[system]).await.unwrap().remove(0).last_change;
    assert_eq!(last_change().await, None);

    answered(store, system, 1, 7).await;

    assert_eq!(last_change().await, Some(at(7)));
    record(store, system, 9, [report(1, 1, RunEnd::Exited(0))]).await;
    assert_eq!(last_change().await, Some(at(9)));
}

pub async fn changes_are_told_once(store: &dyn Store) {
    let a = registered(store, "a").await;
    let b = registered(store, "b").await;
    let c = registered(store, "c").await;
    assert_eq!(changed(store).await, [a, b, c]);
    assert_eq!(changed(store).await, []);

    let action = scheduled(store, &[a, b], "one").await;
    assert_eq!(changed(store).await, [a, b]);
    assert_eq!(changed(store).await, []);
    store.register_osad_jid(c, &jid("a"), at(1)).await.unwrap();
    assert_eq!(changed(store).await, [c]);
    store.cancel(action, a).await.unwrap();
    assert_eq!(changed(store).await, [a]);
    store
        .register_osad(b, &ClientName("n".to_owned()), &Secret::new("k"), at(1))
        .await
        .unwrap();
    assert_eq!(changed(store).await, [b]);
    answered(store, b, 1, 0).await;
    record(store, b, 1, [report(1, 1, RunEnd::Exited(0))]).await;
    store.reschedule(action, b, at(5)).await.unwrap();
    assert_eq!(changed(store).await, [b]);
    store.remove_system(b).await.unwrap();
    assert_eq!(changed(store).await, [b]);
}

pub async fn own_progress_is_not_told(store: &dyn Store) {
    let system = registered(store, "a").await;
    scheduled(store, &[system], "one").await;
    changed(store).await;

    answered(store, system, 1, 0).await;
    let steps = [
        Step::Online(true),
        Step::Heard,
        Step::AgentAnnounced,
        report(1, 1, RunEnd::Exited(0)),
    ];
    record(store, system, 1, steps).await;

    assert_eq!(changed(store).await, []);
}

pub async fn progress_that_frees_a_dependent_is_told(store: &dyn Store) {
    let system = registered(store, "a").await;
    let first = scheduled(store, &[system], "first").await;
    behind(store, &[system], "second", Some(first)).await;
    answered(store, system, 1, 0).await;
    changed(store).await;

    record(store, system, 1, [report(1, 1, RunEnd::Exited(0))]).await;

    assert_eq!(changed(store).await, [system]);
}

pub async fn records_cover_what_was_answered(store: &dyn Store) {
    let system = registered(store, "a").await;
    scheduled(store, &[system], "finished with failure").await;
    answered(store, system, 1, 0).await;
    let failed = due(store, system).await;
    record(store, system, 1, [report(1, 1, RunEnd::Exited(1))]).await;
    scheduled(store, &[system], "refused").await;
    granted(store, system, 2, 1).await;
    let refused = due(store, system).await;
    record(store, system, 2, [Step::Refused(number(2), Refusal::Draining)]).await;
    scheduled(store, &[system], "only lost").await;
    granted(store, system, 3, 3).await;
    record(
        store,
        system,
        4,
        [Step::Sent(number(3)), Step::Lost(number(3), LossReason::Unanswered)],
    )
    .await;

    let mut covered = push_record(store, system).await.covered;

    covered.sort_by_key(|covered| covered.action);
    assert_eq!(failed.len(), 1);
    assert_eq!(covered, refused);
    answered(store, system, 4, 5).await;
    record(store, system, 6, [report(2, 4, RunEnd::Exited(0))]).await;
    assert_eq!(push_record(store, system).await.covered, []);
}

pub async fn unknown_systems_are_left_out(store: &dyn Store) {
    let a = registered(store, "a").await;
    let b = registered(store, "b").await;

    let asked = [b, SystemId(99), a];

    let work: Vec<SystemId> = store.work(&asked).await.unwrap().iter().map(|w| w.system).collect();
    assert_eq!(work, [b, a]);
    let records: Vec<SystemId> = store
        .push_records(&asked)
        .await
        .unwrap()
        .iter()
        .map(|r| r.1.system)
        .collect();
    assert_eq!(records, [b, a]);
    assert!(store.work(&[]).await.unwrap().is_empty());
}

pub async fn prune_removes_what_is_old_and_settled(store: &dyn Store) {
    let system = registered(store, "a").await;
    scheduled(store, &[system], "done").await;
    answered(store, system, 1, 0).await;
    record(store, system, 1, [report(1, 1, RunEnd::Exited(0))]).await;
    let pending = scheduled(store, &[system], "pending").await;
    answered(store, system, 2, 2).await;
    record(store, system, 3, [report(2, 2, RunEnd::Exited(1))]).await;
    answered(store, system, 3, 50).await;

    assert_eq!(store.prune(Timestamp::from_millis(0)).await.unwrap(), 0);
    assert_eq!(store.prune(at(40)).await.unwrap(), 1);

    let left: Vec<Option<i64>> = store
        .explain(system)
        .await
        .unwrap()
        .history
        .iter()
        .map(|h| h.0.number)
        .collect();
    assert_eq!(left, [Some(3), Some(2)]);
    record(store, system, 60, [report(2, 3, RunEnd::Exited(1))]).await;
    assert_eq!(super::row(store, pending, system).await.remaining_tries, 4);
    granted(store, system, 4, 120).await;
}
