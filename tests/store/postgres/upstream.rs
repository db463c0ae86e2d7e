//! The dispatcher's account on a site's own XMPP server.

use osa::domain::dispatcher_account::DispatcherAccount;
use osa::domain::secret::Secret;
use osa::ports::upstream::UpstreamAccounts;

use super::cluster::Database;
use super::site::{Satellite, Site};
use crate::contract::registered;

const HOST: &str = "sat.example";
const USUAL: &str = "rhn-dispatcher-sat";
const ROWS: &str = "SELECT coalesce(string_agg(jabber_id || ' ' || coalesce(password, '-'), ', ' ORDER BY id), '') \
     FROM rhnPushDispatcher";

fn account(username: &str, password: &str) -> DispatcherAccount {
    DispatcherAccount {
        username: username.to_owned(),
        password: Secret::new(password),
    }
}

/// A row that was there before.
async fn row(site: &Site, jid: &str, password: Option<&str>, minutes_ago: i32) {
    let password = password.map_or_else(|| "NULL".to_owned(), |password| format!("'{password}'"));
    site.satellite
        .run(&format!(
            "INSERT INTO rhnPushDispatcher (id, jabber_id, last_checkin, hostname, password) VALUES \
             (nextval('rhn_pushdispatch_id_seq'), '{jid}', current_timestamp - interval '{minutes_ago} min', 'h', {password})"
        ))
        .await;
}

async fn rows(site: &Site) -> String {
    site.satellite.one(ROWS).await
}

async fn is_checked_in(site: &Site, username: &str) -> bool {
    let text = format!(
        "SELECT last_checkin > current_timestamp - interval '5 min' AND hostname = '{HOST}' FROM rhnPushDispatcher \
         WHERE jabber_id = '{username}@{HOST}/superclient'"
    );
    site.satellite.one(&text).await
}

#[tokio::test]
async fn account_is_made_once_in_schemas_of_both_kinds() {
    for database in [Database::satellite(), Database::satellite().apply("port.sql")] {
        let site = Site::new(database).await;
        let first = account(USUAL, "first");

        assert_eq!(site.store.dispatcher_account(HOST, &first).await.unwrap(), first);
        let again = site.store.dispatcher_account(HOST, &account(USUAL, "second")).await;
        assert_eq!(again.unwrap(), first);
        assert_eq!(rows(&site).await, "rhn-dispatcher-sat@sat.example/superclient first");
    }
}

#[tokio::test]
async fn password_is_made_where_the_row_has_none() {
    for without in [None, Some("")] {
        let site = Site::satellite().await;
        row(&site, "rhn-dispatcher-sat@sat.example/superclient", without, 10).await;
        let made = account(USUAL, "made");

        assert_eq!(site.store.dispatcher_account(HOST, &made).await.unwrap(), made);
        let again = site.store.dispatcher_account(HOST, &account(USUAL, "other")).await;
        assert_eq!(again.unwrap(), made);
        assert_eq!(rows(&site).await, "rhn-dispatcher-sat@sat.example/superclient made");
    }
}

/// Clients compare letter by letter, so it is another row; servers do not, so it is the same account.
#[tokio::test]
async fn row_with_capitals_gives_its_password_to_one_without() {
    let site = Site::satellite().await;
    row(&site, "rhn-dispatcher-sat@Sat.Example/superclient", Some("known"), 10).await;

    let found = site.store.dispatcher_account(HOST, &account(USUAL, "made")).await;

    assert_eq!(found.unwrap(), account(USUAL, "known"));
    let kept = "rhn-dispatcher-sat@Sat.Example/superclient known, rhn-dispatcher-sat@sat.example/superclient known";
    assert_eq!(rows(&site).await, kept);
}

