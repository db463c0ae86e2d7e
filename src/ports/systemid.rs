//! The file that says which system this host is.

use std::path::PathBuf;

use crate::domain::secret::Secret;
use crate::ports::file_error::FileError;
use crate::protocol::systemid::{SystemName, SystemidError};

/// A usable systemid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Systemid {
    /// The file's text, verbatim: what registers this host.
    pub text: Secret,
    /// Which system it says it is of.
    pub system: SystemName,
}

/// What tells two states of a file apart without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMark {
    /// Device and inode.
    pub inode: (u64, u64),
    /// Length. Units: bytes.
    pub length: u64,
    /// Last change of the contents. Units: nanoseconds since the epoch.
    pub modified: i128,
}

/// The systemid cannot be used. Heals when the host is registered, so the caller looks again.
#[derive(Debug, thiserror::Error)]
pub enum SystemidFileError {
    /// It cannot be read; if it is missing, the host is not registered.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is no systemid.
    #[error("systemid {path} is unusable ({error}); register this host anew", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: SystemidError,
    },
    /// It is of no particular system.
    #[error("systemid {path} belongs to no system; register this host", path = .0.display())]
    Anonymous(PathBuf),
}

/// Where the systemid is.
pub trait SystemidSource: Send + Sync {
    /// The file's present state; `None` if it is not there. Cheap, for frequent use.
    fn mark(&self) -> Option<FileMark>;

    /// Reads the file.
    ///
    /// # Errors
    /// [`SystemidFileError`].
    fn read(&self) -> Result<Systemid, SystemidFileError>;
}
