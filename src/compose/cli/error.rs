//! Everything a command can end with.

use std::io;
use std::path::PathBuf;

use crate::compose::cli::demo::DemoError;
use crate::compose::console::answer::OutputError;
use crate::compose::console::named_place::PlaceError;
use crate::compose::control::envelope::{Rejection, RejectionKind};
use crate::compose::dispatcher::ServeError;
use crate::domain::dispatcher_rows::KeptRow;
use crate::net::ca::CaError;
use crate::net::control::ControlError;
use crate::ports::file_error::FileError;
use crate::ports::store::StoreError;
use crate::ports::tls::{TlsError, TlsWarning};
use crate::settings::error::SettingsError;

/// Why a command failed: what, where and the remedy in one line, and an exit code by sysexits.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The dispatcher did not start, or ended by itself.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Making certificates.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The request was not carried out.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no database yet.
    #[error("there is no database {}; make one with `osa-dispatcher init`, or name its configuration with --config", .0.display())]
    NoDatabase(PathBuf),
    /// A dispatcher serves the database, but does not listen where it should.
    #[error("a dispatcher runs, but its control socket {} is gone: restart osa-dispatcher, which makes it anew, or correct control_socket", .0.display())]
    SocketGone(PathBuf),
    /// `accounts list` or `accounts reset`, where agents log in elsewhere.
    #[error(
        "accounts are on the XMPP server {0}: list and remove them there, with its own tools; `osa-dispatcher systems list` shows whose they are"
    )]
    AccountsElsewhere(String),
    /// `init` where a Satellite is.
    #[error(
        "this is a Satellite ({}), whose database and certificate osa-dispatcher uses: there is nothing to make, start it with `osa-dispatcher serve`; to try it apart from the Satellite, name a configuration of its own with --config", .0.display()
    )]
    OnSatellite(PathBuf),
    /// `migrate` where no Satellite is.
    #[error(
        "there is no Satellite here, and the database {} of a standalone dispatcher is migrated by `serve`; name the Satellite's configuration with --rhn-conf", .0.display()
    )]
    NoSatellite(PathBuf),
    /// `migrate --remove-tables` under a dispatcher.
    #[error("a dispatcher uses these tables; stop osa-dispatcher first")]
    TablesInUse,
    /// `dispatchers` where no Satellite is.
    #[error("there is no Satellite here that tells clients of dispatchers; name its configuration with --rhn-conf")]
    NoRows,
    /// A row of `rhnPushDispatcher` that is not removed.
    #[error(transparent)]
    KeptRow(#[from] KeptRow),
    /// A bundle's directory exists.
    #[error("{} exists already; remove it, or name another place with --out", .0.display())]
    BundleExists(PathBuf),
    /// A bundle would hold the wrong CA certificate.
    #[error("no bundle for a client that could never connect: {0}")]
    WrongAuthority(TlsWarning),
    /// A bundle's directory cannot be made.
    #[error(transparent)]
    BundlePlace(#[from] PlaceError),
    /// `init` was told another name than the configuration has.
    #[error("configuration {} says hostname = {configured:?}, not {given:?}; change it there, or leave out --hostname", .file.display())]
    OtherHostname {
        /// The configuration.
        file: PathBuf,
        /// What it says.
        configured: String,
        /// What the command line says.
        given: String,
    },
    /// `--hostname` is no host name.
    #[error(
        "--hostname {0:?} is no host name; name the server as clients do, such as push.example.com, not by an address"
    )]
    BadHostname(String),
    /// The host has no name that a server can have.
    #[error("this machine is called {0:?}, which is no full host name; name the server with --hostname NAME")]
    NoHostname(String),
    /// The answer does not fit the question.
    #[error("the dispatcher answered another question; use the osa-dispatcher program that it was started from")]
    OtherAnswer,
    /// The runtime cannot be started.
    #[error("cannot start the runtime: {0}; raise the limits of open files and tasks")]
    Runtime(#[source] io::Error),
    /// The answer was not read.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The demo.
    #[error(transparent)]
    Demo(#[from] DemoError),
}

impl CliError {
    /// Exit code, by sysexits; `docs/cli.md` lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(error) => error.exit_code(),
            Self::Serve(error) => error.exit_code(),
            Self::Store(error) => store(error),
            Self::Tls(error) => tls(error),
            Self::Ca(error) => ca(error),
            Self::Control(error) => control(error),
            Self::Rejected(rejection) => rejection.kind.exit_code(),
            Self::File(error) => file(&error.source),
            Self::KeptRow(KeptRow::Alive { .. }) | Self::TablesInUse => 75,
            Self::KeptRow(KeptRow::Own(_) | KeptRow::Absent(_)) => 65,
            Self::NoDatabase(_) => 66,
            Self::SocketGone(_) | Self::AccountsElsewhere(_) => 69,
            Self::BundleExists(_) | Self::BundlePlace(_) => 73,
            Self::WrongAuthority(_)
            | Self::OnSatellite(_)
            | Self::NoSatellite(_)
            | Self::NoRows
            | Self::NoHostname(_)
            | Self::BadHostname(_)
            | Self::OtherHostname { .. } => 78,
            Self::OtherAnswer => 70,
            Self::Runtime(_) => 71,
            Self::Output(error) => error.exit_code(),
            Self::Demo(error) => error.exit_code(),
        }
    }
}

/// Exit code of a database's error: the same whether a dispatcher met it or this program.
pub(in crate::compose) fn store(error: &StoreError) -> u8 {
    RejectionKind::from(error).exit_code()
}

/// Exit code of an error with certificates.
pub(in crate::compose) fn tls(error: &TlsError) -> u8 {
    match error {
        TlsError::Missing { .. } => 66,
        TlsError::Unreadable { error, .. } => file(error),
        TlsError::Forbidden { .. } => 77,
        TlsError::NotPem { .. }
        | TlsError::Unusable { .. }
        | TlsError::Directory { .. }
        | TlsError::Expired { .. }
        | TlsError::NotYetValid { .. }
        | TlsError::WrongName { .. }
        | TlsError::KeyMismatch { .. } => 78,
    }
}

fn ca(error: &CaError) -> u8 {
    match error {
        CaError::File { error, .. } => file(error),
        CaError::Hostname(_) => 78,
        CaError::Half { .. } => 66,
        CaError::Authority { .. } | CaError::OtherKey { .. } => 65,
        CaError::Make(_) => 70,
    }
}

/// Exit code of an error on the control socket.
pub(in crate::compose) fn control(error: &ControlError) -> u8 {
    match error {
        ControlError::Bind { .. } | ControlError::NotSocket(_) => 73,
        ControlError::NoDispatcher(_) => 69,
        ControlError::Forbidden(_) | ControlError::Unwritable { .. } => 77,
        ControlError::Io { .. } | ControlError::CutOff(_) => 74,
        ControlError::TimedOut(_) | ControlError::Taken(_) => 75,
        ControlError::TooLong { .. } => 65,
    }
}

/// Exit code of what the system says about a file.
pub(in crate::compose) fn file(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::NotFound => 66,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => 77,
        io::ErrorKind::AlreadyExists => 73,
        // Not our enum.
        _ => 74,
    }
}
