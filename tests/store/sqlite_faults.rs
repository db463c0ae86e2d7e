//! What can befall a file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use osa::domain::ids::SystemId;
use osa::domain::push::request::Step;
use osa::ports::accounts::Accounts;
use osa::ports::inventory::Inventory;
use osa::ports::push::PushStore;
use osa::ports::store::StoreError;
use osa::store::sqlite::{SqliteOptions, SqliteStore, revert_schema};
use tempfile::TempDir;

use crate::contract::{at, pending, record, registered, scheduled};

pub fn options(directory: &TempDir) -> SqliteOptions {
    SqliteOptions {
        busy_timeout: Duration::from_millis(20),
        ..SqliteOptions::at(directory.path().join("osa.db"))
    }
}

pub fn serve(options: &SqliteOptions) -> SqliteStore {
    SqliteStore::open_for_serving(options).unwrap()
}

/// The error of opening, which must be one line that names the file.
pub fn refusal(options: &SqliteOptions) -> StoreError {
    let Err(error) = SqliteStore::open_for_serving(options) else {
        panic!("opened");
    };
    let line = error.to_string();
    assert!(line.contains("osa.db") && !line.contains('\n'), "{line}");
    error
}

/// Another program at the same file.
pub fn stranger(path: &Path) -> SqliteConnection {
    SqliteConnection::establish(path.to_str().unwrap()).unwrap()
}

#[tokio::test]
async fn full_disk_refuses_writes_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let small = SqliteOptions {
        max_pages: Some(80),
        ..options(&directory)
    };
    let mut written = 0;
    {
        let store = serve(&small);
        let error = loop {
            match store
                .create_account(&format!("osad-{written}"), &"x".repeat(500), at(0))
                .await
            {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
            assert!(written < 5_000, "never full");
        };

        assert!(matches!(error, StoreError::Full(_)), "{error}");
        assert!(error.is_transient());
        assert_eq!(store.accounts().await.unwrap().len(), written);
        store.remove_account("osad-0").await.unwrap();
    }
    let store = serve(&options(&directory));
    assert_eq!(store.accounts().await.unwrap().len(), written - 1);
    store.create_account("osad-more", "x", at(0)).await.unwrap();
}

#[tokio::test]
async fn file_that_is_no_database_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    fs::write(
        &options.path,
        "These are not the pages you are looking for. ".repeat(200),
    )
    .unwrap();

    assert!(matches!(refusal(&options), StoreError::Damaged(_)));
}

#[tokio::test]
async fn database_with_overwritten_pages_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    drop(serve(&options));
    let mut bytes = fs::read(&options.path).unwrap();
    let half = bytes.len() / 2;
    bytes.get_mut(4096 * 3..half).unwrap().fill(0xa5);
    fs::write(&options.path, bytes).unwrap();

    assert!(matches!(refusal(&options), StoreError::Damaged(_)));
}

#[tokio::test]
async fn truncated_database_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    drop(serve(&options));
    let bytes = fs::read(&options.path).unwrap();
    fs::write(&options.path, bytes.get(..bytes.len() / 2).unwrap()).unwrap();

    assert!(matches!(refusal(&options), StoreError::Damaged(_)));
}

#[tokio::test]
async fn database_of_a_later_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    drop(serve(&options));
    stranger(&options.path)
        .batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('9001')")
        .unwrap();

    let error = refusal(&options);

    assert!(
        matches!(&error, StoreError::Newer { found, .. } if found == "9001"),
        "{error}"
    );
}

#[tokio::test]
async fn nobody_else_can_read_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteOptions::at(directory.path().join("new/osa.db"));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;

    let store = serve(&options);

    store.create_account("osad-a", "x", at(0)).await.unwrap();
    assert_eq!(mode(directory.path().join("new")), 0o700);
    for file in ["osa.db", "osa.db-wal", "osa.db-shm", "osa.db.lock"] {
        assert_eq!(mode(directory.path().join("new").join(file)), 0o600, "{file}");
    }
    drop(store);
    fs::set_permissions(&options.path, fs::Permissions::from_mode(0o644)).unwrap();
    drop(serve(&options));
    assert_eq!(mode(options.path), 0o600);
}

#[tokio::test]
async fn path_below_a_file_is_inaccessible() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    let options = SqliteOptions::at(directory.path().join("file/osa.db"));

    let error = refusal(&options);

    assert!(matches!(error, StoreError::Inaccessible { .. }), "{error}");
}

#[tokio::test]
async fn migrations_can_be_undone_and_done_again() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    registered(&serve(&options), "a").await;

    revert_schema(&options.path).unwrap();

    let left = stranger(&options.path).batch_execute("SELECT 1 FROM rhnServer");
    assert!(left.is_err());
    assert!(serve(&options).systems().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let system = registered(&serve(&options), "a").await;

    let store = serve(&options);

    assert_eq!(store.system_by_name("a").await.unwrap().map(|row| row.id), Some(system));
}

#[tokio::test]
async fn pruned_pages_go_back_to_the_file_system() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let grown = {
        let store = serve(&options);
        let system = registered(&store, "a").await;
        for request in 1..=2_500 {
            let steps = [
                Step::Sent(osa::domain::ids::RequestNumber(request)),
                Step::Received(osa::domain::ids::RequestNumber(request)),
            ];
            crate::contract::granted(&store, system, request, 0).await;
            record(&store, system, 0, steps).await;
        }
        drop(store);
        fs::metadata(&options.path).unwrap().len()
    };

    let store = serve(&options);
    assert_eq!(store.prune(at(1)).await.unwrap(), 2_500);
    drop(store);

    let shrunk = fs::metadata(&options.path).unwrap().len();
    assert!(shrunk < grown * 3 / 4, "{grown} -> {shrunk}");
}

#[tokio::test]
async fn log_is_copied_back_while_serving() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let store = serve(&options);
    let size = || fs::metadata(&options.path).unwrap().len();
    let before = size();

    for _ in 0..600 {
        record(&store, SystemId(1), 0, [Step::Heard]).await;
    }

    while size() == before {
        store.accounts().await.unwrap();
    }
}

#[tokio::test]
async fn closed_database_is_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);

    drop(serve(&options));

    assert!(!directory.path().join("osa.db-wal").exists());
}

#[tokio::test]
async fn scheduling_wakes_at_the_commit() {
    let directory = tempfile::tempdir().unwrap();
    let store = serve(&options(&directory));
    let system = registered(&store, "a").await;
    let changes = store.changes();
    let woken = async || tokio::time::timeout(Duration::from_secs(10), changes.notified()).await;
    woken().await.unwrap();

    let systems = [system];
    let (action, woken) = tokio::join!(scheduled(&store, &systems, "one"), woken());

    woken.unwrap();
    assert_eq!(
        pending(&store, system).await.first().map(|pending| pending.id),
        Some(action)
    );
}
