//! Starts of nodes on one database, and what becomes of a running one whose records are lost.

use osa::domain::ids::Incarnation;
use osa::domain::push::request::Step;
use osa::ports::inventory::Inventory;
use osa::ports::push::{PushStore, Standing};
use osa::ports::store::{Store, StoreError};
use osa::store::postgres::{PostgresStore, administration};

use super::site::Site;
use crate::contract::{at, granted, push_record, record, registered};

/// What `migrate --remove-tables` and `migrate` do, which are refused while a dispatcher of this machine runs.
async fn tables_made_anew(site: &Site) {
    administration::remove(&site.options).await.unwrap();
    administration::migrate(&site.options).await.unwrap();
}

#[tokio::test]
async fn older_of_two_nodes_of_one_name_is_told() {
    let site = Site::satellite().await;
    let newer = PostgresStore::open(&site.options).await.unwrap();
    let other = PostgresStore::open(&site.options).await.unwrap();
    site.start_node("one", at(0)).await.unwrap();
    assert_eq!(site.settle_presence(&[], at(60)).await.unwrap(), Standing::Current);

    let incarnation = newer.start_node("one", at(61)).await.unwrap();
    other.start_node("other", at(62)).await.unwrap();

    let standing = site.settle_presence(&[], at(120)).await.unwrap();
    assert_eq!(standing, Standing::Current, "that start may have failed");
    assert_eq!(newer.settle_presence(&[], at(121)).await.unwrap(), Standing::Current);
    let standing = site.settle_presence(&[], at(122)).await.unwrap();
    assert_eq!(standing, Standing::Superseded(incarnation));
    assert_eq!(newer.settle_presence(&[], at(123)).await.unwrap(), Standing::Current);
    assert_eq!(other.settle_presence(&[], at(120)).await.unwrap(), Standing::Current);
}

#[tokio::test]
async fn node_whose_tables_were_made_anew_goes_on_as_a_new_start() {
    let site = Site::satellite().await;
    let system = registered(&site, "a").await;
    site.start_node("one", at(0)).await.unwrap();
    record(&site, system, 1, [Step::Online(true)]).await;
    tables_made_anew(&site).await;
    // Takes the number that ours had.
    let other = PostgresStore::open(&site.options).await.unwrap();
    assert_eq!(other.start_node("other", at(10)).await.unwrap(), Incarnation(1));

    let standing = site.settle_presence(&[(system, true)], at(60)).await.unwrap();

    assert_eq!(standing, Standing::Renewed(Incarnation(2)));
    assert_eq!(site.incarnation(), Some(Incarnation(2)));
    assert_eq!(site.satellite.state(system).await, "online");
    granted(&site, system, 100, 61).await;
    let claimed: i64 = site.satellite.one("SELECT incarnation FROM osa_request").await;
    assert_eq!(claimed, 2);
    let standing = site.settle_presence(&[(system, true)], at(120)).await.unwrap();
    assert_eq!(standing, Standing::Current);
    assert_eq!(site.satellite.state(system).await, "online");
}

/// Its number is above those of the newer start's, too.
#[tokio::test]
async fn node_with_the_number_of_another_of_its_name_is_no_less_new() {
    let site = Site::satellite().await;
    site.start_node("one", at(0)).await.unwrap();
    tables_made_anew(&site).await;
    let second = PostgresStore::open(&site.options).await.unwrap();
    second.start_node("one", at(10)).await.unwrap();

    let standing = site.settle_presence(&[], at(60)).await.unwrap();

    assert_eq!(standing, Standing::Renewed(Incarnation(2)));
    site.settle_presence(&[], at(61)).await.unwrap();
    let standing = second.settle_presence(&[], at(62)).await.unwrap();
    assert_eq!(standing, Standing::Superseded(Incarnation(2)));
}

#[tokio::test]
async fn what_a_forgotten_start_had_sent_is_void() {
    let site = Site::satellite().await;
    let system = registered(&site, "a").await;
    site.start_node("one", at(0)).await.unwrap();
    granted(&site, system, 100, 1).await;
    record(&site, system, 1, [Step::Online(true)]).await;
    site.satellite.run("DELETE FROM osa_node").await;

    let standing = site.settle_presence(&[], at(2)).await.unwrap();

    assert_eq!(standing, Standing::Renewed(Incarnation(2)));
    assert!(push_record(&site, system).await.open.is_empty());
    let words = site.explain(system).await.unwrap().history.remove(0).1;
    assert_eq!(words, "lost: node restarted");
    assert_eq!(site.satellite.state(system).await, "offline");
}

/// Such as a backup that is being restored: first come the tables, then what is in them.
#[tokio::test]
async fn node_waits_for_its_tables() {
    let site = Site::satellite().await;
    site.start_node("one", at(0)).await.unwrap();
    tables_made_anew(&site).await;
    site.satellite.run("DELETE FROM osa_schema").await;

    let settled = site.settle_presence(&[], at(60)).await;

    assert!(matches!(settled, Err(StoreError::Unmigrated(_))), "{settled:?}");
    let nodes: i64 = site.satellite.one("SELECT count(*) FROM osa_node").await;
    assert_eq!(nodes, 0, "nothing of ours is in the way");
}

#[tokio::test]
async fn missing_tables_are_told_with_the_remedy() {
    let site = Site::satellite().await;
    let system = registered(&site, "a").await;
    site.start_node("one", at(0)).await.unwrap();
    administration::remove(&site.options).await.unwrap();

    let store: &dyn Store = &site;
    let failed = [
        store.explain(system).await.map(drop),
        store.accounts().await.map(drop),
        store.settle_presence(&[], at(60)).await.map(drop),
    ];

    for error in failed.map(Result::unwrap_err) {
        assert!(error.to_string().ends_with("run osa-dispatcher migrate"), "{error}");
        assert!(matches!(error, StoreError::Unmigrated(_)), "{error:?}");
    }
}
