//! Several nodes, and what they owe to each other and to the Satellite: presence, slots, what is kept.

use std::time::Duration;

use osa::domain::push::request::{ClaimOutcome, Step};
use osa::domain::time::Timestamp;
use osa::ports::inventory::{ActionFilter, Inventory};
use osa::ports::push::PushStore;
use osa::store::postgres::PostgresStore;

use super::site::Site;
use crate::contract::{at, granted, number, push_record, record, registered, scheduled};

#[tokio::test]
async fn start_leaves_other_nodes_alone_until_they_are_dead() {
    let site = Site::satellite().await;
    let here = registered(&site, "here").await;
    let there = registered(&site, "there").await;
    let other = PostgresStore::open(&site.options).await.unwrap();
    other.start_node("other", at(0)).await.unwrap();
    other
        .record(&[crate::postgres::step(there, 0, Step::Online(true))])
        .await
        .unwrap();
    let lease = [osa::domain::push::request::Claim {
        system: there,
        number: number(1),
        covers: Vec::new(),
    }];
    other.claim(&lease, at(60), at(0)).await.unwrap();

    site.start_node("one", at(10)).await.unwrap();
    record(&site, here, 10, [Step::Online(true)]).await;

    assert_eq!(site.satellite.state(there).await, "online");
    assert_eq!(push_record(&site, there).await.open.len(), 1);
    site.settle_presence(&[(here, true)], at(100)).await.unwrap();
    assert_eq!(site.satellite.state(there).await, "online");
    site.settle_presence(&[(here, true)], at(200)).await.unwrap();
    assert_eq!(site.satellite.state(there).await, "offline");
    assert_eq!(site.satellite.state(here).await, "online");
}

#[tokio::test]
async fn action_that_is_never_to_run_keeps_no_other_from_being_read() {
    let site = Site::satellite().await;
    let system = registered(&site, "a").await;
    let never = scheduled(&site, &[system], "never").await;
    let before = scheduled(&site, &[system], "before time").await;
    for (action, time) in [(never, "infinity"), (before, "-infinity")] {
        let text = format!("UPDATE rhnAction SET earliest_action = '{time}' WHERE id = {action}");
        site.satellite.run(&text).await;
    }

    let work = site.work(&[system]).await.unwrap();

    let earliest: Vec<i64> = work[0]
        .actions
        .iter()
        .map(|action| action.version.earliest.as_secs())
        .collect();
    assert_eq!(earliest, [0, 253_402_300_799], "in the order of time");
    let all = ActionFilter {
        limit: 10,
        ..ActionFilter::default()
    };
    assert_eq!(site.actions(&all).await.unwrap().len(), 2);
}

#[tokio::test]
async fn system_that_moved_to_another_node_stays_online() {
    let site = Site::satellite().await;
    let system = registered(&site, "a").await;
    let other = PostgresStore::open(&site.options).await.unwrap();
    site.start_node("one", at(0)).await.unwrap();
    other.start_node("other", at(0)).await.unwrap();
    record(&site, system, 1, [Step::Online(true)]).await;
    other
        .record(&[crate::postgres::step(system, 2, Step::Online(true))])
        .await
        .unwrap();

    record(&site, system, 3, [Step::Online(false)]).await;

    assert_eq!(site.satellite.state(system).await, "online");
}

#[tokio::test]
async fn row_that_the_satellite_holds_keeps_nobody_from_being_recorded() {
    let site = Site::satellite().await;
    let mut options = site.options.clone();
    options.deadline = Duration::from_secs(2);
    let store = PostgresStore::open(&options).await.unwrap();
    let system = registered(&site, "a").await;
    store.start_node("one", at(0)).await.unwrap();
    site.satellite
        .run("BEGIN; UPDATE rhnPushClient SET shared_key = shared_key")
        .await;

    store
        .record(&[crate::postgres::step(system, 1, Step::Online(true))])
        .await
        .unwrap();

    site.satellite.run("COMMIT").await;
    assert_eq!(site.satellite.state(system).await, "offline");
    store.settle_presence(&[(system, true)], at(60)).await.unwrap();
    assert_eq!(site.satellite.state(system).await, "online");
}

#[tokio::test]
async fn threshold_holds_over_all_nodes() {
    let site = Site::satellite().await;
    let mut options = site.options.clone();
    options.notify_threshold = Some(2);
    let nodes = [
        PostgresStore::open(&options).await.unwrap(),
        PostgresStore::open(&options).await.unwrap(),
    ];
    let mut systems = Vec::new();
    for name in ["working", "a", "b", "c"] {
        systems.push(registered(&site, name).await);
    }
    let busy = scheduled(&site, &systems[..1], "one").await;
    let now = Timestamp::from_millis(
        site.satellite
            .one("SELECT (extract(epoch FROM now()) * 1000)::bigint")
            .await,
    );
    nodes[0].start_node("one", now).await.unwrap();
    nodes[0]
        .record(&[crate::postgres::step(systems[0], 0, Step::Online(true))])
        .await
        .unwrap();
    site.satellite.set_status(busy, systems[0], 1).await;
    let claims: Vec<_> = systems[1..]
        .iter()
        .map(|&system| osa::domain::push::request::Claim {
            system,
            number: number(1),
            covers: Vec::new(),
        })
        .collect();
    let until = now + Duration::from_secs(60);

    let (first, second) = tokio::join!(
        nodes[0].claim(&claims[..1], until, now),
        nodes[1].claim(&claims[1..], until, now)
    );

    let outcomes = [first.unwrap(), second.unwrap()].concat();
    let granted = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, ClaimOutcome::Granted(_)));
    assert_eq!(granted.count(), 1, "{outcomes:?}");

    let is_granted = |outcome: &ClaimOutcome| matches!(outcome, ClaimOutcome::Granted(_));
    let refused = outcomes.iter().position(|outcome| !is_granted(outcome)).unwrap();
    options.slot_age = Duration::ZERO;
    let impatient = PostgresStore::open(&options).await.unwrap();
    let outcomes = impatient.claim(&claims[refused..=refused], until, now).await.unwrap();
    assert!(is_granted(&outcomes[0]), "nobody counts for longer than the slots' age");
}

#[tokio::test]
async fn prune_removes_what_is_settled_and_what_belongs_to_systems_that_are_gone() {
    let site = Site::satellite().await;
    let system = registered(&site, "a").await;
    let gone = registered(&site, "gone").await;
    granted(&site, system, 1, 0).await;
    record(&site, system, 1, [Step::Received(number(1))]).await;
    scheduled(&site, &[system], "pending").await;
    granted(&site, system, 2, 2).await;
    record(&site, system, 3, [Step::Received(number(2))]).await;
    granted(&site, gone, 1, 0).await;
    site.remove_system(gone).await.unwrap();

    site.prune(at(40)).await.unwrap();

    let left: Vec<Option<i64>> = site
        .explain(system)
        .await
        .unwrap()
        .history
        .iter()
        .map(|h| h.0.number)
        .collect();
    assert_eq!(left, [Some(2)]);
    let rows =
        format!("SELECT count(*) FROM osa_push p JOIN osa_request r USING (server_id) WHERE p.server_id = {gone}");
    assert_eq!(site.satellite.one::<i64>(&rows).await, 0);
}
