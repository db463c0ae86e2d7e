//! What can befall a server, and a database.

use std::time::{Duration, Instant};

use osa::domain::push::request::{RequestState, Step};
use osa::ports::accounts::Accounts;
use osa::ports::store::StoreError;
use osa::store::postgres::{PostgresOptions, PostgresStore, administration};

use super::cluster::Database;
use super::private_server::PrivateServer;
use super::site::{Satellite, Site};
use crate::contract::{at, granted, number, push_record, record, registered};

const DEADLINE: Duration = Duration::from_millis(1_500);
/// What a busy machine may add. A use case without a deadline would never end.
const MARGIN: Duration = Duration::from_secs(60);

async fn site(server: &PrivateServer) -> Site {
    let database = server.database("satellite");
    let options = PostgresOptions {
        deadline: DEADLINE,
        ..database.options()
    };
    administration::migrate(&options).await.unwrap();
    Site::with(database, options).await
}

/// The error of a reading and of a writing use case, each within the deadline.
async fn errors(store: &PostgresStore) -> [StoreError; 2] {
    let began = Instant::now();
    let reading = store.accounts().await.unwrap_err();
    assert!(began.elapsed() < DEADLINE + MARGIN, "{:?}", began.elapsed());
    let began = Instant::now();
    let writing = store.create_account("osad-lost", "x", at(0)).await.unwrap_err();
    assert!(began.elapsed() < DEADLINE + MARGIN, "{:?}", began.elapsed());
    [reading, writing]
}

fn assert_transient(errors: &[StoreError]) {
    for error in errors {
        let line = error.to_string();
        assert!(error.is_transient(), "{line}");
        assert!(line.contains("satellite") && !line.contains('\n'), "{line}");
    }
}

async fn works(store: &PostgresStore) {
    store.create_account("osad-after", "x", at(0)).await.unwrap();
    assert!(store.remove_account("osad-after").await.unwrap());
}

#[tokio::test]
async fn stopped_server_is_unreachable_until_it_is_back() {
    let mut server = PrivateServer::start(&[]);
    let site = site(&server).await;
    works(&site.store).await;

    server.stop();

    let errors = errors(&site.store).await;
    assert_transient(&errors);
    assert!(matches!(errors[0], StoreError::Unreachable { .. }), "{errors:?}");
    server.launch();
    works(&site.store).await;
}

#[tokio::test]
async fn what_was_recorded_survives_a_killed_server() {
    let mut server = PrivateServer::start(&[]);
    let site = site(&server).await;
    let system = registered(&site, "a").await;
    granted(&site, system, 1, 0).await;
    record(
        &site,
        system,
        1,
        [Step::Sent(number(1)), Step::Answered(number(1)), Step::Online(true)],
    )
    .await;

    server.kill();

    assert_transient(&errors(&site.store).await);
    server.launch();
    let record = push_record(&site, system).await;
    assert_eq!(
        record.open.iter().map(|open| open.state).collect::<Vec<_>>(),
        [RequestState::Answered]
    );
    works(&site.store).await;
}

#[tokio::test]
async fn paused_server_times_out_and_goes_on() {
    let server = PrivateServer::start(&[]);
    let site = site(&server).await;
    works(&site.store).await;

    server.pause(true);

    let errors = errors(&site.store).await;
    assert_transient(&errors);
    assert!(matches!(errors[1], StoreError::Stalled { .. }), "{errors:?}");
    server.pause(false);
    works(&site.store).await;
}

#[tokio::test]
async fn terminated_connections_are_replaced_unnoticed() {
    let site = Site::satellite().await;
    works(&site.store).await;
    for _ in 0..3 {
        let text = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE application_name = 'osa-dispatcher' AND datname = current_database()";
        assert!(site.satellite.one::<i64>(text).await > 0);

        works(&site.store).await;
    }
}

#[tokio::test]
async fn standby_is_read_only_until_it_is_promoted() {
    let site = Site::satellite().await;
    let name: String = site.satellite.one("SELECT current_database()::text").await;
    let switch = async |on: &str| {
        let text = format!("ALTER DATABASE {name} SET default_transaction_read_only = {on}");
        site.satellite.run("SET default_transaction_read_only = off").await;
        site.satellite.run(&text).await;
        site.satellite
            .run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'osa-dispatcher' \
                  AND datname = current_database()",
            )
            .await;
    };
    switch("on").await;

    let refused = site.store.create_account("osad-a", "x", at(0)).await.unwrap_err();

    assert!(matches!(refused, StoreError::ReadOnly(_)), "{refused}");
    assert!(refused.is_transient());
    assert!(site.store.accounts().await.unwrap().is_empty());
    switch("off").await;
    works(&site.store).await;
}

