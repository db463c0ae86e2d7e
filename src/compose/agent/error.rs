//! Everything the agent's commands can end with.

use std::io;
use std::path::PathBuf;

use crate::compose::console::answer::OutputError;
use crate::compose::console::named_place::PlaceError;
use crate::compose::process::detach::DetachError;
use crate::host::start_checks::{DispatcherHere, UnresolvableName};
use crate::host::state_dir::StateDirError;
use crate::ports::file_error::FileError;
use crate::ports::tls::TlsError;
use crate::settings::error::SettingsError;
use crate::telemetry::LoggingError;

/// Why a command failed: what, where and the remedy in one line, and an exit code by sysexits.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The logs.
    #[error(transparent)]
    Logging(#[from] LoggingError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateDirError),
    /// A dispatcher is enabled here.
    #[error(transparent)]
    Dispatcher(#[from] DispatcherHere),
    /// The server's name has no address.
    #[error(transparent)]
    Name(#[from] UnresolvableName),
    /// Another file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The pid file.
    #[error(transparent)]
    PidFile(#[from] PlaceError),
    /// The answer was not read.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Into the background.
    #[error(transparent)]
    Detach(#[from] DetachError),
    /// The check command is not there.
    #[error("check.command: {program} does not exist or is not executable; install it, or name another command", program = .0.display())]
    NoCheckCommand(PathBuf),
    /// The operating system refuses something.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// An actor failed too often.
    #[error("{child} failed too often; see the log before this, and report it")]
    GaveUp {
        /// Which one.
        child: &'static str,
    },
}

impl AgentError {
    /// Exit code, by sysexits; `docs/cli.md` lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(error) => error.exit_code(),
            Self::Logging(error) => error.exit_code(),
            Self::Tls(TlsError::Missing { .. }) => 66,
            Self::Tls(TlsError::Unreadable { error, .. }) => file(error),
            Self::Tls(TlsError::Forbidden { .. }) => 77,
            Self::Tls(
                TlsError::NotPem { .. }
                | TlsError::Unusable { .. }
                | TlsError::Directory { .. }
                | TlsError::Expired { .. }
                | TlsError::NotYetValid { .. }
                | TlsError::WrongName { .. }
                | TlsError::KeyMismatch { .. },
            )
            | Self::Dispatcher(_) => 78,
            Self::State(StateDirError::File(error)) | Self::File(error) => file(&error.source),
            Self::State(StateDirError::InUse(_)) | Self::Name(_) => 75,
            Self::Output(error) => error.exit_code(),
            Self::Detach(error) => error.exit_code(),
            Self::PidFile(_) => 73,
            Self::NoCheckCommand(_) => 66,
            Self::System { .. } => 71,
            Self::GaveUp { .. } => 70,
        }
    }
}

fn file(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::NotFound => 66,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => 77,
        io::ErrorKind::AlreadyExists => 73,
        // Not our enum.
        _ => 74,
    }
}
