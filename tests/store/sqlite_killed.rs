//! A process that dies between any two instructions leaves nothing half-written.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use diesel::sql_types::BigInt;
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection};
use osa::domain::ids::SystemId;
use osa::domain::push::client::RunEnd;
use osa::domain::push::request::Step;
use osa::ports::inventory::{ActionFilter, Inventory};
use osa::ports::push::PushStore;
use osa::store::sqlite::{SqliteOptions, SqliteStore};

use crate::contract::{granted, number, record, registered, report, scheduled};

/// Where the child finds its database; without it the child's test does nothing.
const DATABASE: &str = "OSA_TEST_KILLED_DATABASE";

/// Systems of the child; each action is for all of them.
const SYSTEMS: usize = 5;

#[test]
fn killed_writer_leaves_whole_transactions_only() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("osa.db");
    for rounds in [3, 17, 40] {
        let acknowledged = write_and_die(&database, rounds);

        let store = SqliteStore::open_for_serving(&SqliteOptions::at(&database)).unwrap();

        block_on(assert_whole(&store, acknowledged));
        drop(store);
        assert_nothing_half_written(&database);
    }
}

/// Runs the child until it has acknowledged so many rounds, kills it, and returns the last acknowledged action.
fn write_and_die(database: &Path, rounds: usize) -> i64 {
    let mut child = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "sqlite_killed::child_writes_until_it_is_killed",
            "--nocapture",
        ])
        .env(DATABASE, database)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let action = lines
        .filter_map(|line| line.strip_prefix("acknowledged ").and_then(|id| id.parse().ok()))
        .nth(rounds - 1)
        .unwrap();
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(9));
    action
}

async fn assert_whole(store: &SqliteStore, acknowledged: i64) {
    let all = ActionFilter {
        limit: usize::MAX,
        ..ActionFilter::default()
    };
    let rows = store.actions(&all).await.unwrap();
    let newest = rows.first().unwrap().id.0;
    assert!(
        newest >= acknowledged,
        "action {acknowledged} was acknowledged and is gone"
    );
    assert_eq!(rows.len() % SYSTEMS, 0, "an action has rows for some of its systems");
    let systems: Vec<SystemId> = store.systems().await.unwrap().iter().map(|row| row.id).collect();
    for (record, _) in store.push_records(&systems).await.unwrap() {
        assert!(
            record.open.iter().all(|request| !request.covers.is_empty()),
            "{record:?}"
        );
        assert!(record.open.iter().all(|request| request.number <= record.last_number));
    }
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

fn assert_nothing_half_written(database: &Path) {
    let mut connection = SqliteConnection::establish(database.to_str().unwrap()).unwrap();
    for (what, query) in [
        ("foreign key", "SELECT count(*) AS count FROM pragma_foreign_key_check"),
        (
            "damage",
            "SELECT count(*) AS count FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
        ),
        (
            "run without its request's end",
            "SELECT count(*) AS count FROM osa_run u WHERE NOT EXISTS (SELECT 1 FROM osa_request r \
             WHERE r.server_id = u.server_id AND r.run_id = u.run_id AND r.state = 'finished')",
        ),
        (
            "finished request with an open action",
            "SELECT count(*) AS count FROM osa_request r JOIN osa_request_action c USING (server_id, number) \
             JOIN rhnServerAction a USING (server_id, action_id) WHERE r.state = 'finished' AND a.status < 2",
        ),
    ] {
        let found: Count = diesel::sql_query(query).get_result(&mut connection).unwrap();
        assert_eq!(found.count, 0, "{what}");
    }
}

/// The child of the test above; in an ordinary run there is nothing to do.
#[test]
fn child_writes_until_it_is_killed() {
    let Some(database) = env::var_os(DATABASE) else { return };
    let store = SqliteStore::open_for_serving(&SqliteOptions::at(database)).unwrap();
    block_on(async {
        let mut systems: Vec<SystemId> = store.systems().await.unwrap().iter().map(|row| row.id).collect();
        while systems.len() < SYSTEMS {
            systems.push(registered(&store, &format!("s{}", systems.len())).await);
        }
        store
            .start_node("child", osa::domain::time::Timestamp::from_secs(0))
            .await
            .unwrap();
        loop {
            let action = scheduled(&store, &systems, "one").await;
            for &system in &systems {
                push_once(&store, system, action.0).await;
            }
            println!("acknowledged {action}");
            std::io::stdout().flush().unwrap();
        }
    });
}

async fn push_once(store: &SqliteStore, system: SystemId, seed: i64) {
    let last = store.push_records(&[system]).await.unwrap().remove(0).0.last_number;
    let next = last.0 + 1;
    granted(store, system, next, 100 * seed).await;
    record(
        store,
        system,
        100 * seed,
        [Step::Sent(number(next)), Step::Answered(number(next))],
    )
    .await;
    let run = u8::try_from(seed % 256).unwrap();
    record(store, system, 100 * seed, [report(run, next, RunEnd::Exited(0))]).await;
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(work)
}
