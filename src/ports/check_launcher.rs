//! Starting the check command so that its result survives the agent.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;

use crate::domain::check::{EndedRun, Recovered};
use crate::domain::ids::{RequestNumber, RunId};
use crate::domain::push::client::RunStart;
use crate::ports::file_error::FileError;

/// What is found of an agent's earlier life, and what of it could not be read.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Runs, reports and the promise.
    pub recovered: Recovered,
    /// Damaged files, moved to these places; each is named once.
    pub moved_aside: Vec<PathBuf>,
}

/// The end of a run.
#[derive(Debug)]
pub struct RunEnding {
    /// How it ended.
    pub ended: EndedRun,
    /// Why the command could not even be started, if so; it counts as exit status 127 or 126, as in a shell.
    pub trouble: Option<CommandError>,
}

/// The check command could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot run check command {command}: {source}; install it, or correct check.command (rhn_check_command)")]
pub struct CommandError {
    /// The program.
    pub command: String,
    /// What the operating system said.
    pub source: io::Error,
}

/// Why a run could not be started or watched. All of these can heal, so the caller tries again.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A file of the state directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// The operating system refuses a process or thread.
    #[error("cannot start a process or thread to supervise a check: {0}; it is tried again")]
    Spawn(#[source] io::Error),
}

/// Resolves when a run is over.
pub type RunWait = Pin<Box<dyn Future<Output = Result<RunEnding, LaunchError>> + Send>>;

/// Starts check runs and keeps their traces on disk. No method blocks for longer than a small file operation.
pub trait CheckLauncher: Send + Sync {
    /// Reads what earlier agents left.
    ///
    /// # Errors
    /// [`LaunchError::File`] if the state directory cannot be read.
    fn recover(&self) -> Result<Recovery, LaunchError>;

    /// Starts a run under a process of its own, which outlives the agent.
    ///
    /// # Errors
    /// [`LaunchError`]; then there is no trace of the run.
    fn start(&self, start: RunStart) -> Result<(), LaunchError>;

    /// Waits for the end of a run that was started or recovered. Dropping the future ends the wait, not the run.
    ///
    /// # Errors
    /// [`LaunchError::Spawn`] if the wait cannot begin.
    fn wait(&self, run: RunId) -> Result<RunWait, LaunchError>;

    /// Records that a request was accepted although no run has started yet.
    ///
    /// # Errors
    /// [`LaunchError::File`]; then the promise is lost if the agent crashes before its next run, and the dispatcher
    /// asks again.
    fn remember(&self, number: RequestNumber) -> Result<(), LaunchError>;

    /// Removes all traces of an ended run.
    ///
    /// # Errors
    /// [`LaunchError::File`]; then its report is sent once more after the next agent start.
    fn forget(&self, run: RunId) -> Result<(), LaunchError>;

    /// Makes all recorded request numbers count as none, since they belong to another system.
    ///
    /// # Errors
    /// [`LaunchError::File`] for the first file that resists; the others are done.
    fn forget_numbers(&self) -> Result<(), LaunchError>;
}
