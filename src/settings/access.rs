//! Looks at a file that may not be read, so that the error can say who may.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User, geteuid};

use crate::domain::file_access::{FileAccess, FileKind};

/// Why this process may not read a file; `None` if neither it nor a directory above it can be looked at.
pub fn file_access(path: &Path, kind: FileKind) -> Option<Box<FileAccess>> {
    // Where a directory hides the file, the innermost visible one is what says no.
    let (place, metadata) = path
        .ancestors()
        .find_map(|place| Some((place, place.metadata().ok()?)))?;
    let (owner, group) = (metadata.uid(), metadata.gid());
    Some(Box::new(FileAccess {
        kind,
        user: process_user(),
        place: place.to_owned(),
        is_directory: place != path,
        owner: user(Uid::from_raw(owner)),
        group: match Group::from_gid(Gid::from_raw(group)) {
            Ok(Some(group)) => group.name,
            Ok(None) | Err(_) => group.to_string(),
        },
        mode: metadata.mode(),
    }))
}

/// As whom this process runs, by name or number.
pub fn process_user() -> String {
    user(geteuid())
}

/// Its name, or number where it has none.
fn user(uid: Uid) -> String {
    match User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    }
}
