//! What triggers tell, and that it is looked at.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use osa::domain::ids::{ActionId, SystemId};
use osa::domain::push::request::{Entry, Step};
use osa::ports::push::PushStore;
use osa::store::postgres::{Triggers, administration};
use tokio::time::{sleep, timeout};

use super::cluster::Database;
use super::site::{Satellite, Site};
use crate::contract::{at, granted, number, record, registered, scheduled};

/// Longer than anything takes on a busy machine, and shorter than the sweep rests in these tests.
const PATIENCE: Duration = Duration::from_secs(240);

/// With triggers, and a listener that has begun.
async fn site_with_triggers(database: Database) -> Site {
    let mut options = database.options();
    options.deadline = PATIENCE;
    administration::migrate(&options).await.unwrap();
    administration::install_notify(&options).await.unwrap();
    let site = Site::with(database, options).await;
    assert_eq!(site.store.triggers(), Triggers::Present);
    timeout(PATIENCE, site.store.changes().notified()).await.unwrap();
    site
}

/// What the statements, as one transaction, tell.
fn payloads(site: &Site, text: &str) -> Vec<String> {
    let output = site
        .database
        .psql()
        .args(["-c", "LISTEN osa_changed", "-c", text])
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    assert!(output.status.success(), "{text}: {output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let payload = |line: &str| Some(line.split_once("with payload \"")?.1.split('"').next()?.to_owned());
    let mut payloads: Vec<String> = said.lines().filter_map(payload).collect();
    payloads.sort();
    payloads
}

#[tokio::test]
async fn transaction_tells_each_action_and_each_bucket_once() {
    let site = site_with_triggers(Database::satellite()).await;
    let text = "INSERT INTO rhnServer (id, digital_server_id, secret, name) \
           SELECT id, 'ID-' || id, 's', id FROM generate_series(4096000, 4096000 + 9999) id; \
         INSERT INTO rhnAction (id, action_type, earliest_action) \
           SELECT id, 30, now() FROM generate_series(1, 3) id; \
         INSERT INTO rhnServerAction (server_id, action_id, status) \
           SELECT s.id, a.id, 0 FROM rhnAction a, rhnServer s";
    assert_eq!(payloads(&site, text), ["a1", "a2", "a3"]);

    let moved = payloads(&site, "UPDATE rhnServerAction SET status = 1");
    assert_eq!(moved.len(), 4_096);
    assert!(moved.iter().all(|payload| payload.starts_with('s')));
    let one = "UPDATE rhnServerAction SET status = 2 WHERE server_id = 4096003 AND action_id < 3";
    assert_eq!(payloads(&site, one), ["s3"]);
    let postponed = payloads(
        &site,
        "UPDATE rhnAction SET earliest_action = earliest_action + interval '1 h'",
    );
    assert_eq!(postponed, ["a1", "a2", "a3"]);

    let silent = "UPDATE rhnServerAction SET result_msg = 'x'; UPDATE rhnAction SET name = 'x'; \
         UPDATE rhnServer SET info = 'x'";
    assert!(payloads(&site, silent).is_empty());
}

/// Whoever changes the Satellite's tables needs no right that it did not need without triggers.
#[tokio::test]
async fn triggers_ask_nothing_of_who_fires_them() {
    let site = site_with_triggers(Database::satellite()).await;
    let system = registered(&site, "a").await;
    let action = scheduled(&site, &[system], "one").await;
    let role = format!("plain_{}", site.database.name);

    let told = payloads(
        &site,
        &format!(
            "CREATE ROLE {role}; GRANT SELECT (id), UPDATE (earliest_action) ON rhnAction TO {role}; \
             GRANT USAGE ON SCHEMA public TO {role}; GRANT SELECT (action_id), UPDATE (status) ON rhnServerAction TO {role}; \
             SET LOCAL ROLE {role}; SET LOCAL search_path = pg_temp; \
             UPDATE public.rhnAction SET earliest_action = now() WHERE id = {action}; \
             UPDATE public.rhnServerAction SET status = 3 WHERE action_id = {action}; \
             RESET ROLE; RESET search_path; DROP OWNED BY {role}; DROP ROLE {role}"
        ),
    );

    assert_eq!(told, [format!("a{action}"), format!("s{}", system.0 % 4_096)]);
}

/// So many systems are connected that the sweep takes four steps.
const SYSTEMS: i64 = 2_000;
/// Ids of systems with something to come.
const RESCHEDULED: SystemId = SystemId(1_500);
const CHAINED: SystemId = SystemId(1_600);
const POSTPONED: SystemId = SystemId(1_700);

