//! How long each use case takes on a database of some size; printed, not asserted.
//!
//! `cargo test --release --test store timings -- --nocapture`

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use osa::domain::ids::{ClientName, RequestNumber, SystemId};
use osa::domain::push::action::CoveredAction;
use osa::domain::push::client::RunEnd;
use osa::domain::push::request::{Claim, Entry, Step};
use osa::ports::accounts::Accounts;
use osa::ports::inventory::{ActionFilter, Inventory, NewAction};
use osa::ports::push::PushStore;
use osa::store::sqlite::{SqliteOptions, SqliteStore};

use crate::contract::{at, jid, report, run_start};

const SYSTEMS: i64 = 10_000;
const ACTIONS_PER_SYSTEM: i64 = 10;

/// Repetitions of a use case on one system.
const REPEATS: i64 = 300;

/// Systems, registrations and finished actions, made by SQL: making them by use cases takes minutes.
fn fill(path: &std::path::Path) {
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let fill = format!(
        "BEGIN;
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {SYSTEMS})
           INSERT INTO rhnServer (id, name, secret) SELECT i, 's' || i, 'secret' FROM n;
         INSERT INTO rhnPushClient (name, server_id, jabber_id, shared_key, state_id)
           SELECT 'client-' || name, id, 'osad-' || name || '@dispatcher.example/osad', 'key', 2 FROM rhnServer;
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ACTIONS_PER_SYSTEM})
           INSERT INTO rhnAction (id, action_type, name, earliest_action) SELECT i, 30, 'old', 0 FROM n;
         INSERT INTO rhnServerAction (server_id, action_id, status, completion_time)
           SELECT s.id, a.id, 2, 0 FROM rhnServer s, rhnAction a;
         INSERT INTO osa_request (server_id, number, state, incarnation, lease_until, claimed_at, answered_at, ended_at)
           SELECT server_id, action_id, 'finished', 0, 0, 0, 0, 0 FROM rhnServerAction;
         INSERT INTO osa_request_action SELECT server_id, action_id, action_id, 1, 0 FROM rhnServerAction;
         UPDATE osa_push SET last_number = {ACTIONS_PER_SYSTEM};
         COMMIT;"
    );
    connection.batch_execute(&fill).unwrap();
}

/// Collects the times of repeated calls and prints their middle and their end.
struct Timings {
    name: &'static str,
    samples: Vec<Duration>,
}

impl Timings {
    fn of(name: &'static str) -> Self {
        Self {
            name,
            samples: Vec::new(),
        }
    }

    async fn measure<T>(&mut self, work: impl Future<Output = T>) -> T {
        let begin = Instant::now();
        let result = work.await;
        self.samples.push(begin.elapsed());
        result
    }
}

impl Drop for Timings {
    fn drop(&mut self) {
        self.samples.sort_unstable();
        let part = |percent| {
            self.samples
                .get(self.samples.len() * percent / 100)
                .copied()
                .unwrap_or_default()
        };
        println!("{:36} p50 {:>10.1?}  p99 {:>10.1?}", self.name, part(50), part(99));
    }
}

#[tokio::test]
async fn use_cases_on_ten_thousand_systems() {
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteOptions::at(directory.path().join("osa.db"));
    drop(SqliteStore::open_for_serving(&options).unwrap());
    fill(&options.path);
    let opening = Instant::now();
    let store = SqliteStore::open_for_serving(&options).unwrap();
    println!("{:36} {:?}", "open_for_serving", opening.elapsed());
    Timings::of("start_node")
        .measure(store.start_node("n", at(0)))
        .await
        .unwrap();

    one_push_at_a_time(&store).await;
    reads(&store).await;
    everybody_at_once(&store).await;
    let pruned = Timings::of("prune 100 000 requests")
        .measure(store.prune(at(-999)))
        .await
        .unwrap();
    assert!(pruned > 0);
}

async fn one_push_at_a_time(store: &SqliteStore) {
    let mut schedule = Timings::of("schedule (on disk)");
    let mut wake = Timings::of("schedule, call to wake-up");
    let mut changed = Timings::of("changed_systems, one");
    let mut idle = Timings::of("changed_systems, none");
    let mut work = Timings::of("work, one system");
    let mut claim = Timings::of("claim, one system");
    let mut step = Timings::of("record sent");
    let mut answer = Timings::of("record heard + answered");
    let mut start = Timings::of("record heard + started");
    let mut finish = Timings::of("record heard + finished (on disk)");
    for repeat in 0..REPEATS {
        let system = SystemId(repeat * 7 % SYSTEMS + 1);
        let changes = store.changes();
        let action = one_action(vec![system]);
        let scheduling = schedule.measure(store.schedule(&action, at(0)));
        let (scheduled, ()) = tokio::join!(scheduling, wake.measure(changes.notified()));
        scheduled.unwrap();
        assert_eq!(
            changed.measure(store.changed_systems()).await.unwrap().systems,
            [system]
        );
        assert!(idle.measure(store.changed_systems()).await.unwrap().systems.is_empty());
        let claims = [claim_of(store, &mut work, system).await];
        claim.measure(store.claim(&claims, at(60), at(0))).await.unwrap();
        let [made] = claims;
        let request = made.number;
        step.measure(store.record(&entries(system, [Step::Sent(request)])))
            .await
            .unwrap();
        let steps = [Step::Heard, Step::Answered(request)];
        answer.measure(store.record(&entries(system, steps))).await.unwrap();
        let steps = [Step::Heard, Step::Started(run_start(1, request.0))];
        start.measure(store.record(&entries(system, steps))).await.unwrap();
        let steps = [Step::Heard, report(1, request.0, RunEnd::Exited(0))];
        finish.measure(store.record(&entries(system, steps))).await.unwrap();
    }
}

