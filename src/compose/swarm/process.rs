//! Child processes, and what they use.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::error::SwarmError;
use crate::compose::process::parent;

/// What the names of a dispatcher's threads begin with that work for its database.
const STORE_THREADS: &str = "osa-store-";

/// A child; killed when dropped.
pub(super) struct Process {
    what: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program of ours, its output into a file.
    pub(super) fn start(what: &'static str, command: &mut Command, log: &Path) -> Result<Self, SwarmError> {
        // However the swarm ends, nothing of it stays.
        command.arg(parent::FLAG).arg(std::process::id().to_string());
        Self::spawn(what, command, log)
    }

    /// Starts any program, its output into a file.
    pub(super) fn spawn(what: &'static str, command: &mut Command, log: &Path) -> Result<Self, SwarmError> {
        let output = || File::options().create(true).append(true).open(log);
        let stdout = output().map_err(SwarmError::file("open", log))?;
        let stderr = output().map_err(SwarmError::file("open", log))?;
        let program = PathBuf::from(command.get_program());
        let started = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn();
        Ok(Self {
            what,
            child: started.map_err(SwarmError::file("start", program))?,
            log: log.to_owned(),
        })
    }

    /// Its id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its output is.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// Says so if it has ended.
    pub(super) fn check(&mut self) -> Result<(), SwarmError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(_) => Err(SwarmError::Ended(self.what, self.log.clone())),
        }
    }

    /// What it used so far.
    pub(super) fn usage(&self) -> Usage {
        let directory = PathBuf::from(format!("/proc/{}", self.id()));
        let mut usage = Usage {
            resident: resident_of(&directory),
            ..Usage::default()
        };
        for (thread, cpu) in cpu_of_threads(&directory) {
            usage.cpu += cpu;
            if thread.starts_with(STORE_THREADS) {
                usage.store_cpu += cpu;
            }
        }
        usage
    }

    /// Kills it as a crash does, and waits for its end.
    pub(super) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, as a service manager does.
    pub(super) fn terminate(&mut self) {
        let id = i32::try_from(self.id()).unwrap_or(0);
        if id > 0 && kill(Pid::from_raw(id), Signal::SIGTERM).is_ok() {
            // Whatever it ended with is in its log.
            let _ = self.child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a process used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// CPU of its living threads.
    pub(super) cpu: Duration,
    /// What of that the threads of the database took.
    pub(super) store_cpu: Duration,
    /// Resident memory. Units: bytes.
    pub(super) resident: u64,
}

/// Each thread's name and time on a CPU: the first number of `schedstat`, nanoseconds, finer than the ticks of `stat`.
fn cpu_of_threads(directory: &Path) -> impl Iterator<Item = (String, Duration)> {
    let threads = fs::read_dir(directory.join("task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanos = text.split_ascii_whitespace().next()?.parse().ok()?;
        let name = fs::read_to_string(thread.path().join("comm")).ok()?;
        Some((name, Duration::from_nanos(nanos)))
    })
}

fn resident_of(directory: &Path) -> u64 {
    let status = fs::read_to_string(directory.join("status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// As many descriptors as the system lets us have; the children inherit it.
pub(super) fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Without it a large swarm fails with its own message.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
