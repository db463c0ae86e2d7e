//! What holds beside a Satellite: its rows decide, and none but those of push is written.

use std::time::{Duration, Instant};

use osa::domain::ids::{ActionId, ClientName, SystemId};
use osa::domain::push::action::{ActionKind, PendingAction, Progress};
use osa::domain::push::client::RunEnd;
use osa::domain::push::request::{ClaimOutcome, Step};
use osa::domain::secret::Secret;
use osa::ports::inventory::{Inventory, NewAction};
use osa::ports::push::PushStore;
use osa::ports::registrations::Registrations;
use osa::ports::store::StoreError;
use osa::store::postgres::PostgresStore;

use super::cluster::Database;
use super::site::Site;
use crate::contract::{
    answered, at, behind, claim, due, granted, jid, number, pending, push_record, record, registered, report, scheduled,
};

fn ids(actions: &[PendingAction]) -> Vec<ActionId> {
    actions.iter().map(|action| action.id).collect()
}

async fn set_type(site: &Site, action: ActionId, label: &str) {
    let text = format!(
        "UPDATE rhnAction SET action_type = (SELECT id FROM rhnActionType WHERE label = '{label}') WHERE id = {action}"
    );
    site.satellite.run(&text).await;
}

#[tokio::test]
async fn action_rows_are_never_written() {
    let site = Site::satellite().await;
    let system = registered(&site, "a").await;
    scheduled(&site, &[system], "one").await;
    let rows = "SELECT coalesce(string_agg(x::text || sa.xmin::text || a.xmin::text, ' '), '') \
         FROM rhnServerAction sa JOIN rhnAction a ON a.id = sa.action_id, LATERAL (SELECT sa.*) x";
    let before: String = site.satellite.one(rows).await;
    assert!(!before.is_empty());

    let covered = due(&site, system).await;
    answered(&site, system, 1, 0).await;
    record(&site, system, 1, [report(1, 1, RunEnd::Exited(0))]).await;
    answered(&site, system, 2, 2).await;
    record(&site, system, 3, [report(2, 2, RunEnd::Exited(1))]).await;
    granted(&site, system, 3, 4).await;
    let steps = [Step::Received(number(3)), Step::Delivered(number(3), covered)];
    record(&site, system, 70, steps).await;

    assert_eq!(site.satellite.one::<String>(rows).await, before);
}

#[tokio::test]
async fn what_must_wait_is_left_out() {
    let site = Site::satellite().await;
    let system = registered(&site, "a").await;
    let first = scheduled(&site, &[system], "first").await;
    let second = behind(&site, &[system], "second", Some(first)).await;
    let update = scheduled(&site, &[system], "update").await;
    set_type(&site, update, "packages.update").await;

    assert_eq!(ids(&pending(&site, system).await), [first, update]);
    site.satellite
        .run(&format!("INSERT INTO rhnServerLock (server_id) VALUES ({system})"))
        .await;
    assert_eq!(ids(&pending(&site, system).await), [first]);
    site.satellite.set_status(first, system, 2).await;
    assert_eq!(ids(&pending(&site, system).await), [second]);
    site.satellite.run("DELETE FROM rhnServerLock").await;
    assert_eq!(ids(&pending(&site, system).await), [second, update]);
}

#[tokio::test]
async fn picked_up_reboot_is_told_even_if_its_system_is_locked() {
    let site = Site::satellite().await;
    let system = registered(&site, "a").await;
    let reboot = scheduled(&site, &[system], "reboot").await;
    set_type(&site, reboot, "reboot.reboot").await;
    site.satellite.set_status(reboot, system, 1).await;
    site.satellite
        .run(&format!("INSERT INTO rhnServerLock (server_id) VALUES ({system})"))
        .await;
    let picked_up: f64 = site
        .satellite
        .one("SELECT extract(epoch FROM pickup_time)::float8 FROM rhnServerAction")
        .await;

    let told = pending(&site, system).await.remove(0);

    assert_eq!(told.kind, ActionKind::Reboot);
    let Progress::PickedUp(since) = told.progress else {
        panic!("{told:?}");
    };
    assert!(
        (since.as_millis() as f64 / 1000.0 - picked_up).abs() < 0.002,
        "{since:?} {picked_up}"
    );
}