/// Old actions: one that is queued everywhere, one that failed, a chain of two, one for tomorrow, and one of
/// nobody's.
fn fill(database: &Database) {
    database.sql(&format!(
        "INSERT INTO rhnServer (id, digital_server_id, secret, name) \
           SELECT n, 'ID-' || n, 's', 'system ' || n FROM generate_series(1, {SYSTEMS}) n; \
         INSERT INTO rhnPushClient (id, name, server_id, jabber_id, shared_key, state_id) \
           SELECT id, 'client ' || id, id, 'osad-' || id || '@a/osad', 'k', \
             (SELECT id FROM rhnPushClientState WHERE label = 'offline') FROM rhnServer; \
         INSERT INTO rhnAction (id, action_type, earliest_action, prerequisite) VALUES (1, 30, now(), NULL), \
           (2, 30, now(), NULL), (3, 30, now(), NULL), (4, 30, now(), 3), \
           (5, 30, now() + interval '1 day', NULL), (6, 30, now(), NULL); \
         INSERT INTO rhnServerAction (server_id, action_id, status) SELECT id, 1, 0 FROM rhnServer \
           UNION VALUES ({RESCHEDULED}, 2, 3), ({CHAINED}, 3, 1), ({CHAINED}, 4, 0), ({POSTPONED}, 5, 0)"
    ));
}

/// Asks as the poller does, when it is woken, until all of these are told; what was told.
async fn told(site: &Site, wanted: &[SystemId]) -> BTreeSet<SystemId> {
    let mut told = BTreeSet::new();
    let ask = async {
        loop {
            told.extend(site.store.changed_systems().await.unwrap().systems);
            if wanted.iter().all(|system| told.contains(system)) {
                return;
            }
            site.store.changes().notified().await;
        }
    };
    let is_told = timeout(PATIENCE, ask).await.is_ok();
    assert!(is_told, "of {} only {} are told: {told:?}", wanted.len(), told.len());
    told
}

/// Has the sweep wait for a lock: for each second that it takes, it rests for 49, which is longer than this test lasts.
async fn exhaust_the_sweep(site: &Site) {
    let is_over = AtomicBool::new(false);
    let hold = async {
        let locker = Satellite::at(&site.database).await;
        locker
            .run("BEGIN; LOCK TABLE rhnServerAction IN ACCESS EXCLUSIVE MODE")
            .await;
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND wait_event_type = 'Lock' AND query LIKE '%hashtext%'";
        while site.satellite.one::<i64>(waiting).await == 0 {
            sleep(Duration::from_millis(20)).await;
        }
        sleep(Duration::from_secs(3)).await;
        is_over.store(true, Ordering::SeqCst);
        locker.run("COMMIT").await;
    };
    let sweep = async {
        while !is_over.load(Ordering::SeqCst) {
            site.store.changed_systems().await.unwrap();
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::join!(hold, sweep);
}

#[tokio::test]
async fn hint_finds_what_the_sweep_has_no_time_for() {
    let database = Database::satellite();
    fill(&database);
    let site = site_with_triggers(database).await;
    let systems: Vec<SystemId> = (1..=SYSTEMS).map(SystemId).collect();
    let online = |&system: &SystemId| crate::postgres::step(system, 0, Step::Online(true));
    site.store.start_node("one", at(0)).await.unwrap();
    // That nobody listened before is looked into while nobody is connected.
    site.store.changed_systems().await.unwrap();
    let steps: Vec<Entry> = systems.iter().map(online).collect();
    site.store.record(&steps).await.unwrap();
    assert_eq!(site.store.push_records(&systems).await.unwrap().len(), systems.len());
    exhaust_the_sweep(&site).await;

    site.satellite.set_status(ActionId(2), RESCHEDULED, 0).await;
    site.satellite.set_status(ActionId(3), CHAINED, 2).await;
    site.satellite
        .run("UPDATE rhnAction SET earliest_action = now() WHERE id = 5")
        .await;

    let expected = [RESCHEDULED, CHAINED, POSTPONED];
    assert_eq!(told(&site, &expected).await, expected.into());

    // One more system for an old action.
    site.satellite
        .run("INSERT INTO rhnServerAction (server_id, action_id, status) VALUES (7, 6, 0)")
        .await;
    assert_eq!(told(&site, &[SystemId(7)]).await, [SystemId(7)].into());
}

/// Own writes that a trigger could take for the Satellite's.
#[tokio::test]
async fn own_writes_tell_nothing() {
    let site = site_with_triggers(Database::satellite()).await;
    let system = registered(&site, "a").await;
    site.store.start_node("one", at(0)).await.unwrap();
    let mut listener = Satellite::listening(&site.database, "osa_changed").await;

    record(&site, system, 1, [Step::Online(true), Step::Heard]).await;
    granted(&site, system, 1, 1).await;
    record(&site, system, 2, [Step::Received(number(1))]).await;
    site.satellite
        .run("UPDATE rhnPushClient SET last_ping_time = now(), next_action_time = NULL")
        .await;
    assert_eq!(listener.next().await, format!("c{}", system.0 % 4_096));
    assert_eq!(site.store.changed_systems().await.unwrap().pinged, [system]);
    site.store.settle_presence(&[], at(60)).await.unwrap();
    site.satellite.run("NOTIFY osa_changed, 'end'").await;

    assert_eq!(listener.next().await, "end");
}
