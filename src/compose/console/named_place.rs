//! A file or directory that a flag names and that cannot be made.

use std::io;
use std::path::{Path, PathBuf};

/// Says what, where and the remedy; exit code 73.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}; name another place with {flag}, or make this one writable", .path.display())]
pub struct PlaceError {
    /// What was attempted, as a verb.
    pub action: &'static str,
    /// The flag.
    pub flag: &'static str,
    /// What it names.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl PlaceError {
    /// For `map_err`.
    pub fn new(action: &'static str, flag: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self {
            action,
            flag,
            path,
            source,
        }
    }
}
