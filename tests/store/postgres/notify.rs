//! Triggers and LISTEN.

use std::time::Duration;

use osa::domain::ids::ClientName;
use osa::domain::push::request::Step;
use osa::domain::secret::Secret;
use osa::ports::push::PushStore;
use osa::ports::registrations::Registrations;
use osa::store::postgres::{PostgresStore, Triggers, administration};
use tokio::time::timeout;

use super::cluster::Database;
use super::site::{Satellite, Site};
use crate::contract::{at, jid, record, registered, scheduled};

/// Longer than a notification takes on a busy machine.
const SOON: Duration = Duration::from_secs(240);

/// Waits for the notification that tells that listening has begun.
async fn listening_site() -> Site {
    let database = Database::satellite();
    administration::migrate(&database.options()).await.unwrap();
    administration::install_notify(&database.options()).await.unwrap();
    let options = database.options();
    let site = Site::with(database, options).await;
    assert_eq!(site.store.triggers(), Triggers::Present);
    timeout(SOON, site.store.changes().notified()).await.unwrap();
    site
}

async fn wakes(site: &Site, what: &str) {
    let woken = timeout(SOON, site.store.changes().notified()).await;
    assert!(woken.is_ok(), "{what}");
}

#[tokio::test]
async fn every_change_of_its_business_wakes_the_dispatcher() {
    let site = listening_site().await;
    let system = registered(&site, "a").await;
    wakes(&site, "registration").await;
    let action = scheduled(&site, &[system], "one").await;
    wakes(&site, "new action").await;
    site.satellite.set_status(action, system, 1).await;
    wakes(&site, "picked up").await;
    site.satellite
        .run("UPDATE rhnAction SET earliest_action = earliest_action + interval '1 h'")
        .await;
    wakes(&site, "postponed").await;
    site.register_osad_jid(system, &jid("b"), at(1)).await.unwrap();
    wakes(&site, "other JID").await;
    site.satellite
        .run("UPDATE rhnPushClient SET last_ping_time = now(), next_action_time = NULL")
        .await;
    wakes(&site, "ping wanted").await;
}

#[tokio::test]
async fn what_the_dispatcher_does_itself_wakes_nobody() {
    let site = listening_site().await;
    let system = registered(&site, "a").await;
    let mut listener = Satellite::listening(&site.database, "osa_changed").await;

    record(&site, system, 1, [Step::Online(true), Step::Heard, Step::Online(false)]).await;
    site.satellite.run("UPDATE rhnServerAction SET result_msg = 'x'").await;

    // What was told before it would be heard before it.
    site.satellite.run("NOTIFY osa_changed, 'end'").await;
    assert_eq!(listener.next().await, "end");
}

#[tokio::test]
async fn renewed_registration_of_a_connected_system_is_told() {
    let site = listening_site().await;
    let system = registered(&site, "a").await;
    record(&site, system, 1, [Step::Online(true)]).await;
    wakes(&site, "registration").await;
    assert_eq!(site.changed_systems().await.unwrap().renewed, []);

    site.register_osad(system, &ClientName("new".to_owned()), &Secret::new("k"), at(2))
        .await
        .unwrap();

    for _ in 0..100 {
        let renewed = site.changed_systems().await.unwrap().renewed;
        if !renewed.is_empty() {
            assert_eq!(renewed, [system]);
            return;
        }
        wakes(&site, "renewed").await;
    }
    panic!("not told");
}

#[tokio::test]
async fn listening_goes_on_after_its_connection_is_lost() {
    let site = listening_site().await;
    site.satellite
        .run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN osa_changed' \
              AND datname = current_database()",
        )
        .await;

    // Making it anew wakes: something may have been missed.
    wakes(&site, "listening anew").await;
    let system = registered(&site, "a").await;
    wakes(&site, "registration").await;
    scheduled(&site, &[system], "one").await;
    wakes(&site, "new action").await;
}

#[tokio::test]
async fn triggers_can_be_taken_away_and_put_back() {
    let site = listening_site().await;
    administration::install_notify(&site.options).await.unwrap();
    site.satellite
        .run("ALTER TABLE rhnAction DISABLE TRIGGER osa_action_postponed")
        .await;
    assert_eq!(triggers(&site).await, Triggers::Outdated);

    administration::remove_notify(&site.options).await.unwrap();
    administration::remove_notify(&site.options).await.unwrap();

    let left: i64 = site
        .satellite
        .one(
            "SELECT (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'osa%') + \
              (SELECT count(*) FROM pg_proc WHERE proname LIKE 'osa%')",
        )
        .await;
    assert_eq!(left, 0);
    assert_eq!(triggers(&site).await, Triggers::Absent);
    administration::install_notify(&site.options).await.unwrap();
    assert_eq!(triggers(&site).await, Triggers::Present);
}

async fn triggers(site: &Site) -> Triggers {
    let found = PostgresStore::open(&site.options).await.unwrap().triggers();
    assert_eq!(administration::triggers(&site.options).await.unwrap(), found);
    found
}

