//! Into the background, as init scripts expect it: the caller waits until the program is ready, or has said why not.
//!
//! The program starts itself anew in the foreground instead of forking: after a fork only the calling thread would live.
//! How the new process says that it is ready is how it would tell systemd.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::readiness::Readiness;
use crate::ports::file_error::FileError;

/// Why the program is not in the background.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// The socket on which the new process says that it is ready cannot be made.
    #[error(transparent)]
    File(#[from] FileError),
    /// The operating system refuses something.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// The new process ended; its own words, if any, came first.
    #[error("{words}")]
    NotReady {
        /// What it said on standard error.
        words: String,
        /// Its exit code.
        code: u8,
    },
    /// The new process is neither ready nor ended.
    #[error("not ready after {seconds} s; look into its log")]
    Slow {
        /// How long it was waited for.
        seconds: u64,
    },
}

impl DetachError {
    /// Exit code, by sysexits.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::File(_) => 73,
            Self::System { .. } => 71,
            Self::NotReady { code, .. } => *code,
            Self::Slow { .. } => 75,
        }
    }
}

/// Starts this program anew with these arguments, which must keep it in the foreground, and returns when it is ready.
/// `directory` is one that nobody else can write to.
///
/// # Errors
/// [`DetachError`].
pub fn detach(arguments: Vec<OsString>, directory: &Path, within: Duration) -> Result<(), DetachError> {
    std::fs::metadata(directory).map_err(FileError::new("open directory", directory))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(system("start the runtime"))?;
    runtime.block_on(start(arguments, directory, within))
}

async fn start(arguments: Vec<OsString>, directory: &Path, within: Duration) -> Result<(), DetachError> {
    let readiness = Readiness::bind(directory)?;
    let mut child = spawn(arguments, readiness.path())?;
    let words = child
        .stderr
        .take()
        .and_then(|pipe| tokio::process::ChildStderr::from_std(pipe).ok());
    let ended = async {
        let mut text = String::new();
        if let Some(mut words) = words {
            // Ends with the process; what cannot be read is not shown.
            words.read_to_string(&mut text).await.ok();
        }
        text
    };
    let (ready, ended) = (std::pin::pin!(readiness.wait()), std::pin::pin!(ended));
    match timeout(within, select(ready, ended)).await {
        Ok(Either::Left(_)) => Ok(()),
        Ok(Either::Right((words, _))) => Err(not_ready(&mut child, words)),
        Err(_) => Err(DetachError::Slow {
            seconds: within.as_secs(),
        }),
    }
}

fn spawn(arguments: Vec<OsString>, socket: &Path) -> Result<Child, DetachError> {
    let program = std::env::current_exe().map_err(system("find this program"))?;
    Command::new(program)
        .args(arguments)
        .env("NOTIFY_SOCKET", socket)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(system("start a process"))
}

fn not_ready(child: &mut Child, words: String) -> DetachError {
    let code = child.wait().ok().and_then(|status| status.code());
    let code = code
        .and_then(|code| u8::try_from(code).ok())
        .filter(|code| *code != 0)
        .unwrap_or(70);
    // Its last line says why, behind the program's name, which we will say ourselves.
    let last = words.lines().last().unwrap_or_default();
    let words = last.split_once(": ").map_or(last, |(_, why)| why).to_owned();
    DetachError::NotReady { words, code }
}

fn system(doing: &'static str) -> impl Fn(io::Error) -> DetachError {
    move |source| DetachError::System { doing, source }
}
