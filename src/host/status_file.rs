//! The file in which a running agent says how it is, for `osad status`.
//!
//! It says nothing about an agent that does not run: that there is one, the lock of the state directory says.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::state_dir::{StateDir, private, remove_if_present};
use crate::domain::check::EndedRun;
use crate::domain::ids::RequestNumber;
use crate::domain::push::client::RunEnd;
use crate::ports::agent_status::{LinkStatus, StatusBoard, Trouble};
use crate::ports::clock::Clock;

/// Its name in the state directory.
const FILE_NAME: &str = "status.json";
/// Longest reason that is kept, whatever a server says. Units: characters.
const REASON_CHARS_MAX: usize = 300;
/// Most that is read of the file; two reasons with every character escaped fit. Units: bytes.
const FILE_BYTES_MAX: u64 = 16 * 1_024;

/// How the connection is, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// The agent registers first.
    #[default]
    Registering,
    /// It connects and logs in.
    Connecting,
    /// It is logged in; no dispatcher has answered.
    LoggedIn,
    /// A dispatcher answered.
    Linked,
    /// It waits before it connects again.
    Waiting,
}

/// Something that failed and is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Why it failed.
    pub reason: String,
    /// When it is tried again. Units: milliseconds since the epoch.
    pub retry_at: i64,
}

/// The connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRecord {
    /// How it is.
    pub state: LinkState,
    /// Since when it is linked, or is not. Units: milliseconds since the epoch.
    pub since: i64,
    /// The server's name.
    pub server: Option<String>,
    /// The server's address, while connected.
    pub address: Option<String>,
    /// Why it was lost, or did not come about; none while logged in.
    pub failure: Option<Failure>,
}

/// The last request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// Its number; an original dispatcher gives none.
    pub number: Option<i64>,
    /// When it arrived. Units: milliseconds since the epoch.
    pub at: i64,
}

/// The last run that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its exit status; none if it was lost.
    pub exit: Option<i32>,
    /// When it ended. Units: milliseconds since the epoch.
    pub at: i64,
    /// How long it ran. Units: milliseconds.
    pub run_time: u64,
}

/// All that the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// The agent's process.
    pub pid: u32,
    /// The connection.
    pub link: LinkRecord,
    /// Why the registration failed, if the last one did.
    pub registration: Option<Failure>,
    /// The last request, by this agent or an earlier one.
    pub last_request: Option<RequestRecord>,
    /// The last run, as above.
    pub last_run: Option<RunRecord>,
}