/// The first version's triggers had one function, and a constant payload.
#[tokio::test]
async fn triggers_of_the_first_version_are_known_serve_and_are_replaced() {
    let site = listening_site().await;
    administration::remove_notify(&site.options).await.unwrap();
    site.satellite
        .run(
            "CREATE FUNCTION osa_notify() RETURNS trigger LANGUAGE plpgsql AS $$ \
               BEGIN NOTIFY osa_changed; RETURN NULL; END $$; \
             CREATE TRIGGER osa_action_assigned AFTER INSERT ON rhnServerAction \
               FOR EACH STATEMENT EXECUTE PROCEDURE osa_notify(); \
             CREATE TRIGGER osa_action_moved AFTER UPDATE ON rhnServerAction \
               FOR EACH ROW WHEN (NEW.status IS DISTINCT FROM OLD.status) EXECUTE PROCEDURE osa_notify(); \
             CREATE TRIGGER osa_action_postponed AFTER UPDATE ON rhnAction \
               FOR EACH ROW WHEN (NEW.earliest_action IS DISTINCT FROM OLD.earliest_action) \
               EXECUTE PROCEDURE osa_notify(); \
             CREATE TRIGGER osa_client_changed AFTER UPDATE ON rhnPushClient \
               FOR EACH ROW WHEN (NEW.name IS DISTINCT FROM OLD.name) EXECUTE PROCEDURE osa_notify()",
        )
        .await;
    assert_eq!(triggers(&site).await, Triggers::Outdated);
    let system = registered(&site, "a").await;

    let action = scheduled(&site, &[system], "one").await;

    wakes(&site, "new action").await;
    assert_eq!(site.changed_systems().await.unwrap().systems, [system]);
    site.satellite.set_status(action, system, 1).await;
    wakes(&site, "picked up").await;
    administration::install_notify(&site.options).await.unwrap();
    assert_eq!(triggers(&site).await, Triggers::Present);
    let old: i64 = site
        .satellite
        .one("SELECT count(*) FROM pg_proc WHERE proname = 'osa_notify'")
        .await;
    assert_eq!(old, 0);
}

/// Their functions were as they are now, their conditions kept the Satellite's columns as they were.
#[tokio::test]
async fn triggers_with_conditions_are_known_as_outdated() {
    let site = listening_site().await;
    site.satellite
        .run(
            "DROP TRIGGER osa_action_moved ON rhnServerAction; \
             CREATE TRIGGER osa_action_moved AFTER UPDATE ON rhnServerAction \
               FOR EACH ROW WHEN (NEW.status IS DISTINCT FROM OLD.status) EXECUTE PROCEDURE osa_action_moved()",
        )
        .await;

    assert_eq!(triggers(&site).await, Triggers::Outdated);

    administration::install_notify(&site.options).await.unwrap();
    assert_eq!(triggers(&site).await, Triggers::Present);
}

/// In one session, and beside those of programs that were not restarted. (The Satellite's own trigger keeps `status` a number.)
#[tokio::test]
async fn a_schema_upgrade_of_the_satellites_meets_no_trigger() {
    let site = listening_site().await;
    let system = registered(&site, "a").await;
    let action = scheduled(&site, &[system], "one").await;
    site.satellite.set_status(action, system, 1).await;
    record(&site, system, 1, [Step::Online(true), Step::Heard]).await;
    assert_eq!(site.clients_by_jid(&jid("a")).await.unwrap().len(), 1);

    for (table, column, kind) in [
        ("rhnPushClient", "jabber_id", "varchar(256)"),
        ("rhnPushClient", "shared_key", "text"),
        ("rhnServerAction", "status", "numeric(3)"),
        ("rhnServerAction", "server_id", "bigint"),
        ("rhnServerAction", "action_id", "bigint"),
        ("rhnAction", "earliest_action", "timestamptz(3)"),
    ] {
        let change = format!("ALTER TABLE {table} ALTER {column} TYPE {kind}");
        site.satellite.run(&change).await;
    }

    assert_eq!(triggers(&site).await, Triggers::Present);
    while timeout(Duration::from_millis(100), site.store.changes().notified())
        .await
        .is_ok()
    {}
    site.satellite.set_status(action, system, 0).await;
    wakes(&site, "queued again").await;
    scheduled(&site, &[system], "two").await;
    wakes(&site, "new action").await;
    site.satellite
        .run("UPDATE rhnAction SET earliest_action = earliest_action + interval '1 h'")
        .await;
    wakes(&site, "postponed").await;
    site.register_osad_jid(system, &jid("b"), at(1)).await.unwrap();
    wakes(&site, "other JID").await;
    record(&site, system, 2, [Step::Heard, Step::Online(false)]).await;
    assert_eq!(site.clients_by_jid(&jid("b")).await.unwrap().len(), 1);
}
