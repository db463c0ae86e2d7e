//! Starts of dispatchers.

use osa::domain::push::request::{ClaimOutcome, RequestState, Step};
use osa::ports::store::Store;

use super::{answered, at, claim, granted, number, push_record, record, registered, run_start, scheduled};

pub async fn incarnation_grows(store: &dyn Store) {
    let first = store.start_node("one", at(0)).await.unwrap();
    let second = store.start_node("one", at(1)).await.unwrap();

    assert!(second > first);
}

pub async fn start_voids_what_was_on_its_way(store: &dyn Store) {
    let first = store.start_node("one", at(0)).await.unwrap();
    assert_eq!(first.0, 1);
    let claimed = registered(store, "claimed").await;
    let sent = registered(store, "sent").await;
    let awaited = registered(store, "answered").await;
    let running = registered(store, "started").await;
    scheduled(store, &[awaited, running], "one").await;
    granted(store, claimed, 1, 0).await;
    granted(store, sent, 1, 0).await;
    record(store, sent, 0, [Step::Sent(number(1))]).await;
    answered(store, awaited, 1, 0).await;
    answered(store, running, 1, 0).await;
    record(store, running, 0, [Step::Started(run_start(1, 1))]).await;

    store.start_node("one", at(1)).await.unwrap();

    assert!(push_record(store, claimed).await.open.is_empty());
    assert!(push_record(store, sent).await.open.is_empty());
    let words = store.explain(sent).await.unwrap().history.remove(0).1;
    assert_eq!(words, "lost: node restarted");
    let states =
        |record: osa::domain::push::request::PushRecord| record.open.iter().map(|r| r.state).collect::<Vec<_>>();
    assert_eq!(states(push_record(store, awaited).await), [RequestState::Answered]);
    assert_eq!(
        states(push_record(store, running).await),
        [RequestState::Started(run_start(1, 1))]
    );
}

pub async fn start_makes_everybody_offline(store: &dyn Store) {
    let system = registered(store, "a").await;
    record(store, system, 0, [Step::Online(true)]).await;

    store.start_node("one", at(1)).await.unwrap();

    assert!(!store.system_by_name("a").await.unwrap().unwrap().online);
}

/// After a power cut, or on a restored copy, a request may be forgotten whose number an agent knows.
pub async fn numbers_are_not_given_again_after_a_start(store: &dyn Store) {
    let system = registered(store, "a").await;
    granted(store, system, 1, 0).await;

    store.start_node("one", at(1)).await.unwrap();

    assert_eq!(claim(store, system, 2, 100).await, ClaimOutcome::Refused);
    let last = push_record(store, system).await.last_number;
    granted(store, system, last.next().0, 100).await;
}

pub async fn numbers_of_a_new_system_follow_each_other(store: &dyn Store) {
    store.start_node("one", at(0)).await.unwrap();
    let system = registered(store, "a").await;

    let first = push_record(store, system).await.last_number.next();
    granted(store, system, first.0, 0).await;
    record(store, system, 0, [Step::Received(first)]).await;

    granted(store, system, first.next().0, 0).await;
}