/// What the file says; `None` if there is none, or none that is understood.
pub fn read(state_dir: &Path) -> Option<AgentRecord> {
    let file = File::open(state_dir.join(FILE_NAME)).ok()?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The file, written when something changes.
pub struct StatusFile {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    board: Mutex<Board>,
}

struct Board {
    record: AgentRecord,
    /// The last complaint about the file, which is made once.
    complaint: Option<io::ErrorKind>,
}

impl StatusFile {
    /// Takes over the file of the state directory.
    pub fn new(state: &StateDir, clock: Arc<dyn Clock>) -> Self {
        let earlier = read(state.path()).unwrap_or_default();
        let record = AgentRecord {
            pid: std::process::id(),
            link: LinkRecord {
                since: clock.now().as_millis(),
                ..LinkRecord::default()
            },
            registration: None,
            ..earlier
        };
        let file = Self {
            path: state.path().join(FILE_NAME),
            clock,
            board: Mutex::new(Board {
                record: AgentRecord::default(),
                complaint: None,
            }),
        };
        file.change(|old, _| *old = record);
        file
    }

    fn change(&self, change: impl FnOnce(&mut AgentRecord, i64)) {
        // The lock guards plain values; a panic leaves at worst an odd one, which the next change replaces.
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        let before = board.record.clone();
        change(&mut board.record, self.clock.now().as_millis());
        if board.record == before {
            return;
        }
        match self.write(&board.record) {
            Ok(()) => board.complaint = None,
            Err(error) if board.complaint == Some(error.kind()) => {}
            Err(error) => {
                tracing::warn!(event = "status_not_written", path = %self.path.display(), %error);
                board.complaint = Some(error.kind());
            }
        }
    }

    /// As a whole, but not down to the disk: after a crash of the machine it says nothing of worth.
    fn write(&self, record: &AgentRecord) -> io::Result<()> {
        let draft = self.path.with_extension("new");
        remove_if_present(&draft)?;
        let mut file = private(OpenOptions::new().create_new(true).write(true)).open(&draft)?;
        file.write_all(serde_json::to_string(record)?.as_bytes())?;
        fs::rename(&draft, &self.path)
    }
}

impl StatusBoard for StatusFile {
    fn registration(&self, trouble: Option<Trouble>) {
        self.change(|record, now| record.registration = trouble.map(|trouble| failure(&trouble, now)));
    }

    fn link(&self, status: LinkStatus) {
        self.change(|record, now| {
            let link = &mut record.link;
            let was_linked = link.state == LinkState::Linked;
            link.state = match &status {
                LinkStatus::Connecting { .. } => LinkState::Connecting,
                LinkStatus::LoggedIn { .. } => LinkState::LoggedIn,
                LinkStatus::Linked => LinkState::Linked,
                LinkStatus::Down(_) => LinkState::Waiting,
            };
            if was_linked != (link.state == LinkState::Linked) {
                link.since = now;
            }
            match status {
                LinkStatus::Connecting { server } => link.server = Some(server),
                LinkStatus::LoggedIn { address } => {
                    link.address = Some(address);
                    link.failure = None;
                }
                LinkStatus::Linked => link.failure = None,
                LinkStatus::Down(trouble) => {
                    link.address = None;
                    link.failure = Some(failure(&trouble, now));
                }
            }
        });
    }

    fn request(&self, number: Option<RequestNumber>) {
        self.change(|record, at| {
            let number = number.map(|number| number.0);
            record.last_request = Some(RequestRecord { number, at });
        });
    }

    fn run_ended(&self, ended: EndedRun) {
        self.change(|record, at| {
            record.last_run = Some(RunRecord {
                exit: match ended.end {
                    RunEnd::Exited(status) => Some(status),
                    RunEnd::Lost => None,
                },
                at,
                run_time: u64::try_from(ended.run_time.as_millis()).unwrap_or(u64::MAX),
            });
        });
    }
}

fn failure(trouble: &Trouble, now: i64) -> Failure {
    let retry_in = i64::try_from(trouble.retry_in.as_millis()).unwrap_or(i64::MAX);
    Failure {
        reason: trouble.reason.chars().take(REASON_CHARS_MAX).collect(),
        retry_at: now.saturating_add(retry_in),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::domain::ids::RunId;
    use crate::domain::time::Timestamp;

    struct TestClock(AtomicI64);

    impl Clock for TestClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    struct Bench {
        dir: tempfile::TempDir,
        clock: Arc<TestClock>,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
                clock: Arc::new(TestClock(AtomicI64::new(1_000))),
            }
        }

        fn agent(&self) -> StatusFile {
            StatusFile::new(&StateDir::open(self.dir.path()).unwrap(), Arc::clone(&self.clock) as _)
        }

        fn at(&self, millis: i64) -> &Self {
            self.clock.0.store(millis, Ordering::Relaxed);
            self
        }

        fn record(&self) -> AgentRecord {
            read(self.dir.path()).unwrap()
        }
    }

    fn down(reason: &str) -> LinkStatus {
        LinkStatus::Down(Trouble {
            reason: reason.to_owned(),
            retry_in: Duration::from_secs(3),
        })
    }

    #[test]
    fn since_is_when_it_was_linked_or_lost_and_not_the_last_try() {
        let bench = Bench::new();
        let agent = bench.agent();
        let server = "push.example.com".to_owned();
        bench.at(2_000);
        agent.link(LinkStatus::Connecting { server: server.clone() });
        assert_eq!(bench.record().link.since, 1_000);
        agent.link(LinkStatus::Linked);
        assert_eq!(bench.record().link.since, 2_000);
        bench.at(5_000);
        agent.link(down("refused"));
        bench.at(9_000);
        agent.link(LinkStatus::Connecting { server });

        let link = bench.record().link;

        assert_eq!((link.state, link.since), (LinkState::Connecting, 5_000));
        let failure = link.failure.unwrap();
        assert_eq!((failure.reason.as_str(), failure.retry_at), ("refused", 8_000));

        agent.link(LinkStatus::LoggedIn {
            address: "192.0.2.1:5222".to_owned(),
        });

        let link = bench.record().link;
        assert_eq!((link.since, link.failure), (5_000, None));
    }

    #[test]
    fn file_is_private_and_written_only_when_something_changes() {
        let bench = Bench::new();
        let agent = bench.agent();
        let file = || fs::metadata(bench.dir.path().join(FILE_NAME)).unwrap();
        agent.link(LinkStatus::Linked);
        let before = file().ino();

        agent.link(LinkStatus::Linked);
        agent.registration(None);

        assert_eq!((file().ino(), file().mode() & 0o777), (before, 0o600));
    }

    #[test]
    fn next_agent_keeps_the_last_run_but_not_the_link() {
        let bench = Bench::new();
        let agent = bench.agent();
        agent.link(LinkStatus::Linked);
        agent.request(Some(RequestNumber(7)));
        agent.run_ended(EndedRun {
            run: RunId([1; 16]),
            end: RunEnd::Exited(3),
            run_time: Duration::from_secs(2),
        });

        bench.at(9_000).agent();

        let record = bench.record();
        assert_eq!(record.link.state, LinkState::Registering);
        assert_eq!(record.last_request.unwrap().number, Some(7));
        assert_eq!(record.last_run.unwrap().exit, Some(3));
    }

    #[test]
    fn directory_that_vanished_stops_nobody() {
        let bench = Bench::new();
        let agent = bench.agent();
        fs::remove_dir_all(bench.dir.path()).unwrap();

        agent.link(down(&"long ".repeat(1_000)));

        assert_eq!(read(bench.dir.path()), None);
    }
}
