//! What a desk adds when it is a running dispatcher's.

use std::sync::Mutex;

use super::*;
use crate::compose::control::answers::UpstreamStatus;
use crate::domain::push::client::AgentKind;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::host::clock::{OsEntropy, SystemClock};
use crate::ports::accounts::Accounts;
use crate::ports::inventory::Inventory;
use crate::ports::registrations::Registrations;
use crate::store::sqlite::{SqliteOptions, SqliteStore};

/// Writes down what it is told.
#[derive(Default)]
struct Recorder {
    woken: Mutex<Vec<SystemId>>,
    ended: Mutex<Vec<String>>,
    /// The login to the site's own server, and whether anybody is connected.
    upstream: Mutex<Option<UpstreamStatus>>,
}

#[async_trait]
impl RunningDispatcher for Recorder {
    async fn status(&self) -> RunningStatus {
        RunningStatus {
            pid: 1,
            started: Timestamp::from_secs(1).into(),
            incarnation: 1,
            xmpp: Vec::new(),
            registration: Vec::new(),
            connections: 0,
            logging_in: 0,
            certificate_expires: Some(Timestamp::from_secs(2).into()),
            upstream: self.upstream.lock().unwrap().clone(),
            database: DatabaseState::Ok,
            database_error: None,
            reconcile_interval_ms: 30_000,
        }
    }

    async fn wake(&self, systems: Vec<SystemId>) {
        self.woken.lock().unwrap().extend(systems);
    }

    async fn ping(&self, _: SystemId) -> Option<Duration> {
        None
    }

    async fn snapshot(&self, _: SystemId) -> Option<Snapshot> {
        let is_out = self.upstream.lock().unwrap().is_some();
        (!is_out).then_some(Snapshot {
            kind: AgentKind::New,
            outstanding: None,
            awaited: 1,
            pending: 1,
            next: None,
            wait: None,
            responsive: true,
            rebooting: false,
        })
    }

    async fn rivals(&self, _: SystemId) -> Option<RivalsView> {
        None
    }

    async fn end_sessions(&self, username: String) {
        self.ended.lock().unwrap().push(username);
    }

    #[cfg(debug_assertions)]
    async fn crash(&self, _: super::super::requests::Crashable) -> bool {
        false
    }
}

struct Bench {
    store: Arc<SqliteStore>,
    running: Arc<Recorder>,
    desk: Desk,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = SqliteOptions::at(dir.path().join("osa.sqlite3"));
        let store = Arc::new(SqliteStore::open_for_command(&options).unwrap());
        let running = Arc::new(Recorder::default());
        let desk = Desk {
            store: Arc::clone(&store) as _,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            site: Site {
                hostname: "push.example.com".to_owned(),
                xmpp_port: 5222,
                registration_port: 443,
            },
            running: Some(Arc::clone(&running) as _),
        };
        Self {
            store,
            running,
            desk,
            _dir: dir,
        }
    }

    async fn add(&self, name: &str) -> SystemAdded {
        let name = name.to_owned();
        let Ok(Answer::SystemAdded(added)) = self.desk.handle(Request::AddSystem { name }).await else {
            panic!("added")
        };
        *added
    }

    fn woken(&self) -> Vec<i64> {
        self.running
            .woken
            .lock()
            .unwrap()
            .iter()
            .map(|system| system.0)
            .collect()
    }
}

fn schedule(systems: Selection) -> Request {
    Request::Schedule(Schedule {
        name: "update".to_owned(),
        systems,
        at: None,
        after: None,
    })
}

#[tokio::test]
async fn schedule_wakes_the_systems_it_is_for_and_no_others() {
    let bench = Bench::new();
    let (web, _, db) = (bench.add("web").await, bench.add("mail").await, bench.add("db").await);
    let named = ["web", "db", "web"].map(str::to_owned).to_vec();

    bench.desk.handle(schedule(Selection::Named(named))).await.unwrap();

    assert_eq!(bench.woken(), [web.id, db.id], "one named twice is one system");
}

#[tokio::test]
async fn schedule_with_an_unknown_system_schedules_nothing() {
    let bench = Bench::new();
    bench.add("web").await;
    let named = ["web", "nobody"].map(str::to_owned).to_vec();

    let rejection = bench.desk.handle(schedule(Selection::Named(named))).await.unwrap_err();

    assert_eq!(rejection.kind, RejectionKind::NotFound);
    assert_eq!(bench.woken(), [0; 0]);
    assert_eq!(
        bench
            .desk
            .handle(Request::ListActions(ActionQuery {
                limit: 9,
                ..ActionQuery::default()
            }))
            .await,
        Ok(Answer::Actions(Vec::new()))
    );
}

#[tokio::test]
async fn systemid_of_an_added_system_is_made_with_its_secret() {
    let bench = Bench::new();
    let added = bench.add("web").await;

    let secret = bench.store.system_secret(SystemId(added.id)).await.unwrap().unwrap();

    let certificate = systemid::SystemCertificate::parse(&added.systemid.0).unwrap();
    assert_eq!(certificate.system, systemid::SystemName::Id(SystemId(added.id)));
    assert_eq!(certificate.verify(&secret), Ok(()));
    assert_eq!(secret.expose().len(), 64);
    assert!(
        !format!("{added:?}").contains("checksum"),
        "the identity is not printed"
    );
}