#[tokio::test]
async fn rows_of_other_servers_are_left_alone() {
    let site = Site::satellite().await;
    let others = [
        "rhn-dispatcher-sat@old.example/superclient",
        "rhn-dispatcher-sat@x.sat.example/superclient",
        "rhn-dispatcher-satellite@sat.example/superclient",
        "rhn-dispatcher-sat@sat.example/other",
    ];
    for jid in others {
        row(&site, jid, Some("theirs"), 0).await;
    }
    let own = account(USUAL, "own");

    assert_eq!(site.store.dispatcher_account(HOST, &own).await.unwrap(), own);
    let theirs = others.map(|jid| format!("{jid} theirs")).join(", ");
    let wanted = format!("{theirs}, rhn-dispatcher-sat@sat.example/superclient own");
    assert_eq!(rows(&site).await, wanted);
}

#[tokio::test]
async fn rotated_account_takes_the_place_of_the_present_one_and_stays() {
    let site = Site::satellite().await;
    let lost = account(USUAL, "lost");
    let next = account("rhn-dispatcher-sat-0123abcd", "next");
    site.store.dispatcher_account(HOST, &lost).await.unwrap();

    let rotated = site.store.rotate_dispatcher_account(HOST, &lost, &next).await;

    assert_eq!(rotated.unwrap(), next);
    let there = "rhn-dispatcher-sat-0123abcd@sat.example/superclient next";
    assert_eq!(rows(&site).await, there);
    let fresh = account(USUAL, "fresh");
    assert_eq!(
        site.store.check_in_dispatcher_account(HOST, &fresh).await.unwrap(),
        next
    );
    assert_eq!(rows(&site).await, there);
}

#[tokio::test]
async fn second_rotation_of_the_same_account_takes_what_the_first_one_made() {
    let site = Site::satellite().await;
    let lost = account(USUAL, "lost");
    let next = account("rhn-dispatcher-sat-00000001", "one");
    site.store.dispatcher_account(HOST, &lost).await.unwrap();
    site.store.rotate_dispatcher_account(HOST, &lost, &next).await.unwrap();

    let late = account("rhn-dispatcher-sat-00000002", "two");
    let rotated = site.store.rotate_dispatcher_account(HOST, &lost, &late).await;

    assert_eq!(rotated.unwrap(), next);
    assert_eq!(
        rows(&site).await,
        "rhn-dispatcher-sat-00000001@sat.example/superclient one"
    );
}

#[tokio::test]
async fn password_that_somebody_changed_is_not_rotated_away() {
    let site = Site::satellite().await;
    row(&site, "rhn-dispatcher-sat@sat.example/superclient", Some("mended"), 0).await;

    let stale = account(USUAL, "stale");
    let next = account("rhn-dispatcher-sat-00000001", "one");
    let rotated = site.store.rotate_dispatcher_account(HOST, &stale, &next).await;

    assert_eq!(rotated.unwrap(), account(USUAL, "mended"));
}

#[tokio::test]
async fn of_several_rows_the_rotated_one_that_checked_in_last_counts() {
    let site = Site::satellite().await;
    row(&site, "rhn-dispatcher-sat-b@sat.example/superclient", Some("right"), 10).await;
    row(&site, "rhn-dispatcher-sat-c@sat.example/superclient", Some("old"), 20).await;
    row(&site, "rhn-dispatcher-sat@sat.example/superclient", Some("usual"), 0).await;

    let fresh = account(USUAL, "fresh");
    let in_force = site.store.dispatcher_account(HOST, &fresh).await.unwrap();

    assert_eq!(in_force, account("rhn-dispatcher-sat-b", "right"));
}

#[tokio::test]
async fn check_in_stamps_the_row_in_force_and_reading_does_not() {
    let site = Site::satellite().await;
    row(&site, "rhn-dispatcher-sat@sat.example/superclient", Some("kept"), 60).await;
    let fresh = account(USUAL, "fresh");

    site.store.dispatcher_account(HOST, &fresh).await.unwrap();
    assert!(!is_checked_in(&site, USUAL).await);
    let checked_in = site.store.check_in_dispatcher_account(HOST, &fresh).await;
    assert_eq!(checked_in.unwrap(), account(USUAL, "kept"));
    assert!(is_checked_in(&site, USUAL).await);
}