async fn claim_of(store: &SqliteStore, timings: &mut Timings, system: SystemId) -> Claim {
    let work = timings.measure(store.work(&[system])).await.unwrap().remove(0);
    let last = store.push_records(&[system]).await.unwrap().remove(0).0.last_number;
    Claim {
        system,
        number: last.next(),
        covers: work
            .actions
            .iter()
            .map(|action| CoveredAction {
                action: action.id,
                version: action.version,
            })
            .collect(),
    }
}

async fn reads(store: &SqliteStore) {
    let mut by_jid = Timings::of("clients_by_jid");
    let mut by_name = Timings::of("client_by_name");
    let mut account = Timings::of("account");
    let mut records = Timings::of("push_records, one system");
    let mut list = Timings::of("actions, newest 50");
    let mut explain = Timings::of("explain");
    let newest = ActionFilter {
        limit: 50,
        ..ActionFilter::default()
    };
    for repeat in 0..REPEATS {
        let system = SystemId(repeat + 1);
        by_jid
            .measure(store.clients_by_jid(&jid(&format!("s{system}"))))
            .await
            .unwrap();
        by_name
            .measure(store.client_by_name(&ClientName(format!("client-s{system}"))))
            .await
            .unwrap();
        account.measure(store.account("osad-s1")).await.unwrap();
        records.measure(store.push_records(&[system])).await.unwrap();
        list.measure(store.actions(&newest)).await.unwrap();
        explain.measure(store.explain(system)).await.unwrap();
    }
    Timings::of("systems, all 10 000")
        .measure(store.systems())
        .await
        .unwrap();
}

async fn everybody_at_once(store: &SqliteStore) {
    let all: Vec<SystemId> = (1..=SYSTEMS).map(SystemId).collect();
    let action = one_action(all.clone());
    Timings::of("schedule, 10 000 systems")
        .measure(store.schedule(&action, at(0)))
        .await
        .unwrap();
    let changed = Timings::of("changed_systems, 10 000")
        .measure(store.changed_systems())
        .await
        .unwrap();
    assert_eq!(changed.systems.len(), all.len());
    let work = Timings::of("work, 10 000 systems")
        .measure(store.work(&all))
        .await
        .unwrap();
    let records = Timings::of("push_records, 10 000 systems")
        .measure(store.push_records(&all))
        .await
        .unwrap();
    let claims: Vec<Claim> = work
        .iter()
        .zip(&records)
        .map(|(work, (record, _))| Claim {
            system: work.system,
            number: record.last_number.next(),
            covers: work
                .actions
                .iter()
                .map(|action| CoveredAction {
                    action: action.id,
                    version: action.version,
                })
                .collect(),
        })
        .collect();
    let mut batches = Timings::of("claim, 500 systems");
    for batch in claims.chunks(500) {
        batches.measure(store.claim(batch, at(60), at(0))).await.unwrap();
    }
    drop(batches);
    each_in_batches(store, "record sent, 500 systems", &claims, |number| {
        vec![Step::Sent(number)]
    })
    .await;
    each_in_batches(store, "record heard + answered, 500", &claims, |number| {
        vec![Step::Heard, Step::Answered(number)]
    })
    .await;
    each_in_batches(store, "record heard + finished, 500", &claims, |number| {
        vec![Step::Heard, report(2, number.0, RunEnd::Exited(0))]
    })
    .await;
}

async fn each_in_batches(
    store: &SqliteStore,
    name: &'static str,
    claims: &[Claim],
    steps: impl Fn(RequestNumber) -> Vec<Step>,
) {
    let mut timings = Timings::of(name);
    for batch in claims.chunks(500) {
        let batch: Vec<Entry> = batch
            .iter()
            .flat_map(|claim| entries(claim.system, steps(claim.number)))
            .collect();
        timings.measure(store.record(&batch)).await.unwrap();
    }
}

fn entries(system: SystemId, steps: impl IntoIterator<Item = Step>) -> Vec<Entry> {
    steps
        .into_iter()
        .map(|step| Entry {
            system,
            at: at(1),
            step,
        })
        .collect()
}

fn one_action(systems: Vec<SystemId>) -> NewAction {
    NewAction {
        name: "measured".to_owned(),
        systems,
        earliest: at(0),
        prerequisite: None,
    }
}
