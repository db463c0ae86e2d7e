//! What happens to the database's file under a running dispatcher.

use std::fs;

use crate::agents::{Logged, site_with_ports};

#[test]
fn replaced_database_ends_the_dispatcher_so_that_the_new_one_is_used() {
    let site = site_with_ports();
    let mut dispatcher = Logged::start(&site);
    let (database, backup) = (site.path("data").join("osa.sqlite3"), site.path("backup"));
    fs::copy(&database, &backup).unwrap();

    fs::rename(&backup, &database).unwrap();
    let (code, last) = dispatcher.end();

    assert_eq!(code, Some(75));
    assert!(last.contains("was replaced under the running dispatcher"), "{last}");
    Logged::start(&site);
}

#[test]
fn deleted_database_is_said_once_and_served_on() {
    let site = site_with_ports();
    let mut dispatcher = Logged::start(&site);
    let (database, aside) = (site.path("data").join("osa.sqlite3"), site.path("aside"));
    let state = || site.run(["status", "--json"]).json()["running"]["database"].clone();
    assert_eq!(state(), "ok");

    fs::rename(&database, &aside).unwrap();
    let said = dispatcher.wait_for("database_deleted", "");

    assert!(said["message"].as_str().unwrap().contains("-wal"), "{said}");
    assert_eq!(state(), "deleted");
    let added = site.run(["systems", "add", "web-1", "--out", site.path("").to_str().unwrap()]);
    assert_eq!(added.code, Some(0), "{added:?}");
}
