//! Why the dispatcher did not start, or ended by itself.

use std::io;
use std::path::PathBuf;

use super::port_holder::Holder;
use crate::compose::cli::error as codes;
use crate::compose::console::named_place::PlaceError;
use crate::compose::process::detach::DetachError;
use crate::net::control::ControlError;
use crate::net::listener::ListenError;
use crate::ports::file_error::FileError;
use crate::ports::store::StoreError;
use crate::ports::tls::TlsError;
use crate::settings::error::SettingsError;
use crate::telemetry::LoggingError;

/// What, where and the remedy, in one line.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Logs.
    #[error(transparent)]
    Logging(#[from] LoggingError),
    /// Certificates are not there.
    #[error("{0}; `osa-dispatcher init` makes one")]
    NotInitialised(#[source] TlsError),
    /// Certificates.
    #[error(transparent)]
    Tls(TlsError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A listening socket, and who has it already.
    #[error("{error}{}", holder.as_ref().map_or_else(String::new, |holder| format!(" ({})", holder.explained(error.address.port()))))]
    Listen {
        /// The socket.
        error: ListenError,
        /// Who listens there.
        holder: Option<Holder>,
    },
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The pid file.
    #[error(transparent)]
    PidFile(#[from] PlaceError),
    /// Processes, signals or threads.
    #[error("cannot {doing}: {source}; raise the limits of processes and open files")]
    System {
        /// What was attempted.
        doing: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// It did not get into the background.
    #[error(transparent)]
    Detach(#[from] DetachError),
    /// Another file is at the database's path.
    #[error("database {} was replaced under the running dispatcher: start it again to use the new one, unless a service manager does", .0.display())]
    DatabaseReplaced(PathBuf),
    /// An actor failed too often.
    #[error(
        "actor {child} failed too often (exits are in the log as child_exited): start osa-dispatcher again, unless a service manager does, and report what the log says"
    )]
    GaveUp {
        /// Its name.
        child: &'static str,
    },
}

impl From<TlsError> for ServeError {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::Missing { .. } => Self::NotInitialised(error),
            other => Self::Tls(other),
        }
    }
}

impl ServeError {
    /// Exit code, by sysexits; `docs/cli.md` lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(error) => error.exit_code(),
            Self::Logging(error) => error.exit_code(),
            Self::NotInitialised(error) | Self::Tls(error) => codes::tls(error),
            Self::Store(error) => codes::store(error),
            Self::Listen { error, .. } if error.error.kind() == io::ErrorKind::PermissionDenied => 77,
            Self::Listen { .. } | Self::System { .. } => 71,
            Self::Control(error) => codes::control(error),
            Self::File(error) => codes::file(&error.source),
            Self::Detach(error) => error.exit_code(),
            Self::PidFile(_) => 73,
            Self::DatabaseReplaced(_) => 75,
            Self::GaveUp { .. } => 70,
        }
    }
}
