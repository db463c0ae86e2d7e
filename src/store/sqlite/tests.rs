use std::sync::mpsc;

use super::*;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::ports::inventory::Inventory;

const NOW: Timestamp = Timestamp::from_secs(1_000);

fn store(directory: &tempfile::TempDir) -> SqliteStore {
    let options = SqliteOptions {
        deadline: Duration::from_millis(50),
        ..SqliteOptions::at(directory.path().join("osa.db"))
    };
    SqliteStore::open_for_serving(&options).unwrap()
}

/// A thread that hangs in its work, as on a disk that does not answer, until the sender is dropped.
fn hang(workers: &Workers) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    workers
        .submit(Box::new(move |_| {
            entered.send(()).unwrap();
            held.recv().unwrap_err();
        }))
        .unwrap();
    inside.recv().unwrap();
    release
}

#[tokio::test]
async fn disk_that_does_not_answer_stalls_a_write_and_loses_none_that_follows() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let secret = Secret::new("s");
    let disk = hang(&store.writer);

    let stalled = store.add_system("a", &secret, NOW).await.unwrap_err();

    assert!(matches!(stalled, StoreError::Stalled { .. }), "{stalled}");
    assert!(
        stalled.is_transient() && stalled.to_string().contains("check its disk"),
        "{stalled}"
    );
    assert!(store.systems().await.unwrap().is_empty(), "reading goes on");
    drop(disk);
    let (done, is_done) = mpsc::channel();
    store.writer.submit(Box::new(move |_| done.send(()).unwrap())).unwrap();
    is_done.recv().unwrap();
    assert!(
        store.systems().await.unwrap().is_empty(),
        "what nobody waits for any more is left out"
    );
    store.add_system("a", &secret, NOW).await.unwrap();
}

#[tokio::test]
async fn disk_that_does_not_answer_stalls_reads() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let disks: Vec<_> = (0..READERS).map(|_| hang(&store.readers)).collect();

    let stalled = store.systems().await.unwrap_err();

    assert!(matches!(stalled, StoreError::Stalled { .. }), "{stalled}");
    drop(disks);
}

#[tokio::test]
async fn file_that_is_deleted_or_replaced_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteOptions::at(directory.path().join("osa.db"));
    let store = SqliteStore::open_for_serving(&options).unwrap();
    assert_eq!(store.place().await.unwrap(), Place::Kept);

    let moved = directory.path().join("moved");
    std::fs::rename(&options.path, &moved).unwrap();
    assert_eq!(store.place().await.unwrap(), Place::Deleted);
    std::fs::write(&options.path, "a restored backup").unwrap();
    assert_eq!(store.place().await.unwrap(), Place::Replaced);
    std::fs::rename(&moved, &options.path).unwrap();
    assert_eq!(store.place().await.unwrap(), Place::Kept);
}
