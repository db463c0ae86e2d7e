//! A log file that logrotate may move away.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// Mode of log files: they may hold host and user names, and those of existing agents once held passwords
/// (compatibility contract, section 8.1).
const MODE: u32 = 0o600;

/// A file that records are appended to, each with one write. Clones share the file.
#[derive(Clone, Debug)]
pub struct LogFile {
    path: Arc<Path>,
    file: Arc<Mutex<File>>,
}

impl LogFile {
    /// Opens or creates the file; gives it mode 0600 if it is a regular file with another.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path: PathBuf = path.into();
        let file = open(&path)?;
        Ok(Self {
            path: path.into(),
            file: Arc::new(Mutex::new(file)),
        })
    }

    /// Opens the file anew under its name; on an error the old one stays in use.
    ///
    /// # Errors
    /// What the system says.
    pub fn reopen(&self) -> io::Result<()> {
        let file = open(&self.path)?;
        *self.lock() = file;
        Ok(())
    }

    /// Name of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A panic while the lock was held leaves the file usable: it has no state but its end.
    fn lock(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.permissions().mode() & 0o777 != MODE {
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    Ok(file)
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush()
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn records_go_to_a_new_file_after_reopen() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let mut log = LogFile::open(&path).expect("a log file");

        log.write_all(b"one\n").expect("write");
        fs::rename(&path, directory.path().join("log.1")).expect("rename");
        log.write_all(b"two\n").expect("write");
        log.reopen().expect("reopen");
        log.write_all(b"three\n").expect("write");

        let read = |name: &str| fs::read_to_string(directory.path().join(name)).expect("read");
        assert_eq!(
            (read("log.1").as_str(), read("log").as_str()),
            ("one\ntwo\n", "three\n")
        );
    }

    #[test]
    fn file_is_private_even_if_it_was_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        fs::write(&path, "old\n").expect("write");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("chmod");

        LogFile::open(&path).expect("a log file");

        assert_eq!(
            fs::metadata(&path).expect("metadata").permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_to_string(&path).expect("read"), "old\n");
    }

    #[test]
    fn old_file_stays_in_use_if_reopening_fails() {
        let directory = tempfile::tempdir().expect("a directory");
        let inner = directory.path().join("inner");
        fs::create_dir(&inner).expect("mkdir");
        let mut log = LogFile::open(inner.join("log")).expect("a log file");

        fs::rename(&inner, directory.path().join("moved")).expect("rename");

        assert!(log.reopen().is_err());
        log.write_all(b"still here\n").expect("write");
        let text = fs::read_to_string(directory.path().join("moved/log")).expect("read");
        assert_eq!(text, "still here\n");
    }
}
