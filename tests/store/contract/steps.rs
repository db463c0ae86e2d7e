//! Steps of requests and systems.

use osa::domain::ids::{ClientName, SystemId};
use osa::domain::push::client::{Refusal, RunEnd};
use osa::domain::push::request::{Entry, LossReason, RequestState, Step, Wait, WaitReason};
use osa::domain::secret::Secret;
use osa::ports::store::Store;

use super::{answered, at, granted, number, push_record, record, registered, report, run_start, scheduled};

async fn state(store: &dyn Store, system: SystemId) -> Option<(RequestState, i64)> {
    let open = push_record(store, system).await.open;
    open.last()
        .map(|request| (request.state, request.since.as_secs() - 1_000))
}

pub async fn request_goes_through_its_states(store: &dyn Store) {
    let system = registered(store, "a").await;
    scheduled(store, &[system], "one").await;
    granted(store, system, 1, 0).await;
    let run = run_start(7, 1);

    record(store, system, 1, [Step::Sent(number(1))]).await;
    assert_eq!(state(store, system).await, Some((RequestState::Sent, 1)));
    record(store, system, 2, [Step::Answered(number(1))]).await;
    assert_eq!(state(store, system).await, Some((RequestState::Answered, 2)));
    record(store, system, 3, [Step::Started(run)]).await;
    assert_eq!(state(store, system).await, Some((RequestState::Started(run), 3)));
    record(store, system, 4, [report(7, 1, RunEnd::Exited(0))]).await;
    assert_eq!(state(store, system).await, None);
}

pub async fn late_and_repeated_steps_change_nothing(store: &dyn Store) {
    let system = registered(store, "a").await;
    scheduled(store, &[system], "one").await;
    answered(store, system, 1, 0).await;
    let before = push_record(store, system).await;

    let late = [Step::Sent(number(1)), Step::Answered(number(1)), Step::Sent(number(9))];
    record(store, system, 5, late).await;

    assert_eq!(push_record(store, system).await, before);
    record(store, system, 6, [report(7, 1, RunEnd::Exited(0))]).await;
    let ended = push_record(store, system).await;
    let later = [
        Step::Lost(number(1), LossReason::Reconnected),
        Step::Answered(number(1)),
        Step::Started(run_start(8, 1)),
    ];
    record(store, system, 7, later).await;
    assert_eq!(push_record(store, system).await, ended);
}

pub async fn lost_request_makes_room_for_the_next(store: &dyn Store) {
    let system = registered(store, "a").await;
    granted(store, system, 1, 0).await;

    record(store, system, 1, [Step::Lost(number(1), LossReason::Reconnected)]).await;

    granted(store, system, 2, 1).await;
}

pub async fn refused_and_received_requests_have_ended(store: &dyn Store) {
    let system = registered(store, "a").await;
    granted(store, system, 1, 0).await;
    record(store, system, 1, [Step::Refused(number(1), Refusal::Clock)]).await;
    granted(store, system, 2, 1).await;

    record(store, system, 2, [Step::Received(number(2))]).await;

    assert!(push_record(store, system).await.open.is_empty());
    let words: Vec<String> = store
        .explain(system)
        .await
        .unwrap()
        .history
        .into_iter()
        .map(|h| h.1)
        .collect();
    assert_eq!(words, ["received", "refused: clock"]);
}

pub async fn pause_is_kept_until_it_is_ended(store: &dyn Store) {
    let system = registered(store, "a").await;
    let wait = Wait {
        until: at(30),
        reason: WaitReason::Refused(Refusal::Draining),
        step: 3,
    };

    record(store, system, 0, [Step::Waiting(Some(wait))]).await;

    assert_eq!(push_record(store, system).await.wait, Some(wait));
    record(store, system, 1, [Step::Waiting(None)]).await;
    assert_eq!(push_record(store, system).await.wait, None);
}

pub async fn announcement_holds_for_the_present_name(store: &dyn Store) {
    let system = registered(store, "a").await;
    let announced = async || store.client_of_system(system).await.unwrap().unwrap().announced;

    record(store, system, 0, [Step::AgentAnnounced]).await;

    assert!(announced().await);
    let name = ClientName("other".to_owned());
    store
        .register_osad(system, &name, &Secret::new("k"), at(1))
        .await
        .unwrap();
    assert!(!announced().await);
}

pub async fn online_and_heard_are_shown(store: &dyn Store) {
    let system = registered(store, "a").await;
    let shown = async || {
        let row = store.system_by_name("a").await.unwrap().unwrap();
        (row.online, row.last_message)
    };

    record(store, system, 3, [Step::Online(true), Step::Heard]).await;

    assert_eq!(shown().await, (true, Some(at(3))));
    record(store, system, 4, [Step::Online(false)]).await;
    assert_eq!(shown().await, (false, Some(at(3))));
}

pub async fn presence_is_settled(store: &dyn Store) {
    store.start_node("one", at(0)).await.unwrap();
    let [missed, silent, gone] = [
        registered(store, "missed").await,
        registered(store, "silent").await,
        registered(store, "gone").await,
    ];
    record(store, silent, 1, [Step::Online(true)]).await;
    record(store, gone, 1, [Step::Online(true)]).await;
    record(store, missed, 1, [Step::Online(false)]).await;

    let connected = [(missed, true), (silent, false)];
    store.settle_presence(&connected, at(60)).await.unwrap();

    let online = async |name: &str| store.system_by_name(name).await.unwrap().unwrap().online;
    assert_eq!(
        [online("missed").await, online("silent").await, online("gone").await],
        [true, false, false]
    );
}

pub async fn batch_is_applied_as_a_whole(store: &dyn Store) {
    let a = registered(store, "a").await;
    let b = registered(store, "b").await;
    granted(store, a, 1, 0).await;
    granted(store, b, 1, 0).await;
    let entry = |system, step| Entry {
        system,
        at: at(1),
        step,
    };

    let entries = [
        entry(a, Step::Sent(number(1))),
        entry(b, Step::Lost(number(1), LossReason::NotSent)),
        entry(a, Step::Answered(number(1))),
    ];
    store.record(&entries).await.unwrap();

    assert_eq!(state(store, a).await, Some((RequestState::Answered, 1)));
    assert_eq!(state(store, b).await, None);
}

pub async fn steps_of_unknown_systems_change_nothing(store: &dyn Store) {
    let gone = registered(store, "a").await;
    granted(store, gone, 1, 0).await;
    store.remove_system(gone).await.unwrap();
    let wait = Wait {
        until: at(1),
        reason: WaitReason::Stuck,
        step: 0,
    };

    let steps = [
        Step::Answered(number(1)),
        report(1, 1, RunEnd::Exited(0)),
        Step::Waiting(Some(wait)),
        Step::AgentAnnounced,
        Step::Online(true),
        Step::Heard,
    ];
    record(store, gone, 1, steps).await;

    assert!(store.push_records(&[gone]).await.unwrap().is_empty());
    assert!(store.explain(gone).await.is_err());
}
