//! Waiting for a program that is started as a process of its own: it says that it is ready as it tells systemd.

use std::path::{Path, PathBuf};

use tokio::net::UnixDatagram;

use crate::ports::file_error::FileError;

/// Longest message of sd_notify(3) that is looked at. Units: bytes.
const MESSAGE_BYTES_MAX: usize = 4096;

/// A socket for `NOTIFY_SOCKET`; its file goes with it.
#[derive(Debug)]
pub struct Readiness {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Readiness {
    /// Makes the socket in a directory where nobody else can write. To be called within a runtime.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn bind(directory: &Path) -> Result<Self, FileError> {
        let path = directory.join(format!(".ready-{}.sock", std::process::id()));
        // Left over from a process of the same number, if it is there at all.
        std::fs::remove_file(&path).ok();
        let socket = UnixDatagram::bind(&path).map_err(FileError::new("make socket", &path))?;
        Ok(Self { socket, path })
    }

    /// What `NOTIFY_SOCKET` is set to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns when the process says that it is ready.
    pub async fn wait(&self) {
        let mut message = [0; MESSAGE_BYTES_MAX];
        while let Ok(length) = self.socket.recv(&mut message).await {
            let text = message.get(..length).unwrap_or(&[]);
            if text.split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                return;
            }
        }
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        // Whoever comes next replaces it.
        std::fs::remove_file(&self.path).ok();
    }
}
