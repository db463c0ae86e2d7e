//! The rows by which a Satellite tells its clients of dispatchers, and everything of ours in its database, taken away.

use crate::agents::Logged;
use crate::beside_satellite::BesideSatellite;
use crate::site::Site;

const OWN: &str = "rhn-dispatcher-sat@localhost/superclient";
const OLD: &str = "rhn-dispatcher-sat@old.example/superclient";

fn with_old_row() -> BesideSatellite {
    let beside = BesideSatellite::usual();
    beside.database.sql(&format!(
        "INSERT INTO rhnPushDispatcher (id, jabber_id, hostname, last_checkin) \
         VALUES (nextval('rhn_pushdispatch_id_seq'), '{OLD}', 'old.example', current_timestamp)"
    ));
    beside
}

fn rows(beside: &BesideSatellite) -> String {
    beside
        .database
        .query("SELECT jabber_id FROM rhnPushDispatcher ORDER BY id")
}

#[test]
fn row_of_an_old_host_name_is_shown_and_removed_when_its_dispatcher_is_gone() {
    let beside = with_old_row();

    let shown = beside.site.run(["dispatchers", "list", "--json"]).json();
    assert_eq!((&shown[0]["jid"], &shown[0]["own"]), (&OWN.into(), &true.into()));
    assert_eq!((&shown[1]["jid"], &shown[1]["own"]), (&OLD.into(), &false.into()));
    let removal = || beside.site.run(["dispatchers", "remove", OLD]);
    removal().assert_failed(75, &["checked in as", OLD, "\"old.example\"", "stop"]);
    let days = "UPDATE rhnPushDispatcher SET last_checkin = last_checkin - interval '3 days'";
    beside.database.sql(&format!("{days} WHERE jabber_id = '{OLD}'"));
    let removed = removal();
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert_eq!(rows(&beside), OWN);
    removal().assert_failed(65, &["has no row", OLD, "dispatchers list"]);
}

#[test]
fn own_row_over_another_server_is_that_of_the_account_in_force() {
    let beside = with_old_row();
    let rotated = "rhn-dispatcher-sat-0123abcd@localhost/superclient";
    beside.database.sql(&format!(
        "INSERT INTO rhnPushDispatcher (id, jabber_id, hostname, last_checkin, password) \
         VALUES (nextval('rhn_pushdispatch_id_seq'), '{rotated}', 'localhost', current_timestamp, 'x')"
    ));
    let config = std::fs::read_to_string(beside.site.config()).unwrap();
    let config = config.replace(&format!("[xmpp]\nlisten = [\"{}\"]\n", beside.xmpp), "");
    let tls = beside.site.path("data/tls/ca.crt").display().to_string();
    let client = format!("transport = 'client'\n{config}\n[upstream]\nca = '{tls}'\n");
    std::fs::write(beside.site.config(), client).unwrap();

    let shown = beside.site.run(["dispatchers", "list", "--json"]).json();

    let own: Vec<_> = shown
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["own"] == true)
        .collect();
    assert_eq!((own.len(), &own[0]["jid"]), (1, &rotated.into()));
    beside
        .site
        .run(["dispatchers", "remove", rotated])
        .assert_failed(65, &["own row", "stays"]);
}

#[test]
fn own_row_of_a_dispatcher_stays() {
    let beside = with_old_row();

    beside
        .site
        .run(["dispatchers", "remove", OWN])
        .assert_failed(65, &["own row", "stays"]);

    assert_eq!(rows(&beside), format!("{OWN}\n{OLD}"));
}

#[test]
fn dispatchers_are_a_satellites() {
    Site::initialised()
        .run(["dispatchers", "list"])
        .assert_failed(78, &["there is no Satellite here", "--rhn-conf"]);
}

#[test]
fn everything_of_ours_is_taken_out_of_the_database_and_made_again() {
    let mut beside = BesideSatellite::start(&["migrate", "--install-notify"], "");
    let ours = "SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE 'osa\\_%') \
                + (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'osa\\_%') \
                + (SELECT count(*) FROM pg_proc WHERE proname LIKE 'osa\\_%')";
    let removal = || beside.site.run(["migrate", "--remove-tables"]);

    removal().assert_failed(75, &["a dispatcher uses these tables", "stop"]);
    assert_ne!(beside.database.query(ours), "0");
    beside.log.process.kill();
    let removed = removal();

    assert!(
        removed.out.ends_with(": tables are removed, triggers are removed\n"),
        "{removed:?}"
    );
    assert_eq!(beside.database.query(ours), "0");
    assert_eq!(removal().code, Some(0), "again");
    let made = beside.site.run(["migrate", "--json"]).json();
    assert_eq!(made["applied"], 1);
    beside.log = Logged::start(&beside.site);
}
