//! A dispatcher of the tests: its directory, its commands, its process.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longer than anything takes on a busy machine: what must happen is waited for that long before it is missed.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// What a command ended with.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// Asserts that the command failed with this code, saying one line with all of these words.
    pub fn assert_failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        let lines: Vec<&str> = self.err.lines().collect();
        let [line] = lines.as_slice() else {
            panic!("not one line: {self:?}")
        };
        assert!(line.starts_with("osa-dispatcher: "), "{line}");
        for word in words {
            assert!(line.contains(word), "{word:?} is not in: {line}");
        }
    }

    /// The standard output of a command that went well, as JSON.
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }
}

/// A program without settings in its environment.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (variable, _) in std::env::vars() {
        if variable.starts_with("OSA_") || variable == "NOTIFY_SOCKET" {
            command.env_remove(variable);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs `osa-dispatcher` to its end.
pub fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ended {
    let output = command(env!("CARGO_BIN_EXE_osa-dispatcher"))
        .args(arguments)
        .output()
        .unwrap();
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A directory with a configuration.
pub struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    /// With a configuration on free ports, and nothing else.
    pub fn configured() -> Self {
        let site = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        site.configure("127.0.0.1:0", "");
        site
    }

    /// With everything that `init` makes.
    pub fn initialised() -> Self {
        let site = Self::configured();
        let ended = site.run(["init"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        site
    }

    /// Writes the configuration, with further lines at its end.
    pub fn configure(&self, xmpp: &str, more: &str) {
        let data = self.path("data");
        let text = format!(
            "hostname = \"localhost\"\ndata_dir = {data:?}\n[xmpp]\nlisten = [\"{xmpp}\"]\n[registration]\nlisten = [\"127.0.0.1:0\"]\n{more}"
        );
        fs::write(self.config(), text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("osa.toml")
    }

    /// Runs a command about this dispatcher.
    pub fn run<const N: usize>(&self, arguments: [&str; N]) -> Ended {
        let config = self.config();
        run(arguments.into_iter().chain(["--config", config.to_str().unwrap()]))
    }

    /// Starts the dispatcher in the foreground; returns when it is ready.
    pub fn serve(&self) -> Dispatcher {
        Dispatcher::start(self)
    }
}

/// A running dispatcher, killed if it is dropped before it ended.
pub struct Dispatcher {
    child: Child,
    notices: UnixDatagram,
}

impl Dispatcher {
    fn start(site: &Site) -> Self {
        let path = site.path("notify");
        fs::remove_file(&path).ok();
        let notices = UnixDatagram::bind(&path).unwrap();
        notices.set_read_timeout(Some(PATIENCE)).unwrap();
        let log = fs::File::create(site.path("log")).unwrap();
        let child = command(env!("CARGO_BIN_EXE_osa-dispatcher"))
            .args([OsStr::new("serve"), OsStr::new("--config"), site.config().as_os_str()])
            .args([OsStr::new("--pid-file"), site.path("pid").as_os_str()])
            .env("NOTIFY_SOCKET", &path)
            .stderr(log)
            .spawn()
            .unwrap();
        let dispatcher = Self { child, notices };
        dispatcher.wait_for("READY=1", &site.path("log"));
        dispatcher
    }

    /// Returns when the dispatcher tells its service manager this.
    pub fn wait_for(&self, notice: &str, log: &Path) {
        let mut message = [0; 4096];
        loop {
            let length = self
                .notices
                .recv(&mut message)
                .unwrap_or_else(|error| panic!("no {notice}: {error}: {}", fs::read_to_string(log).unwrap()));
            let text = String::from_utf8_lossy(&message[..length]).into_owned();
            if text.lines().any(|line| line == notice) {
                return;
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// SIGTERM, and how it ended.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.child.wait().unwrap()
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
