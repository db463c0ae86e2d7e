//! A process of the demo.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::DemoError;
use crate::compose::process::parent;
use crate::ports::file_error::FileError;

/// How long a process may take to end.
const END_WITHIN: Duration = Duration::from_secs(15);

/// A process with its log; killed if it is dropped before it ended.
#[derive(Debug)]
pub struct DemoProcess {
    name: String,
    child: Child,
    log: PathBuf,
}

impl DemoProcess {
    /// Starts a program with nothing of our settings in its environment but these.
    ///
    /// # Errors
    /// [`DemoError::Spawn`].
    pub fn start(
        name: &str,
        program: &Path,
        log: &Path,
        command: impl FnOnce(&mut Command),
    ) -> Result<Self, DemoError> {
        let failed = |source| DemoError::Spawn {
            program: program.to_owned(),
            source,
        };
        let words = File::create(log).map_err(failed)?;
        let mut line = Command::new(program);
        for (variable, _) in std::env::vars_os() {
            let is_ours = variable.to_str().is_some_and(|name| name.starts_with("OSA_"));
            if is_ours || variable == "NOTIFY_SOCKET" {
                line.env_remove(variable);
            }
        }
        line.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(words)
            // Ctrl-C is for the demo, which then ends the others in order.
            .process_group(0)
            .kill_on_drop(true);
        command(&mut line);
        // However the demo ends, nothing of it stays.
        line.arg(parent::FLAG).arg(std::process::id().to_string());
        Ok(Self {
            name: name.to_owned(),
            child: line.spawn().map_err(failed)?,
            log: log.to_owned(),
        })
    }

    /// Whether it is still there.
    ///
    /// # Errors
    /// [`DemoError::Ended`], with its last words.
    pub fn check(&mut self) -> Result<(), DemoError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.ended(status.to_string())),
            Err(error) => Err(self.ended(error.to_string())),
        }
    }

    /// Returns when it has ended by itself, and says how.
    pub async fn ends(&mut self) -> DemoError {
        let status = self.child.wait().await;
        self.ended(status.map_or_else(|error| error.to_string(), |status| status.to_string()))
    }

    fn ended(&self, status: String) -> DemoError {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        DemoError::Ended {
            name: self.name.clone(),
            status,
            words: log.lines().last().unwrap_or("it said nothing").to_owned(),
        }
    }

    /// Tells it to end.
    pub fn terminate(&self) {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // One that is gone needs no telling.
            kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        }
    }

    /// Waits for its end, and kills it if that does not come.
    pub async fn finish(mut self) {
        if timeout(END_WITHIN, self.child.wait()).await.is_err() {
            self.child.kill().await.ok();
        }
    }
}

/// Writes a file of the demo.
///
/// # Errors
/// [`FileError`].
pub fn write_file(path: &Path, text: &str) -> Result<(), FileError> {
    fs::write(path, text).map_err(FileError::new("write", path))
}
