//! The key under which passwords are kept, where agents may log in by digest.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ServeError, decoy};
use crate::host::clock::OsEntropy;
use crate::host::vault::KeyVault;
use crate::ports::file_error::FileError;
use crate::ports::vault::Vault;
use crate::settings::dispatcher::DispatcherSettings;

/// The vault, if digest login is switched on. If not, its key is removed: nobody can read passwords kept before.
///
/// # Errors
/// The key cannot be read, written or removed.
pub fn vault(settings: &DispatcherSettings) -> Result<Option<Arc<dyn Vault>>, ServeError> {
    let path = path(&settings.data_dir);
    if !settings.accounts.digest_login {
        forget(&path)?;
        return Ok(None);
    }
    let key = decoy::secret(&path, &OsEntropy)?;
    Ok(KeyVault::new(&key, Arc::new(OsEntropy)).map(|vault| Arc::new(vault) as _))
}

/// Where its key is.
pub(super) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("passwords.key")
}

fn forget(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::new("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
