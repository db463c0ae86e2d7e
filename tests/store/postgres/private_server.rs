//! PostgreSQL servers of one test's own, which may be hurt.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::cluster::{Database, OWNER, as_server, must, programs, server_account, server_program, shared, wait_until};
use super::disk::Disk;
use super::ports::free_port;

/// A server of one test's own.
pub struct PrivateServer {
    /// Unmounted when the server has ended, before its directory is removed.
    disk: Option<Disk>,
    directory: TempDir,
    /// What it serves, in its directory.
    data: &'static str,
    process: Option<Child>,
    port: u16,
    extra: Vec<String>,
}

impl PrivateServer {
    /// Starts one whose only database besides `postgres` is `satellite`. `extra` are further arguments.
    pub fn start(extra: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), None, extra)
    }

    /// The same, with all its data on a disk of so many MiB.
    pub fn start_on_disk(size: u32, extra: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::mount(directory.path().join("data"), size);
        Self::start_in(directory, Some(disk), extra)
    }

    fn start_in(directory: TempDir, disk: Option<Disk>, extra: &[&str]) -> Self {
        must(
            Command::new("cp")
                .arg("-a")
                .arg(shared().directory.join("blank/."))
                .arg(directory.path().join("data")),
        );
        if let Some((uid, gid)) = server_account() {
            std::os::unix::fs::chown(directory.path(), Some(uid), Some(gid)).unwrap();
        }
        let mut server = Self {
            disk,
            directory,
            data: "data",
            process: None,
            port: free_port(),
            extra: extra.iter().map(|&argument| argument.to_owned()).collect(),
        };
        server.launch();
        let database = server.database("satellite");
        must(database.program("createdb").arg("satellite"));
        database.apply("satellite.sql");
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts it again, after [`PrivateServer::stop`] or [`PrivateServer::kill`].
    pub fn launch(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.directory.path().join("log"))
            .unwrap();
        let process = server_program("postgres")
            .arg("-D")
            .arg(self.directory.path().join(self.data))
            .arg("-k")
            .arg(self.directory.path())
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-c", "shared_buffers=16MB", "-c", "max_connections=40"])
            .args(&self.extra)
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        let (directory, port) = (self.directory.path().to_owned(), self.port.to_string());
        wait_until("a private server is ready", || {
            let mut asked = Command::new(programs().join("pg_isready"));
            asked.args(["-q", "-h"]).arg(&directory).args(["-p", &port]);
            asked.status().unwrap().success()
        });
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("it runs");
        let id = Pid::from_raw(i32::try_from(process.id()).unwrap());
        kill(id, signal).unwrap();
    }

    /// Stops it as an administrator does, clients or not.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGINT);
        self.process.take().expect("it runs").wait().unwrap();
    }

    /// Stops every process of it at once, as a power cut does.
    pub fn kill(&mut self) {
        let processes = self.processes();
        for process in &processes {
            // One that has ended meanwhile is what is wanted.
            kill(*process, Signal::SIGKILL).ok();
        }
        self.process.take().expect("it runs").wait().unwrap();
        // Until the last one is gone, its memory keeps a new server from starting.
        wait_until("its processes have ended", || processes.iter().all(has_ended));
    }

    /// Has it write its log until it cannot, which ends it.
    pub fn log_until_it_ends(&mut self) {
        let text = "SELECT pg_switch_wal(); CREATE TABLE osa_filling AS SELECT 1; DROP TABLE osa_filling";
        let database = self.database("postgres");
        wait_until("it has ended", || {
            // It ends in the midst of it.
            let _ = database.psql().args(["-c", text]).stderr(Stdio::null()).status();
            self.process.as_mut().expect("it runs").try_wait().unwrap().is_some()
        });
        self.process = None;
    }

    /// Kills it, and puts in its place a copy made just before: a standby, which takes no writes.
    pub fn fail_over(&mut self) {
        let mut backup = server_program("pg_basebackup");
        backup
            .arg("-h")
            .arg(self.directory.path())
            .args(["-U", OWNER, "-c", "fast"]);
        backup
            .args(["-p", &self.port.to_string(), "-D"])
            .arg(self.directory.path().join("standby"));
        must(&mut backup);
        let mut signal = as_server("touch");
        must(signal.arg(self.directory.path().join("standby/standby.signal")));
        self.kill();
        self.data = "standby";
        self.launch();
    }

    /// The disk that its data is on.
    pub fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("it was started on one")
    }

    /// Freezes, or thaws, every process of it.
    pub fn pause(&self, paused: bool) {
        let signal = match paused {
            true => Signal::SIGSTOP,
            false => Signal::SIGCONT,
        };
        for process in self.processes() {
            kill(process, signal).ok();
        }
    }

    /// The server and its children: backends and writers.
    fn processes(&self) -> Vec<Pid> {
        let server = self.process.as_ref().expect("it runs").id();
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap();
        let children = children.split_whitespace().map(|id| id.parse::<i32>().unwrap());
        let server = i32::try_from(server).unwrap();
        std::iter::once(server).chain(children).map(Pid::from_raw).collect()
    }

    /// One of its databases.
    pub fn database(&self, name: &str) -> Database {
        Database {
            socket: self.directory.path().to_owned(),
            port: self.port,
            is_dropped: false,
            name: name.to_owned(),
        }
    }
}

/// Whether there is no such process, or nothing left of it but its exit status.
fn has_ended(process: &Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat"));
    status.map_or(true, |status| {
        status.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
    })
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.pause(false);
            self.kill();
        }
    }
}
