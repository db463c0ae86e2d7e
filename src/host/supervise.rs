//! The process that runs one check and writes down how it ended, whatever becomes of the agent.
//!
//! `osad` starts itself as `osad supervise --state-dir D --run ID -- command args…` with the locked `D/ID.lock` as
//! standard input: the lock passes to this process at the fork, so there is no moment in which a run that was started
//! looks dead. The process runs the command in a session of its own, as the compatibility contract (section 7.4) asks:
//! umask 022, working directory `/`, standard streams on `/dev/null`, nothing else open, the environment inherited.
//! Then it writes `D/ID.exit` and ends, which frees the lock and so tells the agent.
//!
//! If it is killed itself, nobody learns how the command ends: the run is lost. But the command may go on, so its process
//! is written down in the draft of `D/ID.exit`, and the agent starts no other run before it has ended.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::stat::{Mode, umask};

use super::process_identity::ProcessIdentity;
use super::run_record::{ExitRecord, RECORD_BYTES, format_command};
use super::state_dir::{RunFiles, private};
use crate::domain::ids::RunId;

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "supervise";

/// How often the result is written before it is given up, which makes the run count as lost.
const WRITE_TRIES_MAX: u32 = 60;
/// The pause between two tries: a full disk does not heal sooner.
const WRITE_PAUSE: Duration = Duration::from_secs(1);

/// Exit statuses a shell uses for a command that is not there, or cannot be executed.
const STATUS_NOT_FOUND: i32 = 127;
const STATUS_NOT_EXECUTABLE: i32 = 126;

/// Why a supervising process could not do its work. Nobody reads its output; the agent sees a lost run.
#[derive(Debug, thiserror::Error)]
enum SuperviseError {
    #[error("usage: osad supervise --state-dir DIR --run ID -- COMMAND [ARGUMENT]...")]
    Usage,
    #[error("standard input is not the lock file of the run")]
    ForeignLock,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<nix::Error> for SuperviseError {
    fn from(error: nix::Error) -> Self {
        Self::Io(error.into())
    }
}

#[derive(Debug)]
struct Task {
    files: RunFiles,
    command: Vec<OsString>,
}

/// Supervises one run if the program's arguments, the program itself left out, ask for it.
///
/// To be called first in `main`, before threads or descriptors exist: it closes all descriptors it inherited.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter();
    if arguments.next()? != SUBCOMMAND {
        return None;
    }
    let outcome = parse(arguments).and_then(|task| task.perform());
    Some(match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The standard streams may be gone; then the words are lost and the status remains.
        Err(error) => {
            let _ = writeln!(io::stderr(), "osad: {error}");
            match error {
                SuperviseError::Usage | SuperviseError::ForeignLock => ExitCode::from(64),
                SuperviseError::Io(_) => ExitCode::from(74),
            }
        }
    })
}

fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Task, SuperviseError> {
    let mut named = |name: &str| {
        let found = arguments.next().is_some_and(|argument| argument == name);
        found.then(|| arguments.next()).flatten().ok_or(SuperviseError::Usage)
    };
    let dir = PathBuf::from(named("--state-dir")?);
    let run: RunId = named("--run")?
        .to_str()
        .and_then(|text| text.parse().ok())
        .ok_or(SuperviseError::Usage)?;
    let separator = arguments.next();
    let command: Vec<OsString> = arguments.collect();
    if separator.is_none_or(|argument| argument != "--") || command.is_empty() {
        return Err(SuperviseError::Usage);
    }
    Ok(Task {
        files: RunFiles::new(&dir, run),
        command,
    })
}

impl Task {
    fn perform(&self) -> Result<(), SuperviseError> {
        // Started through a link, it would be called `exe` in lists of processes.
        nix::sys::prctl::set_name(c"osad")?;
        close_inherited()?;
        let _lock = self.take_lock()?;
        let mut draft =
            private(OpenOptions::new().create(true).truncate(true).write(true)).open(&self.files.exit_draft)?;
        // Space for the result is taken while there is some.
        draft.write_all(&[b'\n'; RECORD_BYTES])?;
        detach()?;
        let record = self.run_command(&mut draft);
        self.write_result(draft, record)
    }

    /// Keeps the lock that came as standard input, out of the command's reach.
    fn take_lock(&self) -> Result<File, SuperviseError> {
        let lock = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let (held, named) = (lock.metadata()?, fs::metadata(&self.files.lock)?);
        if (held.dev(), held.ino()) != (named.dev(), named.ino()) {
            return Err(SuperviseError::ForeignLock);
        }
        Ok(lock)
    }

