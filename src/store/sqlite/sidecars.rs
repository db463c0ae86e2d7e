//! Which database the files beside it belong to.
//!
//! SQLite finds the write-ahead log by its name alone and copies it into whatever database is there. A log that was left
//! behind by another file, which a restored backup has replaced, would damage the restored one or undo the restore. So the
//! lock file says when the database's file was made (a replacement was made at another time), and what a replaced file
//! leaves behind is renamed.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::failure::inaccessible;
use super::file::{Identity, Lock, identity, sibling};
use crate::ports::store::StoreError;

/// The write-ahead log, and its index.
const SUFFIXES: [&str; 2] = ["-wal", "-shm"];

/// The files beside an open database.
#[derive(Clone, Debug)]
pub(super) struct Sidecars(Vec<(&'static str, Identity)>);

impl Sidecars {
    /// Those of the database that was just opened.
    ///
    /// # Errors
    /// [`StoreError::Inaccessible`].
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let found = SUFFIXES
            .into_iter()
            .map(|suffix| Ok((suffix, identity(&sibling(path, suffix))?)));
        found.collect::<Result<_, StoreError>>().map(Self)
    }

    /// Renames those that are still at their paths, so that nobody takes them for those of another database.
    ///
    /// # Errors
    /// [`StoreError::Inaccessible`].
    pub(super) fn set_aside(&self, path: &Path, label: &str) -> Result<(), StoreError> {
        for (suffix, opened) in &self.0 {
            let file = sibling(path, suffix);
            if identity(&file).is_ok_and(|found| found == *opened) {
                fs::rename(&file, sibling(&file, label)).map_err(|error| inaccessible(&file, error))?;
            }
        }
        Ok(())
    }
}

/// Refuses a log that was left behind by another file at this path; notes which file is opened now.
///
/// # Errors
/// [`StoreError::StrangeLog`], [`StoreError::Inaccessible`].
pub(super) fn admit(path: &Path, lock: &Lock) -> Result<(), StoreError> {
    // A file system that does not say when a file was made leaves nothing to compare.
    let Some(born) = born(path) else { return Ok(()) };
    let beside = sibling(path, ".lock");
    let known = lock.note().map_err(|error| inaccessible(&beside, error))?;
    if known == born {
        return Ok(());
    }
    let log = sibling(path, "-wal");
    let has_log = fs::metadata(&log).is_ok_and(|found| found.len() > 0);
    if has_log && !known.is_empty() {
        return Err(StoreError::StrangeLog {
            database: path.into(),
            log,
        });
    }
    lock.set_note(&born).map_err(|error| inaccessible(&beside, error))
}

/// When the file was made, to the nanosecond; not where it is, since devices get other numbers at a restart.
fn born(path: &Path) -> Option<String> {
    let made = fs::metadata(path).and_then(|found| found.created()).ok()?;
    let since = made.duration_since(UNIX_EPOCH).ok()?;
    // Commands that write it at the same time write the same number of bytes.
    Some(format!("born {:020}\n", since.as_nanos()))
}