#[tokio::test]
async fn last_change_follows_pick_up_completion_and_failure() {
    let site = Site::satellite().await;
    let system = registered(&site, "a").await;
    let one = scheduled(&site, &[system], "one").await;
    let two = scheduled(&site, &[system], "two").await;
    let mut before = None;
    assert_eq!(site.work(&[system]).await.unwrap()[0].last_change, before);
    for (action, status) in [(one, 1), (two, 1), (one, 2), (two, 3)] {
        tokio::time::sleep(Duration::from_millis(5)).await;
        site.satellite.set_status(action, system, status).await;

        let now = site.work(&[system]).await.unwrap()[0].last_change;

        assert!(now > before, "{status}");
        before = now;
    }
}

#[tokio::test]
async fn action_has_another_version_when_its_row_or_its_time_changes() {
    let site = Site::satellite().await;
    let system = registered(&site, "a").await;
    let action = scheduled(&site, &[system], "one").await;
    let version = async || pending(&site, system).await.remove(0).version;
    let scheduled = version().await;
    assert_eq!(version().await, scheduled);

    site.satellite.set_status(action, system, 3).await;
    site.satellite.set_status(action, system, 0).await;

    let queued_anew = version().await;
    assert_ne!(queued_anew.row, scheduled.row);
    site.satellite
        .run("UPDATE rhnAction SET earliest_action = earliest_action + interval '1 s'")
        .await;
    let postponed = version().await;
    assert_eq!((postponed.row, postponed.earliest), (queued_anew.row, at(1)));
}

#[tokio::test]
async fn answered_versions_are_remembered_while_they_are_pending() {
    let site = Site::satellite().await;
    let system = registered(&site, "a").await;
    let action = scheduled(&site, &[system], "one").await;
    granted(&site, system, 1, 0).await;
    record(&site, system, 1, [Step::Received(number(1))]).await;
    scheduled(&site, &[system], "only lost").await;
    granted(&site, system, 2, 2).await;

    let covered = push_record(&site, system).await.covered;
    assert_eq!(
        covered.iter().map(|covered| covered.action).collect::<Vec<_>>(),
        [action]
    );
    site.satellite.set_status(action, system, 2).await;
    assert_eq!(push_record(&site, system).await.covered, []);
}

#[tokio::test]
async fn new_action_is_told_even_if_it_was_committed_late() {
    let site = Site::satellite().await;
    let system = registered(&site, "a").await;
    let changed = async || site.changed_systems().await.unwrap().systems;
    assert_eq!(changed().await, []);
    let late: i64 = site.satellite.one("SELECT nextval('rhn_event_id_seq')").await;

    scheduled(&site, &[system], "newer").await;

    assert_eq!(changed().await, [system]);
    assert_eq!(changed().await, []);
    let text = format!(
        "BEGIN; INSERT INTO rhnAction (id, action_type, earliest_action) VALUES ({late}, 30, now()); \
         INSERT INTO rhnServerAction (server_id, action_id, status) VALUES ({system}, {late}, 0); COMMIT"
    );
    site.satellite.run(&text).await;
    assert_eq!(changed().await, [system]);
}

