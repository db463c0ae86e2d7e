//! Disks that are soon full.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::cluster::as_server;

/// A small disk, in memory.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one of so many MiB.
    pub fn mount(at: PathBuf, size: u32) -> Self {
        fs::create_dir(&at).unwrap();
        let mounted = as_root("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}m"), "osa-test"])
            .arg(&at)
            .output();
        let output = mounted.unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "this test mounts a small disk: run it as root, or as somebody who may `sudo -n mount`: {told}"
        );
        Self(at)
    }

    /// Writes until nothing more fits; the file that took the last room.
    pub fn fill(&self) {
        let mut filling = as_server("dd");
        filling
            .args(["if=/dev/zero", "bs=4k"])
            .arg(format!("of={}", self.filling().display()));
        let output = filling.stderr(Stdio::piped()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("No space left"), "{told}");
    }

    /// Makes room again.
    pub fn free(&self) {
        fs::remove_file(self.filling()).unwrap();
    }

    fn filling(&self) -> PathBuf {
        self.0.join("filling")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What cannot be unmounted is left to the machine's end.
        let _ = as_root("umount").arg("-l").arg(&self.0).status();
    }
}

/// A program of the administrator.
fn as_root(program: &str) -> Command {
    if nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}
