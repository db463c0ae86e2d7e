//! Check runs as processes, and their traces in the state directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use super::run_record::{ExitRecord, format_covers, parse_command, parse_covers};
use super::state_dir::{RunFiles, StateDir, private, read_record, remove_if_present, replace};
use super::supervise::SUBCOMMAND;
use crate::domain::check::{EndedRun, Recovered};
use crate::domain::ids::{RequestNumber, RunId};
use crate::domain::push::client::{RunEnd, RunReport, RunStart};
use crate::ports::check_launcher::{CheckLauncher, CommandError, LaunchError, Recovery, RunEnding, RunWait};
use crate::ports::file_error::FileError;

/// The running program itself, even after a package update has replaced its file.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// Stack of the thread that waits for a run: it calls two system calls and reads a small file. Units: bytes.
const WAITER_STACK_BYTES: usize = 64 * 1_024;
/// Runs read at a start; more than the core keeps, so that what it does not keep is removed. The rest waits for the
/// next start.
const RECOVERED_RUNS_MAX: usize = 1_000;
/// How often it is looked whether a command that lost its supervising process has ended: nobody tells us.
const ORPHAN_PAUSE: Duration = Duration::from_secs(1);

/// Starts runs of one check command under supervising processes.
#[derive(Debug)]
pub struct CheckRuns {
    state: StateDir,
    supervisor: PathBuf,
    command: Vec<String>,
    /// The supervising process started last, until a waiter takes it to reap it.
    child: Mutex<Option<(RunId, Child)>>,
}

/// A run as its files show it.
struct Found {
    run: RunId,
    seen: SystemTime,
    covers: RequestNumber,
    state: FoundState,
}

enum FoundState {
    Live,
    Ended(Option<ExitRecord>),
}

impl CheckRuns {
    /// Runs of `command`, a program and its arguments.
    pub fn new(state: StateDir, command: Vec<String>) -> Self {
        Self::supervised_by(state, command, PathBuf::from(OWN_PROGRAM))
    }

    /// The same under another program that knows the subcommand `supervise`.
    pub fn supervised_by(state: StateDir, command: Vec<String>, supervisor: PathBuf) -> Self {
        Self {
            state,
            supervisor,
            command,
            child: Mutex::new(None),
        }
    }

    fn write_lock(&self, files: &RunFiles, start: RunStart) -> io::Result<File> {
        let mut lock = private(OpenOptions::new().create_new(true).read(true).write(true)).open(&files.lock)?;
        // Nobody else knows the file yet, so the lock is free.
        lock.try_lock()?;
        lock.write_all(format_covers(start.covers).as_bytes())?;
        Ok(lock)
    }

    fn spawn(&self, run: RunId, lock: File) -> io::Result<Child> {
        Command::new(&self.supervisor)
            .arg0("osad")
            .arg(SUBCOMMAND)
            .arg("--state-dir")
            .arg(self.state.path())
            .args(["--run", &run.to_string(), "--"])
            .args(&self.command)
            .stdin(Stdio::from(lock))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    }

    fn run_ids(&self) -> io::Result<Vec<RunId>> {
        let mut runs = Vec::new();
        for entry in fs::read_dir(self.state.path())?.take(RECOVERED_RUNS_MAX * 2) {
            let name = entry?.file_name();
            let name = name.to_str().unwrap_or_default();
            let stem = name.strip_suffix(".lock").or_else(|| name.strip_suffix(".exit"));
            runs.extend(stem.and_then(|stem| stem.parse::<RunId>().ok()));
        }
        runs.sort_unstable();
        runs.dedup();
        Ok(runs)
    }