/// Asks until something is told: the comparison rests in proportion to what it took.
async fn told(site: &Site) -> Vec<SystemId> {
    let end = Instant::now() + Duration::from_secs(240);
    while Instant::now() < end {
        let systems = site.changed_systems().await.unwrap().systems;
        if !systems.is_empty() {
            return systems;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing was told");
}

#[tokio::test]
async fn every_change_of_a_connected_systems_actions_is_told() {
    let site = Site::satellite().await;
    let system = registered(&site, "a").await;
    let action = scheduled(&site, &[system], "one").await;
    record(&site, system, 0, [Step::Online(true)]).await;
    assert_eq!(told(&site).await, [system]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    site.changed_systems().await.unwrap();
    for status in [1, 3, 0] {
        site.satellite.set_status(action, system, status).await;
        assert_eq!(told(&site).await, [system], "{status}");
    }
    site.cancel(action, system).await.unwrap();
    assert_eq!(told(&site).await, [system]);
}

#[tokio::test]
async fn pings_of_the_web_interface_are_taken_once_and_end() {
    let site = Site::satellite().await;
    let system = registered(&site, "a").await;
    let offline = registered(&site, "offline").await;
    site.start_node("one", at(0)).await.unwrap();
    record(&site, system, 0, [Step::Online(true)]).await;
    site.satellite
        .run("UPDATE rhnPushClient SET last_ping_time = now(), next_action_time = NULL")
        .await;

    let changes = site.changed_systems().await.unwrap();

    assert_eq!(changes.pinged, [system]);
    let waits = "SELECT next_action_time BETWEEN now() + interval '50 s' AND now() + interval '60 s' \
         FROM rhnPushClient WHERE server_id = ";
    assert!(site.satellite.one::<bool>(&format!("{waits}{system}")).await);
    let untouched = format!("SELECT next_action_time IS NULL FROM rhnPushClient WHERE server_id = {offline}");
    assert!(site.satellite.one::<bool>(&untouched).await);
    site.satellite
        .run("UPDATE rhnPushClient SET next_action_time = now() - interval '1 s'")
        .await;
    tokio::time::sleep(Duration::from_millis(5_100)).await;
    assert_eq!(site.changed_systems().await.unwrap().pinged, []);
    assert_eq!(site.satellite.state(system).await, "offline");
    site.settle_presence(&[(system, true)], at(60)).await.unwrap();
    assert_eq!(site.satellite.state(system).await, "offline");
    record(&site, system, 61, [Step::Heard]).await;
    assert_eq!(site.satellite.state(system).await, "online");
    let cleared = format!("SELECT last_ping_time IS NULL FROM rhnPushClient WHERE server_id = {system}");
    assert!(site.satellite.one::<bool>(&cleared).await);
}

#[tokio::test]
async fn of_several_rows_with_one_jid_the_one_that_last_signed_lives_else_the_newest() {
    let site = Site::satellite().await;
    let old = registered(&site, "old").await;
    let new = registered(&site, "new").await;
    site.satellite
        .run("UPDATE rhnPushClient SET jabber_id = 'same@b/osad'")
        .await;
    let owner = async || site.clients_by_jid("same@b/osad").await.unwrap()[0].system;
    assert_eq!(owner().await, new);

    site.start_node("one", at(0)).await.unwrap();
    record(&site, old, 5, [Step::Heard]).await;

    assert_eq!(owner().await, old);
    site.register_osad(old, &ClientName("other".to_owned()), &Secret::new("k"), at(9))
        .await
        .unwrap();
    assert_eq!(owner().await, old, "what it has shown outlives its name");
}

#[tokio::test]
async fn of_systems_with_one_name_the_newest_is_meant() {
    let site = Site::satellite().await;
    let secret = Secret::new("s");
    site.add_system("web", &secret, at(0)).await.unwrap();
    let anew = site.add_system("web", &secret, at(1)).await.unwrap();

    let meant = site.system_by_name("web").await.unwrap();

    assert_eq!(
        meant.map(|system| system.id),
        Some(anew),
        "a profile that was registered anew"
    );
}

#[tokio::test]
async fn jid_is_found_wherever_it_moved() {
    let site = Site::satellite().await;
    let old = registered(&site, "old").await;
    let new = registered(&site, "new").await;
    assert_eq!(site.clients_by_jid(&jid("old")).await.unwrap()[0].system, old);

    site.register_osad_jid(new, &jid("old"), at(1)).await.unwrap();

    assert_eq!(site.clients_by_jid(&jid("old")).await.unwrap()[0].system, new);
    assert_eq!(site.clients_by_jid(&jid("new")).await.unwrap(), []);
}

#[tokio::test]
async fn only_systems_with_the_default_contact_method_have_work() {
    let site = Site::new(Database::satellite().apply("uyuni.sql")).await;
    let pushed = registered(&site, "pushed").await;
    let by_ssh = registered(&site, "by ssh").await;
    scheduled(&site, &[pushed, by_ssh], "one").await;

    site.satellite
        .run(&format!(
            "UPDATE rhnServer SET contact_method_id = 1 WHERE id = {by_ssh}"
        ))
        .await;

    assert_eq!(pending(&site, pushed).await.len(), 1);
    assert!(pending(&site, by_ssh).await.is_empty());
}

#[tokio::test]
async fn only_entitled_systems_have_work_and_unknown_labels_are_refused() {
    let site = Site::satellite().await;
    for wanted in ["enterprise_entitled", "ftr_osa_bus"] {
        let mut options = site.options.clone();
        options.entitlements = vec![wanted.to_owned()];
        let store = PostgresStore::open(&options).await.unwrap();
        let entitled = registered(&site, &format!("entitled {wanted}")).await;
        let other = registered(&site, &format!("other {wanted}")).await;
        scheduled(&site, &[entitled, other], "one").await;
        site.satellite
            .run(&format!(
                "INSERT INTO rhnServerGroupMembers VALUES ({entitled}, 1), ({other}, 2)"
            ))
            .await;

        let work = store.work(&[entitled, other]).await.unwrap();

        assert_eq!(
            work.iter().map(|work| work.actions.len()).collect::<Vec<_>>(),
            [1, 0],
            "{wanted}"
        );
    }
    let mut options = site.options.clone();
    options.entitlements = vec!["provisioning".to_owned()];
    let Err(error) = PostgresStore::open(&options).await else {
        panic!("opened");
    };
    let told = error.to_string();
    assert!(
        told.contains("push.entitlements names \"provisioning\"") && told.contains("virtualization_host"),
        "{told}"
    );
    assert!(!told.contains("name the Satellite's database"), "{told}");
    site.satellite.run("DROP VIEW rhnServerFeaturesView").await;
    let Err(error) = PostgresStore::open(&options).await else {
        panic!("opened");
    };
    let told = error.to_string();
    assert!(
        told.contains("lacks rhnserverfeaturesview") && told.contains("remove push.entitlements"),
        "{told}"
    );
}

#[tokio::test]
async fn what_is_the_satellites_is_refused() {
    let site = Site::satellite().await;
    let action = NewAction {
        name: "one".to_owned(),
        systems: Vec::new(),
        earliest: at(0),
        prerequisite: None,
    };

    let refused = site.store.schedule(&action, at(0)).await;

    assert!(matches!(refused, Err(StoreError::Satellites(_))), "{refused:?}");
    assert!(!refused.unwrap_err().is_transient());
    let system = registered(&site, "a").await;
    assert!(matches!(claim(&site, system, 1, 0).await, ClaimOutcome::Granted(_)));
}

#[tokio::test]
async fn dispatcher_checks_in_where_rows_have_a_port() {
    let site = Site::new(Database::satellite().apply("port.sql")).await;
    let jid = "rhn-dispatcher-sat@a/superclient";

    for hostname in ["old", "new"] {
        let password = Secret::new(hostname);
        site.store.check_in_dispatcher(jid, hostname, &password).await.unwrap();
    }

    let rows = site.store.dispatchers().await.unwrap();
    assert_eq!((rows.len(), rows[0].hostname.as_str()), (1, "new"));
    let kept: String = site.satellite.one("SELECT password FROM rhnPushDispatcher").await;
    assert_eq!(kept, "old");
}
