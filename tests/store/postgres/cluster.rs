//! The PostgreSQL server that all tests share.
//!
//! PostgreSQL refuses to run as root; then it runs as `postgres`.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use osa::store::postgres::{PORT, PostgresOptions, ServerAddress};

/// The role that owns everything.
pub const OWNER: &str = "osa_owner";
const START_TIMEOUT: Duration = Duration::from_secs(240);

/// Where PostgreSQL's programs are: the newest version's.
pub fn programs() -> PathBuf {
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

/// One of PostgreSQL's programs, run as the server is.
pub fn server_program(name: &str) -> Command {
    as_server(programs().join(name))
}

/// A program that may touch the server's files.
pub fn as_server(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = server_account() {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

pub fn must(command: &mut Command) {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
}

/// The server that all test processes share; see `keeper.sh`.
pub struct Shared {
    pub directory: PathBuf,
    /// Locked for as long as this process lives.
    _in_use: File,
}

pub fn shared() -> &'static Shared {
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
    pub is_dropped: bool,
}

impl Database {
    /// A Satellite's database on the shared server, without the dispatcher's tables.
    pub fn satellite() -> Self {
        Self::empty(&["-T", "satellite"])
    }

    /// One that is made so.
    pub fn empty(how: &[&str]) -> Self {
        // The server outlives a run of the tests, and numbers of processes come again.
        let drawn = fs::read_to_string("/proc/sys/kernel/random/uuid").expect("Linux draws one");
        let database = Self {
            socket: shared().directory.join("socket"),
            port: PORT,
            is_dropped: true,
            name: format!("test_{}", drawn.trim().replace('-', "_")),
        };
        must(database.program("createdb").args(how).arg(&database.name));
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

    pub fn program(&self, name: &str) -> Command {
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
