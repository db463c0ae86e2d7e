//! What can go wrong with a file, said so that the reader knows what to do.

use std::io;
use std::path::{Path, PathBuf};

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {source}; {remedy}", path = .path.display(), remedy = remedy(.source.kind()))]
pub struct FileError {
    /// What was attempted, as a verb.
    pub action: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`: names the action and the file.
    pub fn new(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self { action, path, source }
    }
}

fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "create it, or name another one in the configuration",
        io::ErrorKind::PermissionDenied => "run as root, or correct its owner and mode",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space on its file system",
        io::ErrorKind::ReadOnlyFilesystem => "mount its file system writable, or name another place",
        io::ErrorKind::InvalidData => "write it anew",
        // Not our enum; what is left is for the operating system's own words.
        _ => "see the system's log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_says_what_where_and_the_remedy() {
        let error = FileError::new("write", "/var/lib/osad/promise")(io::ErrorKind::StorageFull.into());

        assert_eq!(
            error.to_string(),
            "cannot write /var/lib/osad/promise: no storage space; free space on its file system"
        );
    }
}
