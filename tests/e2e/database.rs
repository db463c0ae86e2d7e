//! What happens to the database's file under a running dispatcher.

use std::fs;
use std::path::PathBuf;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};

use crate::agents::{Logged, site_with_ports};
use crate::site::Site;

/// The files of the data directory whose names begin like this.
fn files(site: &Site, beginning: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(site.path("data"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_one = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(beginning);
    entries.filter(is_one).collect()
}

fn add_system(site: &Site) {
    let added = site.run(["systems", "add", "web-1", "--out", site.path("").to_str().unwrap()]);
    assert_eq!(added.code, Some(0), "{added:?}");
}

fn schedule(site: &Site, times: usize) {
    for _ in 0..times {
        let scheduled = site.run(["schedule", "web-1"]);
        assert_eq!(scheduled.code, Some(0), "{scheduled:?}");
    }
}

fn back_up(site: &Site) -> PathBuf {
    let backup = site.path("backup");
    let mut database = SqliteConnection::establish(site.path("data/osa.sqlite3").to_str().unwrap()).unwrap();
    let copy = format!("VACUUM INTO '{}'", backup.display());
    database.batch_execute(&copy).unwrap();
    backup
}

#[test]
fn log_of_a_replaced_database_is_set_aside_and_not_copied_into_the_new_one() {
    let site = site_with_ports();
    let mut dispatcher = Logged::start(&site);
    add_system(&site);
    let backup = back_up(&site);
    schedule(&site, 20);

    fs::rename(&backup, site.path("data/osa.sqlite3")).unwrap();
    let (code, _) = dispatcher.end();

    assert_eq!(code, Some(75));
    assert_eq!(files(&site, "osa.sqlite3-wal.replaced-").len(), 1);
    assert!(!site.path("data/osa.sqlite3-wal").exists() && !site.path("data/osa.sqlite3-shm").exists());
    let _dispatcher = Logged::start(&site);
    let (systems, actions) = (site.run(["systems", "list", "--json"]), site.run(["actions", "--json"]));
    assert_eq!(systems.json()[0]["name"], "web-1");
    assert_eq!(actions.json().as_array().unwrap().len(), 0, "the restore was undone");
}

#[test]
fn log_of_a_killed_dispatcher_is_not_copied_into_a_restored_database() {
    let site = site_with_ports();
    let mut dispatcher = Logged::start(&site);
    add_system(&site);
    let backup = back_up(&site);
    schedule(&site, 20);
    dispatcher.process.kill();

    fs::rename(&backup, site.path("data/osa.sqlite3")).unwrap();

    for _ in 0..2 {
        site.run(["serve", "-N"])
            .assert_failed(65, &["osa.sqlite3-wal", "another database", "move it away"]);
    }
    fs::remove_file(site.path("data/osa.sqlite3-wal")).unwrap();
    let _dispatcher = Logged::start(&site);
    assert_eq!(site.run(["actions", "--json"]).json().as_array().unwrap().len(), 0);
}

#[test]
fn killed_dispatcher_goes_on_with_its_own_log() {
    let site = site_with_ports();
    let mut dispatcher = Logged::start(&site);
    add_system(&site);
    schedule(&site, 5);

    dispatcher.process.kill();

    assert!(site.path("data/osa.sqlite3-wal").exists());
    let _dispatcher = Logged::start(&site);
    assert_eq!(site.run(["actions", "--json"]).json().as_array().unwrap().len(), 5);
}

#[test]
fn empty_database_is_a_failed_restore_and_a_missing_one_is_made_and_said() {
    let site = site_with_ports();
    let database = site.path("data/osa.sqlite3");
    fs::write(&database, "").unwrap();

    site.run(["init"]).assert_failed(65, &["osa.sqlite3", "empty"]);
    site.run(["serve", "-N"])
        .assert_failed(65, &["osa.sqlite3", "empty", "restore"]);

    fs::remove_file(&database).unwrap();
    Logged::start(&site).seen("database_created");
}

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
