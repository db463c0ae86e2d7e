//! Secrets that every user of this machine can read or replace.
//!
//! What the dispatcher writes itself has mode 0600; copies, restores and editors may have made it otherwise.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{authority_files, ground, passwords};
use crate::settings::Loaded;
use crate::settings::dispatcher::DispatcherSettings;

/// Permission bit of "others may read".
const OTHERS_READ: u32 = 0o004;
/// Permission bit of "others may write".
const OTHERS_WRITE: u32 = 0o002;

/// What works but should not stay so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exposure {
    /// A file with secrets.
    #[error("{} holds a secret and can be read by every user (mode {mode:04o}): chmod o-rwx it", path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The directory of the files that are trusted.
    #[error(
        "data_dir {} can be written by every user (mode {mode:04o}), who can put another key or database there: chmod 700 it",
        path.display()
    )]
    Writable {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// Looks at the files that are there. The private keys of certificates are looked at by who reads them.
pub fn exposures(loaded: &Loaded<DispatcherSettings>) -> Vec<Exposure> {
    let data_dir = &loaded.settings.data_dir;
    let own = [ground::decoy_path(data_dir), passwords::path(data_dir)];
    let secrets = own
        .into_iter()
        .chain([authority_files(&loaded.settings).key])
        .chain(given_in(loaded, ["postgres.password", "upstream.secret"]));
    let readable = secrets.filter_map(|path| {
        let mode = mode(&path)?;
        (mode & OTHERS_READ != 0).then_some(Exposure::Readable { path, mode })
    });
    let writable = mode(data_dir).filter(|mode| mode & OTHERS_WRITE != 0);
    let writable = writable.map(|mode| Exposure::Writable {
        path: data_dir.clone(),
        mode,
    });
    readable.chain(writable).collect()
}

/// The files that these secrets come from, each once; an origin is file, line and key.
fn given_in<const N: usize>(loaded: &Loaded<DispatcherSettings>, keys: [&str; N]) -> BTreeSet<PathBuf> {
    let origins = keys.into_iter().map(|key| loaded.values.origin(key));
    let files = origins.filter_map(|origin| origin.rsplit_once(':'));
    files.map(|(file, _)| PathBuf::from(file)).collect()
}

/// Its permission bits, if it is there.
fn mode(path: &Path) -> Option<u32> {
    Some(path.metadata().ok()?.permissions().mode() & 0o7777)
}