#[tokio::test]
async fn reset_account_loses_its_connection() {
    let bench = Bench::new();
    bench
        .store
        .create_account("osad-1", "x", Timestamp::from_secs(1))
        .await
        .unwrap();
    let reset = || {
        bench.desk.handle(Request::ResetAccount {
            username: "osad-1".to_owned(),
        })
    };

    assert!(reset().await.is_ok());

    assert_eq!(*bench.running.ended.lock().unwrap(), ["osad-1"]);
    assert_eq!(reset().await.unwrap_err().kind, RejectionKind::NotFound);
}

#[tokio::test]
async fn removed_system_loses_its_connection() {
    let bench = Bench::new();
    let id = bench.add("web").await.id;
    let name = crate::domain::ids::ClientName("a".to_owned());
    let now = Timestamp::from_secs(1);
    bench
        .store
        .register_osad(SystemId(id), &name, &Secret::new("k"), now)
        .await
        .unwrap();
    bench.store.create_account("osad-7", "x", now).await.unwrap();
    let jid = "osad-7@push.example.com/osad";
    bench.store.register_osad_jid(SystemId(id), jid, now).await.unwrap();

    bench
        .desk
        .handle(Request::RemoveSystem { name: "web".to_owned() })
        .await
        .unwrap();

    assert_eq!(bench.woken(), [id]);
    assert_eq!(*bench.running.ended.lock().unwrap(), ["osad-7"]);
    assert_eq!(bench.store.systems().await.unwrap(), []);
    assert_eq!(bench.store.accounts().await.unwrap(), []);
}

#[tokio::test]
async fn account_that_a_clone_uses_outlives_the_removed_system() {
    let bench = Bench::new();
    let now = Timestamp::from_secs(1);
    bench.store.create_account("osad-7", "x", now).await.unwrap();
    for (system, key) in [("web", "a"), ("clone", "b")] {
        let id = SystemId(bench.add(system).await.id);
        let name = crate::domain::ids::ClientName(key.to_owned());
        let secret = Secret::new(key);
        bench.store.register_osad(id, &name, &secret, now).await.unwrap();
        let jid = "osad-7@push.example.com/osad";
        bench.store.register_osad_jid(id, jid, now).await.unwrap();
    }
    let remove = |name: &str| bench.desk.handle(Request::RemoveSystem { name: name.to_owned() });

    remove("web").await.unwrap();
    let after_one = bench.store.accounts().await.unwrap().len();
    remove("clone").await.unwrap();

    assert_eq!((after_one, bench.store.accounts().await.unwrap().len()), (1, 0));
}

#[tokio::test]
async fn silent_agent_is_unavailable() {
    let bench = Bench::new();
    bench.add("web").await;

    let rejection = bench
        .desk
        .handle(Request::Ping {
            system: "web".to_owned(),
        })
        .await
        .unwrap_err();

    assert_eq!(rejection.kind, RejectionKind::Unavailable);
    assert!(rejection.message.contains("does not answer"), "{rejection}");
}

#[tokio::test]
async fn outage_of_the_sites_server_is_no_fault_of_the_agents() {
    let bench = Bench::new();
    let id = SystemId(bench.add("web").await.id);
    let name = crate::domain::ids::ClientName("a".to_owned());
    let (now, secret) = (Timestamp::from_secs(1), Secret::new("k"));
    bench.store.register_osad(id, &name, &secret, now).await.unwrap();
    let jid = "osad-7@sat.example/osad";
    bench.store.register_osad_jid(id, jid, now).await.unwrap();
    bench.desk.handle(schedule(Selection::All)).await.unwrap();
    *bench.running.upstream.lock().unwrap() = Some(UpstreamStatus {
        server: "sat.example".to_owned(),
        jid: None,
        error: Some("cannot connect to sat.example:5222".to_owned()),
        registered: Default::default(),
        available: Default::default(),
    });
    let system = || "web".to_owned();

    let explained = bench.desk.handle(Request::Explain { system: system() }).await.unwrap();
    let pinged = bench.desk.handle(Request::Ping { system: system() }).await.unwrap_err();

    let Answer::Explained(explained) = explained else {
        panic!("{explained:?}")
    };
    for said in [explained.verdict, pinged.message] {
        assert!(
            said.contains("no agent can be reached: cannot connect to sat.example:5222") && !said.contains("osad"),
            "{said}"
        );
    }
}

#[test]
fn error_of_one_statement_is_no_outage() {
    let database = crate::ports::store::DatabaseLabel::new("db.example:5432/rhnschema");
    let reason = "x".to_owned();
    let message = reason.clone();

    assert!(!is_outage(&StoreError::Other {
        database: database.clone(),
        message
    }));
    assert!(is_outage(&StoreError::Unreachable { database, reason }));
}
