//! What went wrong inside a use case, and how it is told.

use std::io;
use std::path::Path;

use diesel::result::{DatabaseErrorKind, Error};

use crate::ports::store::StoreError;

/// Why a use case was rolled back.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database refused.
    Database(Error),
    /// What the caller asked for cannot be done; an answer, not a fault.
    Refused(StoreError),
    /// A stored value has a form this program never wrote.
    Unreadable,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl Failure {
    /// What a caller looked for is not there.
    pub(super) fn not_found(what: impl Into<String>) -> Self {
        Self::Refused(StoreError::NotFound { what: what.into() })
    }

    /// Turns a broken uniqueness rule into "exists already".
    pub(super) fn exists(error: Error, what: impl Into<String>) -> Self {
        match error {
            Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => {
                Self::Refused(StoreError::Exists { what: what.into() })
            }
            other => Self::Database(other),
        }
    }

    /// The error of the port, for the database at `path`.
    pub(super) fn into_store_error(self, path: &Path) -> StoreError {
        match self {
            Self::Refused(error) => error,
            Self::Unreadable => StoreError::Damaged(path.into()),
            Self::Database(error) => by_message(&error.to_string(), path),
        }
    }
}

/// Tells SQLite's result codes apart by their texts (`sqlite3_errstr`); diesel does not pass the codes on.
pub(super) fn by_message(message: &str, path: &Path) -> StoreError {
    let says = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    if says(&["is locked"]) {
        return StoreError::Locked(path.into());
    }
    if says(&["database or disk is full"]) {
        return StoreError::Full(path.into());
    }
    if says(&["disk image is malformed", "not a database", "malformed database schema"]) {
        return StoreError::Damaged(path.into());
    }
    if says(&["disk I/O error"]) {
        return StoreError::Io(path.into());
    }
    if says(&[
        "readonly database",
        "unable to open database file",
        "access permission denied",
    ]) {
        return inaccessible(path, io::ErrorKind::PermissionDenied.into());
    }
    StoreError::Other {
        database: path.into(),
        message: message.replace('\n', " "),
    }
}

/// The file system refused.
pub(super) fn inaccessible(path: &Path, source: io::Error) -> StoreError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(path.into()),
        _ => StoreError::Inaccessible {
            database: path.into(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_result_code_has_its_error() {
        let path = Path::new("/var/lib/osa/osa.db");
        for (message, expected) in [
            ("database is locked", "is locked by another process"),
            ("database or disk is full", "no space left"),
            ("database disk image is malformed", "is damaged"),
            ("file is not a database", "is damaged"),
            ("disk I/O error", "cannot be read or written"),
            ("attempt to write a readonly database", "cannot be opened"),
            ("no such column: x", "no such column: x"),
        ] {
            let told = by_message(message, path).to_string();

            assert!(told.contains(expected), "{message}: {told}");
            assert!(told.contains("/var/lib/osa/osa.db") && !told.contains('\n'), "{told}");
        }
    }
}
