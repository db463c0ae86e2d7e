//! The directory in which runs and their results survive the agent.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::run_record::RECORD_BYTES_MAX;
use crate::domain::ids::RunId;
use crate::ports::file_error::FileError;

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// It cannot be created, read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another agent uses it.
    #[error("another osad uses {path}: stop it, or give this one its own state_dir", path = .0.display())]
    InUse(PathBuf),
}

/// The directory, mode 0700, and the lock that keeps a second agent out of it while this value lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Held, never read.
    _lock: File,
}

/// Names of the files of one run.
#[derive(Clone, Debug)]
pub(super) struct RunFiles {
    pub(super) lock: PathBuf,
    pub(super) exit: PathBuf,
    /// Becomes `exit` once it is complete.
    pub(super) exit_draft: PathBuf,
}

impl RunFiles {
    pub(super) fn new(dir: &Path, run: RunId) -> Self {
        Self {
            lock: dir.join(format!("{run}.lock")),
            exit: dir.join(format!("{run}.exit")),
            exit_draft: dir.join(format!("{run}.exit.new")),
        }
    }
}

impl StateDir {
    /// Opens the directory; creates it if it is missing, and closes it to others if it is open to them.
    ///
    /// # Errors
    /// [`StateDirError`].
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(FileError::new("create", path))?;
        // The path is handed to processes with another working directory.
        let path = path.canonicalize().map_err(FileError::new("open", path))?;
        let mode = fs::metadata(&path)
            .map_err(FileError::new("open", &path))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700))
                .map_err(FileError::new("close to others", &path))?;
        }
        let lock_path = path.join("agent.lock");
        let lock = private(OpenOptions::new().create(true).truncate(false).write(true))
            .open(&lock_path)
            .map_err(FileError::new("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StateDirError::InUse(path)),
            Err(TryLockError::Error(error)) => Err(FileError::new("lock", &lock_path)(error).into()),
        }
    }

    /// Where it is; absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn run(&self, run: RunId) -> RunFiles {
        RunFiles::new(&self.path, run)
    }

    pub(super) fn promise(&self) -> PathBuf {
        self.path.join("promise")
    }
}

/// Options for files that only we may read.
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

/// Reads a small text; what is longer or not UTF-8 is read as empty, which no reader of ours takes for whole.
///
/// # Errors
/// What the operating system says, `NotFound` included.
pub(super) fn read_record(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(RECORD_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes).unwrap_or_default())
}

/// Replaces a file as a whole: a reader, or a crash of this process, sees the old text or the new one.
///
/// # Errors
/// [`FileError`]; then the old text stands.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), FileError> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let written = write_draft(&draft, text).and_then(|()| fs::rename(&draft, path));
    written.map_err(|error| {
        // Nobody reads a draft; one that cannot be removed is overwritten by the next try.
        let _ = fs::remove_file(&draft);
        FileError::new("write", path)(error)
    })
}

fn write_draft(draft: &Path, text: &str) -> io::Result<()> {
    // An old draft may have another mode.
    remove_if_present(draft)?;
    let mut file = private(OpenOptions::new().create_new(true).write(true)).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Removes a file; its absence is as good.
///
/// # Errors
/// What the operating system says, except `NotFound`.
pub(super) fn remove_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_is_created_private_and_closed_if_it_was_open() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("lib/osad");
        drop(StateDir::open(&dir).unwrap());
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();

        let reopened = StateDir::open(&dir).unwrap();

        assert_eq!(
            fs::metadata(reopened.path()).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn second_agent_is_kept_out() {
        let dir = tempfile::tempdir().unwrap();
        let _first = StateDir::open(dir.path()).unwrap();

        assert!(matches!(StateDir::open(dir.path()), Err(StateDirError::InUse(_))));
    }

    #[test]
    fn file_in_place_of_the_directory_is_named_in_the_error() {
        let file = tempfile::NamedTempFile::new().unwrap();

        let error = StateDir::open(file.path()).unwrap_err().to_string();

        assert!(
            error.starts_with(&format!("cannot create {}: ", file.path().display())),
            "{error}"
        );
    }

    #[test]
    fn replaced_file_is_private_whatever_its_draft_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("promise");
        fs::write(dir.path().join("promise.new"), "half").unwrap();

        replace(&path, "7").unwrap();

        assert_eq!(fs::read_to_string(&path).unwrap(), "7");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
