//! The database's place in the file system: directory, modes, and who may open it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::failure::inaccessible;
use crate::ports::store::StoreError;

/// Nobody but the dispatcher's user: the tables hold shared keys and system secrets.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// How often, and how long apart, a serving dispatcher asks for the lock: a command that is just ending must not keep
/// it from starting.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Makes the directory where there is none.
///
/// # Errors
/// [`StoreError::Inaccessible`], [`StoreError::Full`].
pub(super) fn prepare_directory(path: &Path) -> Result<(), StoreError> {
    let directory = directory_of(path);
    if directory.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory);
    made.map_err(|error| inaccessible(path, error))
}

/// Makes an empty file where there is none, and closes the file to others.
///
/// # Errors
/// [`StoreError::Empty`] if there was an empty one: a failed restore must not pass for a new database.
/// [`StoreError::Inaccessible`], [`StoreError::Full`].
pub(super) fn prepare(path: &Path) -> Result<(), StoreError> {
    if std::fs::metadata(path).is_ok_and(|found| found.len() == 0) {
        return Err(StoreError::Empty(path.into()));
    }
    let closed = open(path).and_then(|file| {
        let mode = file.metadata()?.permissions().mode();
        if mode & 0o077 == 0 {
            return Ok(());
        }
        file.set_permissions(Permissions::from_mode(FILE_MODE))
    });
    closed.map_err(|error| inaccessible(path, error))
}

/// Takes back what [`prepare`] made when it came to nothing: the next attempt would find an empty file.
pub(super) fn remove_if_empty(path: &Path) {
    if std::fs::metadata(path).is_ok_and(|found| found.len() == 0) {
        // What cannot be removed is refused with words the next time.
        std::fs::remove_file(path).ok();
    }
}

/// A lock that ends with the process.
pub(super) struct Lock {
    file: Flock<File>,
}

/// The longest note. Units: bytes.
const NOTE_MAX: usize = 64;

impl Lock {
    /// What an earlier holder left in the file.
    pub(super) fn note(&self) -> io::Result<String> {
        let mut bytes = [0; NOTE_MAX];
        let length = self.file.read_at(&mut bytes, 0)?;
        Ok(String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned())
    }

    /// Leaves something for the next holder.
    pub(super) fn set_note(&self, note: &str) -> io::Result<()> {
        self.file.write_all_at(note.as_bytes(), 0)?;
        self.file.set_len(note.len() as u64)
    }
}

/// Who wants the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// A dispatcher: alone.
    Dispatcher,
    /// A command: beside other commands.
    Command,
}

/// Takes the lock beside the database.
///
/// # Errors
/// [`StoreError::InUse`] if a dispatcher holds it; [`StoreError::Inaccessible`].
pub(super) fn lock(path: &Path, holder: Holder) -> Result<Lock, StoreError> {
    let (kind, attempts) = match holder {
        Holder::Dispatcher => (FlockArg::LockExclusiveNonblock, LOCK_ATTEMPTS),
        Holder::Command => (FlockArg::LockSharedNonblock, 1),
    };
    let beside = sibling(path, ".lock");
    let mut file = open(&beside).map_err(|error| inaccessible(&beside, error))?;
    for attempt in 1..=attempts {
        file = match Flock::lock(file, kind) {
            Ok(locked) => return Ok(Lock { file: locked }),
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => file,
            Err((_, errno)) => return Err(inaccessible(&beside, errno.into())),
        };
        if attempt < attempts {
            pause();
        }
    }
    Err(StoreError::InUse(path.into()))
}

/// What tells a file from another one at the same path: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

/// Which file is at a path now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The one that is open.
    Kept,
    /// None: what is written to the open one is lost when it is closed.
    Deleted,
    /// Another one.
    Replaced,
}

/// Identifies the file at a path.
///
/// # Errors
/// [`StoreError::Inaccessible`].
pub(super) fn identity(path: &Path) -> Result<Identity, StoreError> {
    let found = std::fs::metadata(path).map_err(|error| inaccessible(path, error))?;
    Ok(Identity(found.dev(), found.ino()))
}

/// Compares the file at a path with the one that was opened there.
///
/// # Errors
/// [`StoreError::Inaccessible`].
pub(super) fn place(path: &Path, opened: Identity) -> Result<Place, StoreError> {
    match std::fs::metadata(path) {
        Ok(found) if Identity(found.dev(), found.ino()) == opened => Ok(Place::Kept),
        Ok(_) => Ok(Place::Replaced),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Place::Deleted),
        Err(error) => Err(inaccessible(path, error)),
    }
}

/// The write-ahead log of an open database, and its directory, with both entries on disk.
///
/// # Errors
/// [`StoreError::Inaccessible`].
pub(super) fn log_of(path: &Path) -> Result<File, StoreError> {
    let log = sibling(path, "-wal");
    let opened = OpenOptions::new().read(true).write(true).open(&log).and_then(|file| {
        File::open(directory_of(path))?.sync_all()?;
        Ok(file)
    });
    opened.map_err(|error| inaccessible(&log, error))
}

#[expect(clippy::disallowed_methods, reason = "at start, before there is an arbiter to block")]
fn pause() {
    std::thread::sleep(LOCK_PAUSE);
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

pub(super) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