#[tokio::test]
async fn database_without_own_tables_names_the_remedy() {
    let database = Database::satellite();
    let options = database.options();
    let refusal = async || PostgresStore::open(&options).await.err().expect("refused");

    let unmigrated = refusal().await;
    assert!(
        unmigrated.to_string().ends_with("run osa-dispatcher migrate"),
        "{unmigrated}"
    );
    assert_eq!(administration::migrate(&options).await.unwrap(), 1);
    assert_eq!(administration::migrate(&options).await.unwrap(), 0);
    PostgresStore::open(&options).await.unwrap();
    database.sql("INSERT INTO osa_schema (version) VALUES ('9001_future')");
    assert!(matches!(refusal().await, StoreError::Newer { found, .. } if found == "9001_future"));
    let refused = administration::migrate(&options).await;
    assert!(matches!(refused, Err(StoreError::Newer { .. })), "{refused:?}");
    database.sql("DELETE FROM osa_schema WHERE version = '9001_future'");
    assert!(administration::remove(&options).await.unwrap());
    assert!(!administration::remove(&options).await.unwrap());
    let left = Satellite::at(&database).await;
    let tables = "SELECT count(*) FROM pg_class WHERE relname LIKE 'osa\\_%' AND relkind IN ('r', 'S')";
    assert_eq!(left.one::<i64>(tables).await, 0);
}

#[tokio::test]
async fn user_that_looks_elsewhere_is_told_where_the_tables_are() {
    let database = Database::satellite();
    let options = database.options();
    let look_in = |path: &str| {
        let name = &database.name;
        database.sql(&format!("ALTER DATABASE {name} SET search_path = {path}"));
    };
    let assert_misled = |refused: Option<StoreError>, wanted: &str| {
        let told = refused.as_ref().map_or_else(String::new, StoreError::to_string);
        let is_misled = matches!(&refused, Some(StoreError::Misled { schema, path, .. })
            if schema == "public" && path == wanted);
        assert!(is_misled && told.contains("ALTER ROLE"), "{told}");
    };

    for path in ["nowhere", "pg_catalog"] {
        look_in(path);
        assert_misled(administration::migrate(&options).await.err(), path);
        assert_misled(PostgresStore::open(&options).await.err(), path);
    }
    look_in("pg_catalog, public");
    assert_misled(administration::migrate(&options).await.err(), "pg_catalog, public");
    database.sql("CREATE SCHEMA extra");
    look_in("extra, public");
    assert_eq!(administration::migrate(&options).await.unwrap(), 1);
    PostgresStore::open(&options).await.unwrap();

    database.sql("DROP TABLE public.rhnServer CASCADE");
    let refused = PostgresStore::open(&options).await.err().expect("refused");
    assert!(refused.to_string().contains("lacks table rhnserver"), "{refused}");
}

#[tokio::test]
async fn tables_that_are_partly_lost_are_told_and_taken_away() {
    for lost in ["osa_run", "osa_schema"] {
        let database = Database::satellite();
        let options = database.options();
        administration::migrate(&options).await.unwrap();
        database.sql(&format!("DROP TABLE {lost}"));

        let refused = PostgresStore::open(&options).await.err().expect("refused");
        assert!(
            matches!(refused, StoreError::Incomplete { missing, .. } if missing == lost),
            "{refused}"
        );
        let refused = administration::migrate(&options).await;
        assert!(matches!(refused, Err(StoreError::Incomplete { .. })), "{refused:?}");
        assert!(administration::remove(&options).await.unwrap());
        assert_eq!(administration::migrate(&options).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn database_that_is_no_satellites_is_refused() {
    let database = Database::satellite();
    database.sql("DROP TABLE rhnServerLock");

    let refused = PostgresStore::open(&database.options()).await.err().expect("refused");

    assert!(
        matches!(&refused, StoreError::NotSatellite { missing, .. } if missing == "table rhnserverlock"),
        "{refused}"
    );
}

#[tokio::test]
async fn unknown_role_or_database_is_denied() {
    let database = Database::satellite();
    for options in [
        PostgresOptions {
            user: "nobody".to_owned(),
            ..database.options()
        },
        PostgresOptions {
            database: "nowhere".to_owned(),
            ..database.options()
        },
    ] {
        let refused = PostgresStore::open(&options).await.err().expect("refused");

        assert!(matches!(refused, StoreError::Denied { .. }), "{refused}");
    }
}