    fn find(&self, run: RunId, moved_aside: &mut Vec<PathBuf>) -> Result<Found, FileError> {
        let files = self.state.run(run);
        let supervised = is_locked(&files.lock).map_err(FileError::new("lock", &files.lock))?;
        let live = supervised || is_orphaned(&files);
        let covers = match read_record(&files.lock) {
            Ok(text) => parse_covers(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(FileError::new("read", &files.lock)(error)),
        };
        let exit = if live {
            None
        } else {
            self.read_exit(&files, moved_aside)?
        };
        let seen = [&files.exit, &files.lock]
            .into_iter()
            .find_map(|path| fs::metadata(path).ok()?.modified().ok());
        Ok(Found {
            run,
            seen: seen.unwrap_or(SystemTime::UNIX_EPOCH),
            covers: covers.unwrap_or_default(),
            state: if live {
                FoundState::Live
            } else {
                FoundState::Ended(exit)
            },
        })
    }

    /// The result of a dead run; `None` if there is none, or none that can be read.
    fn read_exit(&self, files: &RunFiles, moved_aside: &mut Vec<PathBuf>) -> Result<Option<ExitRecord>, FileError> {
        let text = match read_record(&files.exit) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::new("read", &files.exit)(error)),
        };
        let record = ExitRecord::parse(&text);
        if record.is_none() {
            // One name for all: only the latest is kept.
            let aside = self.state.path().join("damaged.exit");
            fs::rename(&files.exit, &aside).map_err(FileError::new("move aside", &files.exit))?;
            moved_aside.push(aside);
        }
        Ok(record)
    }

    fn read_promise(&self, moved_aside: &mut Vec<PathBuf>) -> Result<Option<RequestNumber>, FileError> {
        let path = self.state.promise();
        let text = match read_record(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::new("read", &path)(error)),
        };
        let promise = parse_covers(&text);
        if promise.is_none() {
            let aside = self.state.path().join("damaged.promise");
            fs::rename(&path, &aside).map_err(FileError::new("move aside", &path))?;
            moved_aside.push(aside);
        }
        Ok(promise)
    }

    fn take_child(&self, run: RunId) -> Option<Child> {
        // The lock guards a plain value; a panic cannot leave it half changed.
        let mut slot = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        slot.take_if(|(of, _)| *of == run).map(|(_, child)| child)
    }
}

impl CheckLauncher for CheckRuns {
    fn recover(&self) -> Result<Recovery, LaunchError> {
        let mut recovery = Recovery::default();
        let runs = self.run_ids().map_err(FileError::new("read", self.state.path()))?;
        let mut found = Vec::new();
        for run in runs.into_iter().take(RECOVERED_RUNS_MAX) {
            found.push(self.find(run, &mut recovery.moved_aside)?);
        }
        found.sort_by_key(|found| found.seen);
        recovery.recovered = Recovered {
            live: None,
            ended: Vec::new(),
            promised: self.read_promise(&mut recovery.moved_aside)?,
        };
        for Found { run, covers, state, .. } in found {
            match state {
                FoundState::Live => recovery.recovered.live = Some(RunStart { run, covers }),
                FoundState::Ended(exit) => {
                    let EndedRun { end, run_time, .. } = ended(run, exit);
                    recovery.recovered.ended.push(RunReport {
                        run,
                        covers,
                        end,
                        run_time,
                    });
                }
            }
        }
        Ok(recovery)
    }

    fn start(&self, start: RunStart) -> Result<(), LaunchError> {
        let files = self.state.run(start.run);
        let spawned = self
            .write_lock(&files, start)
            .map_err(|error| LaunchError::from(FileError::new("write", &files.lock)(error)))
            .and_then(|lock| self.spawn(start.run, lock).map_err(LaunchError::Spawn));
        match spawned {
            Ok(child) => {
                *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some((start.run, child));
                Ok(())
            }
            Err(error) => {
                // The failed start is reported; a trace that stays behind is found as a lost run later.
                let _ = fs::remove_file(&files.lock);
                Err(error)
            }
        }
    }

