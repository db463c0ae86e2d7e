//! A way to a database server on which everything takes its time.
#![expect(clippy::disallowed_methods, reason = "the delay is what it is for")]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::cluster::Database;

/// A directory with the server's socket, as a client of PostgreSQL looks for it.
pub struct SlowSocket {
    directory: TempDir,
    /// What is added to each way, in milliseconds.
    delay: Arc<AtomicU64>,
}

impl SlowSocket {
    /// As quick as the server, for now.
    pub fn to(database: &Database) -> Self {
        let name = format!(".s.PGSQL.{}", database.port);
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(&name)).unwrap();
        let (server, delay) = (database.socket.join(name), Arc::new(AtomicU64::new(0)));
        let of_all = Arc::clone(&delay);
        // Ends with the test's process.
        thread::spawn(move || listen(&listener, &server, &of_all));
        Self { directory, delay }
    }

    /// Where clients find it.
    pub fn host(&self) -> String {
        self.directory.path().display().to_string()
    }

    /// From now on each question takes so long to come there, and each answer to come back.
    pub fn delay(&self, each_way: Duration) {
        let millis = u64::try_from(each_way.as_millis()).unwrap();
        self.delay.store(millis, Ordering::Relaxed);
    }
}

fn listen(listener: &UnixListener, server: &PathBuf, delay: &Arc<AtomicU64>) {
    for client in listener.incoming() {
        let (client, server) = (client.unwrap(), UnixStream::connect(server).unwrap());
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let delay = Arc::clone(delay);
            thread::spawn(move || carry(from, to, &delay));
        }
    }
}

fn carry(mut from: UnixStream, mut to: UnixStream, delay: &AtomicU64) {
    let mut piece = [0; 8_192];
    while let Ok(length) = from.read(&mut piece) {
        thread::sleep(Duration::from_millis(delay.load(Ordering::Relaxed)));
        if length == 0 || to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    // One that hung up already needs no word of it.
    to.shutdown(Shutdown::Write).ok();
}
