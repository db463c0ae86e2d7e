//! What the poller says of its database.

use std::io::{self, Write};

use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

/// What this thread logs from now on.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    fn begin() -> (Self, DefaultGuard) {
        let log = Self::default();
        let lines = tracing_subscriber::fmt().json().with_writer(log.clone()).finish();
        (log, tracing::subscriber::set_default(lines))
    }

    /// The fields of each record of this event.
    fn told(&self, event: &str) -> Vec<serde_json::Value> {
        let text = String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("text");
        let records = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        records
            .map(|mut record: serde_json::Value| record["fields"].take())
            .filter(|fields| fields["event"] == event)
            .collect()
    }
}

#[actix::test]
async fn node_that_is_superseded_says_so_once_for_each_newer_start() {
    let bench = Bench::start().await;
    let (log, _guard) = Log::begin();

    for newer in [7, 8] {
        *bench.store.standing.lock().expect("not poisoned") = Standing::Superseded(Incarnation(newer));
        tokio::time::sleep(Duration::from_secs(150)).await;
    }

    let told = log.told("node_superseded");
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!((&told[0]["start"], &told[0]["newer"]), (&1.into(), &7.into()));
    assert_eq!(told[1]["newer"], 8);
}

#[actix::test]
async fn node_that_was_recorded_anew_says_so() {
    let bench = Bench::start().await;
    let (log, _guard) = Log::begin();
    *bench.store.standing.lock().expect("not poisoned") = Standing::Renewed(Incarnation(2));

    tokio::time::sleep(Duration::from_secs(70)).await;

    let told = log.told("node_renewed");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["start"], &told[0]["renewed"]), (&1.into(), &2.into()));
}

#[actix::test]
async fn each_outage_is_said_with_its_end() {
    let bench = Bench::start().await;
    let (log, _guard) = Log::begin();

    for _ in 0..2 {
        bench.store.fails.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(10)).await;
        bench.store.fails.store(false, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(10)).await;
    }

    let (failed, recovered) = (log.told("store_failed"), log.told("store_recovered"));
    assert_eq!((failed.len(), recovered.len()), (2, 2), "{failed:?}{recovered:?}");
    assert!(recovered.iter().all(|end| end["error"] == failed[0]["error"]));
    assert!(
        recovered.iter().all(|end| end["seconds"].as_u64() >= Some(8)),
        "{recovered:?}"
    );
}
