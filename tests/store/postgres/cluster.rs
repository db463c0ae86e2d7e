//! PostgreSQL servers for tests: one that all tests share, and private ones that may be hurt.
//!
//! PostgreSQL refuses to run as root; then it runs as `postgres`.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use osa::store::postgres::{PORT, PostgresOptions, ServerAddress};
use tempfile::TempDir;

/// The role that owns everything.
pub const OWNER: &str = "osa_owner";
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Where PostgreSQL's programs are: the newest version's.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("postgresql is installed (scripts/test installs it)");
    let version = |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse::<u32>().ok();
    let newest = versions.filter_map(version).max().expect("a version is installed");
    PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin"))
}

/// User and group of the account `postgres`, if this process is root.
pub fn server_account() -> Option<(u32, u32)> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let user = nix::unistd::User::from_name("postgres").unwrap();
    let user = user.expect("the account postgres exists");
    Some((user.uid.as_raw(), user.gid.as_raw()))
}

fn server_program(name: &str) -> Command {
    let mut command = Command::new(programs().join(name));
    if let Some((uid, gid)) = server_account() {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn must(command: &mut Command) {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
}

/// The server that all test processes share; see `keeper.sh`.
struct Shared {
    directory: PathBuf,
    /// Locked for as long as this process lives.
    _in_use: File,
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR"))
            .to_string_lossy()
            .replace('/', "-");
        let directory = std::env::temp_dir().join(format!("osa-postgres{checkout}"));
        fs::create_dir_all(&directory).unwrap();
        let start = File::create(directory.join("start")).unwrap();
        wait_until("nobody else starts or stops the shared server", || {
            start.try_lock().is_ok()
        });
        let in_use = File::create(directory.join("use")).unwrap();
        in_use.lock_shared().unwrap();
        if !is_ready(&directory) {
            start_keeper(&directory);
        }
        Shared {
            directory,
            _in_use: in_use,
        }
    })
}

fn is_ready(directory: &Path) -> bool {
    let asked = Command::new(programs().join("pg_isready"))
        .args(["-q", "-h"])
        .arg(directory.join("socket"))
        .status();
    directory.join("ready").exists() && asked.unwrap().success()
}

fn start_keeper(directory: &Path) {
    let ready = directory.join("ready");
    // Absent unless a keeper was killed.
    fs::remove_file(&ready).ok();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/postgres/keeper.sh");
    let user = server_account().map_or("", |_| "postgres");
    let started = Command::new("setsid")
        .arg("--fork")
        .arg(script)
        .arg(directory)
        .arg(programs())
        .arg(user)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(started.success(), "setsid: {started}");
    wait_until("the shared server is ready", || ready.exists());
}

#[expect(clippy::disallowed_methods, reason = "another process is waited for, in no actor")]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + START_TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within {START_TIMEOUT:?}");
        sleep(Duration::from_millis(20));
    }
}

/// A database made for one test, dropped with it.
pub struct Database {
    pub socket: PathBuf,
    pub port: u16,
    pub name: String,
    is_dropped: bool,
}

impl Database {
    /// A Satellite's database on the shared server, without the dispatcher's tables.
    pub fn satellite() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let database = Self {
            socket: shared().directory.join("socket"),
            port: PORT,
            is_dropped: true,
            name: format!("test_{}_{made}", std::process::id()),
        };
        must(
            database
                .program("createdb")
                .args(["-T", "satellite"])
                .arg(&database.name),
        );
        database
    }

    /// Applies one of the files beside this one.
    pub fn apply(self, file: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/store/postgres")
            .join(file);
        must(self.psql().arg("-f").arg(path));
        self
    }

    pub fn sql(&self, text: &str) {
        must(self.psql().arg("-c").arg(text));
    }

    /// `psql` on it, which ends at the first error.
    pub fn psql(&self) -> Command {
        let mut psql = self.program("psql");
        psql.args(["-qX", "-v", "ON_ERROR_STOP=1", "-d"]).arg(&self.name);
        psql
    }

    fn program(&self, name: &str) -> Command {
        let mut program = Command::new(programs().join(name));
        program
            .arg("-h")
            .arg(&self.socket)
            .args(["-p", &self.port.to_string(), "-U", OWNER])
            .stdout(Stdio::null());
        program
    }

    /// The owner's options.
    pub fn options(&self) -> PostgresOptions {
        let address = ServerAddress::Socket(self.socket.clone());
        PostgresOptions {
            port: self.port,
            ..PostgresOptions::new(address, self.name.as_str(), OWNER)
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.is_dropped {
            return;
        }
        // What is left goes with the server's directory.
        let _ = self
            .program("dropdb")
            .args(["--if-exists", "--force"])
            .arg(&self.name)
            .stderr(Stdio::null())
            .status();
    }
}

/// A server of one test's own.
pub struct PrivateServer {
    directory: TempDir,
    process: Option<Child>,
    port: u16,
    extra: Vec<String>,
}

impl PrivateServer {
    /// Starts one whose only database besides `postgres` is `satellite`. `extra` are further arguments.
    pub fn start(extra: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        must(
            Command::new("cp")
                .arg("-a")
                .arg(shared().directory.join("blank"))
                .arg(directory.path().join("data")),
        );
        if let Some((uid, gid)) = server_account() {
            std::os::unix::fs::chown(directory.path(), Some(uid), Some(gid)).unwrap();
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut server = Self {
            directory,
            process: None,
            port: free.local_addr().unwrap().port(),
            extra: extra.iter().map(|&argument| argument.to_owned()).collect(),
        };
        drop(free);
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
            .arg(self.directory.path().join("data"))
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

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let process = self.process.as_ref().expect("it runs");
        let id = nix::unistd::Pid::from_raw(i32::try_from(process.id()).unwrap());
        nix::sys::signal::kill(id, signal).unwrap();
    }

    /// Stops it as an administrator does, clients or not.
    pub fn stop(&mut self) {
        self.signal(nix::sys::signal::Signal::SIGINT);
        self.process.take().expect("it runs").wait().unwrap();
    }

    /// Stops every process of it at once, as a power cut does.
    pub fn kill(&mut self) {
        let processes = self.processes();
        for process in &processes {
            // One that has ended meanwhile is what is wanted.
            nix::sys::signal::kill(*process, nix::sys::signal::Signal::SIGKILL).ok();
        }
        self.process.take().expect("it runs").wait().unwrap();
    }

    /// Freezes, or thaws, every process of it.
    pub fn pause(&self, paused: bool) {
        let signal = match paused {
            true => nix::sys::signal::Signal::SIGSTOP,
            false => nix::sys::signal::Signal::SIGCONT,
        };
        for process in self.processes() {
            nix::sys::signal::kill(process, signal).ok();
        }
    }

    /// The server and its children: backends and writers.
    fn processes(&self) -> Vec<nix::unistd::Pid> {
        let server = self.process.as_ref().expect("it runs").id();
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap();
        let children = children.split_whitespace().map(|id| id.parse::<i32>().unwrap());
        let server = i32::try_from(server).unwrap();
        std::iter::once(server)
            .chain(children)
            .map(nix::unistd::Pid::from_raw)
            .collect()
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

impl Drop for PrivateServer {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.pause(false);
            self.kill();
        }
    }
}