    fn run_command(&self, draft: &mut File) -> ExitRecord {
        let started = Instant::now();
        let (program, arguments) = self.command.split_first().unzip();
        let outcome = Command::new(program.cloned().unwrap_or_default())
            .args(arguments.unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .and_then(|mut command| {
                name_command(draft, command.id());
                command.wait()
            });
        let (status, start_errno) = match outcome {
            Ok(status) => (shell_status(status), None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (STATUS_NOT_FOUND, error.raw_os_error()),
            Err(error) => (STATUS_NOT_EXECUTABLE, error.raw_os_error()),
        };
        ExitRecord {
            status,
            run_time: started.elapsed(),
            start_errno,
        }
    }

    fn write_result(&self, mut draft: File, record: ExitRecord) -> Result<(), SuperviseError> {
        let mut tries = 1;
        loop {
            let Err(error) = self.try_write_result(&mut draft, record) else {
                return Ok(());
            };
            if tries == WRITE_TRIES_MAX || is_removed(&draft) {
                return Err(error.into());
            }
            tries += 1;
            #[expect(
                clippy::disallowed_methods,
                reason = "a process of one thread that has nothing else to do"
            )]
            std::thread::sleep(WRITE_PAUSE);
        }
    }

    fn try_write_result(&self, draft: &mut File, record: ExitRecord) -> io::Result<()> {
        io::Seek::rewind(draft)?;
        draft.write_all(record.format().as_bytes())?;
        draft.sync_all()?;
        fs::rename(&self.files.exit_draft, &self.files.exit)?;
        let dir = self.files.exit.parent().map(File::open).transpose()?;
        dir.map_or(Ok(()), |dir| dir.sync_all())
    }
}

/// Writes down which process the command is, for an agent that finds it without us.
fn name_command(draft: &mut File, pid: u32) {
    // What cannot be written is missing only if this process is killed as well.
    if let Ok(command) = ProcessIdentity::of(pid) {
        let _ = io::Seek::rewind(draft).and_then(|()| draft.write_all(format_command(&command).as_bytes()));
    }
}

/// Whether the state directory is gone with all that is in it: then nobody is left who could be told.
fn is_removed(draft: &File) -> bool {
    draft.metadata().is_ok_and(|file| file.nlink() == 0)
}

/// 128 + n for signal n, as in a shell.
fn shell_status(status: ExitStatus) -> i32 {
    let signal = || status.signal().map_or(STATUS_NOT_EXECUTABLE, |signal| 128 + signal);
    status.code().unwrap_or_else(signal)
}

/// Closes what the agent's own parents left open, so that neither this process nor the command holds it.
fn close_inherited() -> Result<(), SuperviseError> {
    let names =
        fs::read_dir("/proc/self/fd")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let inherited: Vec<i32> = names.filter(|descriptor| *descriptor > 2).collect();
    for descriptor in inherited {
        // The descriptor of the listing itself is closed already.
        let _ = nix::unistd::close(descriptor);
    }
    Ok(())
}

fn detach() -> Result<(), SuperviseError> {
    match nix::unistd::setsid() {
        // EPERM: leader of its group already, as when started from a shell.
        Ok(_) | Err(nix::Error::EPERM) => {}
        Err(error) => return Err(error.into()),
    }
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    std::env::set_current_dir("/")?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Vec<OsString>> {
        let arguments = text.split_whitespace().map(OsString::from);
        parse(arguments).ok().map(|task| task.command)
    }

    #[test]
    fn command_follows_the_separator() {
        let run = "0123456789abcdef0123456789abcdef";

        assert_eq!(
            parsed(&format!("--state-dir /d --run {run} -- true -v")),
            Some(vec!["true".into(), "-v".into()])
        );
        for wrong in ["", "--run x", "--state-dir /d --run xyz -- true"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
        for wrong in ["", "--", "true", "-- "] {
            assert_eq!(parsed(&format!("--state-dir /d --run {run} {wrong}")), None, "{wrong}");
        }
    }

    #[test]
    fn other_subcommands_are_left_alone() {
        assert!(run([OsString::from("run")]).is_none());
        assert!(run([]).is_none());
    }

    #[test]
    fn signal_counts_as_128_and_its_number() {
        assert_eq!(shell_status(ExitStatus::from_raw(9)), 137);
        assert_eq!(shell_status(ExitStatus::from_raw(3 << 8)), 3);
    }
}