#[tokio::test]
async fn nodes_that_start_rotate_and_check_in_at_once_agree_on_one_row() {
    let site = Site::satellite().await;
    let (one, two) = (account(USUAL, "one"), account(USUAL, "two"));

    let started = tokio::join!(
        site.store.dispatcher_account(HOST, &one),
        site.store.check_in_dispatcher_account(HOST, &two),
    );
    let current = started.0.unwrap();
    assert_eq!(started.1.unwrap(), current);

    let a = account("rhn-dispatcher-sat-0000000a", "a");
    let b = account("rhn-dispatcher-sat-0000000b", "b");
    let rotated = tokio::join!(
        site.store.rotate_dispatcher_account(HOST, &current, &a),
        site.store.rotate_dispatcher_account(HOST, &current, &b),
        site.store.check_in_dispatcher_account(HOST, &one),
        site.store.check_in_dispatcher_account(HOST, &two),
    );
    let next = rotated.0.unwrap();
    assert_eq!(rotated.1.unwrap(), next);
    for checked_in in [rotated.2.unwrap(), rotated.3.unwrap()] {
        assert!(checked_in == next || checked_in == current, "{checked_in:?}");
    }
    let count: i64 = site.satellite.one("SELECT count(*) FROM rhnPushDispatcher").await;
    assert_eq!(count, 1, "{}", rows(&site).await);
    assert_eq!(site.store.dispatcher_account(HOST, &one).await.unwrap(), next);
}

#[tokio::test]
async fn clients_that_never_reported_a_jid_are_not_known() {
    let site = Site::satellite().await;
    for name in ["a", "b", "c"] {
        registered(&site, name).await;
    }
    site.satellite
        .run("UPDATE rhnPushClient SET jabber_id = NULL WHERE name = 'client-b'")
        .await;

    let mut known = site.store.known_jids().await.unwrap();
    known.sort_unstable();

    assert_eq!(known, [crate::contract::jid("a"), crate::contract::jid("c")]);
}

#[tokio::test]
async fn hundred_thousand_clients_are_read_at_once() {
    let site = Site::satellite().await;
    site.satellite
        .run(
            "INSERT INTO rhnPushClient (id, name, server_id, jabber_id, shared_key, state_id) \
             SELECT 1000 + n, 'many-' || n, 1000 + n, 'osad-' || n || '@sat.example/osad', 'k', \
             (SELECT id FROM rhnPushClientState WHERE label = 'offline') FROM generate_series(1, 100000) n",
        )
        .await;

    assert_eq!(site.store.known_jids().await.unwrap().len(), 100_000);
}

/// Until somebody waits for a lock in this database.
async fn somebody_waits(observer: &Satellite) {
    let waits = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND NOT l.granted \
         WHERE a.datname = current_database())";
    while !observer.one::<bool>(waits).await {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn check_in_that_another_rotation_overtakes_takes_what_it_made() {
    let site = Site::satellite().await;
    let usual = account(USUAL, "usual");
    site.store.dispatcher_account(HOST, &usual).await.unwrap();
    let other = Satellite::at(&site.database).await;
    other
        .run("BEGIN; UPDATE rhnPushDispatcher SET jabber_id = 'rhn-dispatcher-sat-1@sat.example/superclient', password = 'next'")
        .await;

    let commit = async {
        somebody_waits(&site.satellite).await;
        other.run("COMMIT").await;
    };
    let (checked_in, ()) = tokio::join!(site.store.check_in_dispatcher_account(HOST, &usual), commit);

    assert_eq!(checked_in.unwrap(), account("rhn-dispatcher-sat-1", "next"));
    assert_eq!(rows(&site).await, "rhn-dispatcher-sat-1@sat.example/superclient next");
}
