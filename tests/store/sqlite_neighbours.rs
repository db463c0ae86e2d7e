//! Other processes at the same file.

use diesel::connection::SimpleConnection;
use osa::domain::ids::SystemId;
use osa::domain::push::client::RunEnd;
use osa::domain::push::request::Step;
use osa::ports::accounts::Accounts;
use osa::ports::push::PushStore;
use osa::ports::store::StoreError;
use osa::store::sqlite::SqliteStore;

use crate::contract::{answered, at, jid, pending, record, registered, report, scheduled};
use crate::sqlite_faults::{options, refusal, serve, stranger};

#[tokio::test]
async fn lock_of_another_process_passes() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let store = serve(&options);
    let mut other = stranger(&options.path);
    other.batch_execute("BEGIN IMMEDIATE").unwrap();

    let locked = store.create_account("osad-a", "x", at(0)).await;

    assert!(matches!(locked, Err(StoreError::Locked(_))), "{locked:?}");
    assert!(store.accounts().await.unwrap().is_empty());
    other.batch_execute("COMMIT").unwrap();
    store.create_account("osad-a", "x", at(0)).await.unwrap();
}

#[tokio::test]
async fn locked_database_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    drop(serve(&options));
    let mut other = stranger(&options.path);
    other.batch_execute("BEGIN EXCLUSIVE").unwrap();

    assert!(matches!(refusal(&options), StoreError::Locked(_)));
}

#[tokio::test]
async fn second_dispatcher_is_refused_until_the_first_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let first = serve(&options);

    assert!(matches!(refusal(&options), StoreError::InUse(_)));
    assert!(matches!(
        SqliteStore::open_for_command(&options),
        Err(StoreError::InUse(_))
    ));

    drop(first);
    serve(&options);
}

#[tokio::test]
async fn commands_work_beside_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let one = SqliteStore::open_for_command(&options).unwrap();
    let other = SqliteStore::open_for_command(&options).unwrap();

    one.create_account("osad-a", "x", at(0)).await.unwrap();

    assert_eq!(other.accounts().await.unwrap().len(), 1);
    assert!(matches!(refusal(&options), StoreError::InUse(_)));
}

#[tokio::test]
async fn action_queued_by_another_program_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let store = serve(&options);
    let system = registered(&store, "a").await;
    store.changed_systems().await.unwrap();

    stranger(&options.path)
        .batch_execute(
            "INSERT INTO rhnAction (id, action_type, name, earliest_action) VALUES (7, 9, 'by hand', 0);
             INSERT OR IGNORE INTO rhnServerAction (server_id, action_id) VALUES (1, 7);",
        )
        .unwrap();

    assert_eq!(store.changed_systems().await.unwrap().systems, [system]);
    assert_eq!(pending(&store, system).await.len(), 1);
}

#[tokio::test]
async fn action_queued_anew_by_another_program_has_a_new_version() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let store = serve(&options);
    let system = registered(&store, "a").await;
    scheduled(&store, &[system], "one").await;
    let before = pending(&store, system).await.remove(0).version;
    answered(&store, system, 1, 0).await;
    record(&store, system, 1, [report(1, 1, RunEnd::Exited(0))]).await;
    store.changed_systems().await.unwrap();

    stranger(&options.path)
        .batch_execute("UPDATE rhnServerAction SET status = 0")
        .unwrap();

    assert_eq!(store.changed_systems().await.unwrap().systems, [system]);
    assert_ne!(pending(&store, system).await.remove(0).version, before);
}

#[tokio::test]
async fn reboot_that_is_picked_up_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let store = serve(&options);
    let system = registered(&store, "a").await;
    scheduled(&store, &[system], "reboot").await;
    stranger(&options.path)
        .batch_execute("UPDATE rhnAction SET action_type = 9")
        .unwrap();
    store.changed_systems().await.unwrap();

    answered(&store, system, 1, 0).await;

    assert_eq!(store.changed_systems().await.unwrap().systems, [system]);
}

#[tokio::test]
async fn of_several_rows_with_one_jid_the_one_that_last_signed_lives_else_the_newest() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let store = serve(&options);
    let mut systems = Vec::new();
    for name in ["a", "b", "c"] {
        systems.push(registered(&store, name).await);
    }
    stranger(&options.path)
        .batch_execute(&format!("UPDATE rhnPushClient SET jabber_id = '{}'", jid("a")))
        .unwrap();
    let owner = async || {
        store
            .clients_by_jid(&jid("a"))
            .await
            .unwrap()
            .first()
            .map(|client| client.system)
    };

    assert_eq!(owner().await, systems.last().copied());

    record(&store, SystemId(1), 5, [Step::Heard]).await;
    record(&store, SystemId(2), 6, [Step::Heard]).await;
    assert_eq!(owner().await, Some(SystemId(2)));
    let name = osa::domain::ids::ClientName("renamed".to_owned());
    let key = osa::domain::secret::Secret::new("k");
    osa::ports::registrations::Registrations::register_osad(&store, SystemId(2), &name, &key, at(7))
        .await
        .unwrap();
    assert_eq!(owner().await, Some(SystemId(2)), "what it has shown outlives its name");
}