    fn wait(&self, run: RunId) -> Result<RunWait, LaunchError> {
        let files = self.state.run(run);
        let child = self.take_child(run);
        let command = self.command.first().cloned().unwrap_or_default();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // Not the runtime's pool of blocking threads: that one is joined at shutdown, and a check can take hours.
        thread::Builder::new()
            .name("check-wait".to_owned())
            .stack_size(WAITER_STACK_BYTES)
            .spawn(move || {
                let ending = await_end(run, &files, child, command);
                // Nobody may be waiting any more; the result stays on disk.
                let _ = sender.send(ending);
            })
            .map_err(LaunchError::Spawn)?;
        Ok(Box::pin(async move {
            let gone = || LaunchError::Spawn(io::Error::other("the waiting thread ended early"));
            receiver.await.unwrap_or_else(|_| Err(gone()))
        }))
    }

    fn remember(&self, number: RequestNumber) -> Result<(), LaunchError> {
        Ok(replace(&self.state.promise(), &format_covers(number))?)
    }

    fn forget(&self, run: RunId) -> Result<(), LaunchError> {
        let files = self.state.run(run);
        for path in [&files.exit_draft, &files.exit, &files.lock] {
            remove_if_present(path).map_err(FileError::new("remove", path))?;
        }
        Ok(())
    }

    fn forget_numbers(&self) -> Result<(), LaunchError> {
        let promise = self.state.promise();
        let mut outcome = remove_if_present(&promise).map_err(FileError::new("remove", &promise));
        let runs = self.run_ids().map_err(FileError::new("read", self.state.path()))?;
        for run in runs {
            let lock = self.state.run(run).lock;
            let rewritten = overwrite(&lock, &format_covers(RequestNumber(0)));
            outcome = outcome.and(rewritten.map_err(FileError::new("write", &lock)));
        }
        Ok(outcome?)
    }
}

/// Whether a supervising process is alive; false if the file is not there.
fn is_locked(lock: &Path) -> io::Result<bool> {
    let file = match File::open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // Shared, as a waiter may ask at the same moment.
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether the command goes on although its supervising process, which alone would learn its end, was killed.
fn is_orphaned(files: &RunFiles) -> bool {
    let draft = read_record(&files.exit_draft).ok();
    let command = draft.and_then(|text| parse_command(&text));
    command.is_some_and(|command| command.is_alive())
}

/// Blocks until an orphaned command has ended.
fn await_orphan(files: &RunFiles) {
    while is_orphaned(files) {
        #[expect(clippy::disallowed_methods, reason = "a thread that has nothing else to do")]
        thread::sleep(ORPHAN_PAUSE);
    }
}

/// Changes a text in place: the lock on the file must stay with it. An absent file is as good.
fn overwrite(path: &Path, text: &str) -> io::Result<()> {
    match OpenOptions::new().write(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Blocks until the supervising process has ended, reaps it if it is ours, and reads the result.
fn await_end(run: RunId, files: &RunFiles, child: Option<Child>, command: String) -> Result<RunEnding, LaunchError> {
    await_free(&files.lock).map_err(FileError::new("lock", &files.lock))?;
    if let Some(mut child) = child {
        child.wait().map_err(LaunchError::Spawn)?;
    }
    await_orphan(files);
    let exit = read_record(&files.exit).ok().and_then(|text| ExitRecord::parse(&text));
    let trouble = exit.and_then(|exit| exit.start_errno).map(|errno| CommandError {
        command,
        source: io::Error::from_raw_os_error(errno),
    });
    Ok(RunEnding {
        ended: ended(run, exit),
        trouble,
    })
}

fn await_free(lock: &Path) -> io::Result<()> {
    let file = match File::open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    loop {
        match file.lock_shared() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

fn ended(run: RunId, exit: Option<ExitRecord>) -> EndedRun {
    EndedRun {
        run,
        end: exit.map_or(RunEnd::Lost, ExitRecord::end),
        run_time: exit.map_or(Duration::ZERO, |exit| exit.run_time),
    }
}
