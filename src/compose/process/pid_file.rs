//! The pid file of init scripts.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::compose::console::named_place::PlaceError;

/// Everybody may know which process it is: compatibility contract, section 5.4.
const MODE: u32 = 0o644;

/// A pid file, removed when dropped.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes this process's number; what an earlier process left is unlinked first, never written through.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn write(path: &Path) -> Result<Self, PlaceError> {
        // Most often there is none.
        fs::remove_file(path).ok();
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(MODE);
        let write = || writeln!(options.open(path)?, "{}", std::process::id());
        write().map_err(PlaceError::new("write pid file", "--pid-file", path))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // One that is left is replaced at the next start.
        fs::remove_file(&self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_file_replaces_a_stale_one_and_goes_with_its_process() {
        // As in the original daemons, whose files were open to all: who reads this one kills what it names.
        nix::sys::stat::umask(nix::sys::stat::Mode::empty());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("osa.pid");
        let bystander = directory.path().join("bystander");
        fs::write(&bystander, "precious").unwrap();
        std::os::unix::fs::symlink(&bystander, &path).unwrap();

        let file = PidFile::write(&path).unwrap();

        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        assert_eq!(fs::read_to_string(&bystander).unwrap(), "precious");
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, MODE, "{mode:o}");
        drop(file);
        assert!(!path.exists());
    }
}
