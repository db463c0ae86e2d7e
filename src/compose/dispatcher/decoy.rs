//! The secret behind the answers for accounts that do not exist: they must look the same after a restart.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::ports::clock::Entropy;
use crate::ports::file_error::FileError;

/// Mode of files with secrets.
const MODE: u32 = 0o600;

/// Reads the secret, or makes one. A damaged one is replaced: nothing but the look of those answers depends on it.
///
/// # Errors
/// [`FileError`].
pub fn secret(path: &Path, entropy: &dyn Entropy) -> Result<[u8; 32], FileError> {
    match fs::read(path) {
        Ok(bytes) => {
            if let Ok(secret) = <[u8; 32]>::try_from(bytes) {
                return Ok(secret);
            }
            fs::remove_file(path).map_err(FileError::new("replace", path))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(FileError::new("read", path)(error)),
    }
    let mut secret = [0; 32];
    entropy.fill(&mut secret);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(MODE);
    let write = || options.open(path)?.write_all(&secret);
    write().map_err(FileError::new("write", path))?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::OsEntropy;

    #[test]
    fn secret_is_made_once_and_made_anew_if_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("decoy.key");

        let first = secret(&path, &OsEntropy).unwrap();

        assert_eq!(secret(&path, &OsEntropy).unwrap(), first);
        fs::write(&path, "short").unwrap();
        assert_ne!(secret(&path, &OsEntropy).unwrap(), first);
    }
}
