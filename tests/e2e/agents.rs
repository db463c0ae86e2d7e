//! Real `osad` processes, and the log of the dispatcher they talk to.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::beside_satellite::BesideSatellite;
use crate::existing::Identity;
use crate::ports::free_port;
use crate::site::{PATIENCE, Site, command};

/// Writes down when it starts and ends, and waits at a gate in between if there is one.
const CHECK: &str = "#!/bin/sh
echo started >> \"$1/runs\"
if [ -p \"$1/gate\" ]; then read _ < \"$1/gate\"; fi
echo finished >> \"$1/runs\"
exit \"$(cat \"$1/exit\" 2>/dev/null || echo 0)\"
";

/// A process, killed if it is dropped before it ended.
pub struct Process(pub Child);

impl Process {
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
    }

    /// Whether it has not ended by itself.
    #[cfg(debug_assertions)]
    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A dispatcher that logs every step to us.
pub struct Logged {
    pub process: Process,
    log: Receiver<Value>,
    seen: Vec<Value>,
}

impl Logged {
    pub fn start(site: &Site) -> Self {
        Self::start_until(site, "dispatcher_started", "")
    }

    /// Returns when this was logged, which may be before it is ready.
    pub fn start_until(site: &Site, event: &str, words: &str) -> Self {
        let mut dispatcher = command(env!("CARGO_BIN_EXE_osa-dispatcher"));
        dispatcher.args(["serve", "--config"]).arg(site.config());
        Self::run(&mut dispatcher, event, words)
    }

    /// The same, for `serve` with other arguments.
    pub fn run(dispatcher: &mut Command, event: &str, words: &str) -> Self {
        let mut child = dispatcher
            .args(["--nodetach", "-v"])
            .env("OSA_LOG_FORMAT", "json")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let record = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(record).is_err() {
                    return;
                }
            }
        });
        let process = Process(child);
        let mut logged = Self {
            process,
            log,
            seen: vec![],
        };
        logged.wait_for(event, words);
        logged
    }

    /// Waits until it ends by itself; its exit code, and the last line it wrote.
    pub fn end(&mut self) -> (Option<i32>, String) {
        let mut last = self.seen.last().cloned().unwrap_or_default();
        // The pipe ends with the process.
        while let Ok(record) = self.log.recv_timeout(PATIENCE) {
            last = record;
        }
        let line = last.as_str().unwrap_or_else(|| panic!("not a line for people: {last}"));
        (self.process.0.wait().unwrap().code(), line.to_owned())
    }

    /// Asserts that this event was in the log before now.
    pub fn seen(&self, event: &str) {
        assert!(
            self.seen.iter().any(|record| record["event"] == event),
            "{event}: {:?}",
            self.seen
        );
    }

    /// Everything that was logged so far.
    pub fn so_far(&mut self) -> &[Value] {
        self.seen.extend(self.log.try_iter());
        &self.seen
    }

    /// Returns at the next record of this event that contains these words.
    pub fn wait_for(&mut self, event: &str, words: &str) -> Value {
        self.wait_unless_ended(event, words).unwrap_or_else(|| {
            let tail: Vec<String> = self.seen.iter().rev().take(30).rev().map(Value::to_string).collect();
            panic!("no {event} {words}; the log ends with\n{}", tail.join("\n"));
        })
    }

    /// The same; nothing if the dispatcher ended before.
    pub fn wait_unless_ended(&mut self, event: &str, words: &str) -> Option<Value> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let record = self.log.recv_timeout(left).ok()?;
            self.seen.push(record.clone());
            if record["event"] == event && record.to_string().contains(words) {
                return Some(record);
            }
        }
    }
}

/// The home of one agent.
pub struct Home(PathBuf);

impl Home {
    /// Adds a system to a running dispatcher, and unpacks its bundle.
    pub fn add(site: &Site, name: &str) -> Self {
        let out = site.path("bundles");
        fs::create_dir_all(&out).unwrap();
        let ended = site.run(["systems", "add", name, "--out", out.to_str().unwrap()]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        Self::unpacked(out.join(name), name)
    }

    /// Of a system that is enrolled at a Satellite, with the servers that an existing agent is given.
    pub fn of(identity: &Identity, bundle: PathBuf, name: &str) -> Self {
        fs::create_dir(&bundle).unwrap();
        fs::write(bundle.join("systemid"), identity.systemid.lock().unwrap().as_str()).unwrap();
        fs::copy(&identity.ca, bundle.join("RHN-ORG-TRUSTED-SSL-CERT")).unwrap();
        let (host, https, xmpp) = (&identity.host, identity.https.port(), identity.xmpp.port());
        let text = format!("server_url = [\"https://{host}:{https}/XMLRPC\"]\njabber_server = \"{host}:{xmpp}\"\n");
        fs::write(bundle.join("osad.toml"), text).unwrap();
        Self::unpacked(bundle, name)
    }

    /// With a bundle in it.
    pub fn unpacked(bundle: PathBuf, name: &str) -> Self {
        let home = Self(bundle);
        fs::write(home.path("machine-id"), format!("{name}\n")).unwrap();
        fs::write(home.path("check"), CHECK).unwrap();
        fs::set_permissions(home.path("check"), Permissions::from_mode(0o700)).unwrap();
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The environment that moves everything of an agent into its home.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        let path = |name: &str| self.path(name).into_os_string();
        vec![
            ("OSA_SYSTEMID", path("systemid")),
            ("OSA_TLS_CA", path("RHN-ORG-TRUSTED-SSL-CERT")),
            ("OSA_AUTH_FILE", path("osad-auth.conf")),
            ("OSA_STATE_DIR", path("state")),
            ("OSA_MACHINE_ID_PATH", path("machine-id")),
            ("OSA_RUN_BESIDE_DISPATCHER", "true".into()),
            ("OSA_RECONNECT_MAX", "2s".into()),
            (
                "OSA_CHECK_COMMAND",
                format!("{} {}", self.path("check").display(), self.0.display()).into(),
            ),
        ]
    }

    /// Starts the agent.
    pub fn start(&self) -> Process {
        self.start_with(&[])
    }

    /// Starts the agent with further arguments.
    pub fn start_with(&self, more: &[&str]) -> Process {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let child = command(env!("CARGO_BIN_EXE_osad"))
            .args(["run", "--nodetach", "-v", "--config"])
            .arg(self.path("osad.toml"))
            .args(more)
            .envs(self.environment())
            .stderr(log)
            .spawn()
            .unwrap();
        Process(child)
    }

    /// What `osad status` says.
    pub fn status(&self) -> Value {
        let output = command(env!("CARGO_BIN_EXE_osad"))
            .args(["status", "--json", "--config"])
            .arg(self.path("osad.toml"))
            .envs(self.environment())
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What the check command wrote down.
    pub fn runs(&self) -> String {
        fs::read_to_string(self.path("runs")).unwrap_or_default()
    }

    /// How many checks have ended.
    pub fn checks(&self) -> usize {
        self.runs().matches("finished").count()
    }

    /// From now on a check that goes well completes what is due for all systems of this Satellite, before it ends.
    pub fn completes(&self, beside: &BesideSatellite) {
        let mut psql = beside.database.psql();
        psql.arg("-c")
            .arg("UPDATE rhnServerAction SET status = 2 WHERE status < 2");
        let line = format!("{psql:?} || exit 1\necho finished");
        fs::write(self.path("check"), CHECK.replace("echo finished", &line)).unwrap();
    }

    /// From now on checks wait until [`Home::open_gate`].
    pub fn close_gate(&self) {
        nix::unistd::mkfifo(&self.path("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }

    /// Lets one check that waits, or the next, pass; returns when it has. Later ones do not wait.
    pub fn open_gate(&self) {
        let mut gate = fs::OpenOptions::new().write(true).open(self.path("gate")).unwrap();
        fs::remove_file(self.path("gate")).unwrap();
        writeln!(gate, "pass").unwrap();
    }
}

/// Makes a site whose ports stay the same over restarts.
pub fn site_with_ports() -> Site {
    let (xmpp, registration) = (free_port(), free_port());
    let site = Site::configured();
    let data = site.path("data");
    let text = format!(
        "hostname = \"localhost\"\ndata_dir = {data:?}\n[xmpp]\nlisten = [\"127.0.0.1:{xmpp}\"]\n\
         [registration]\nlisten = [\"127.0.0.1:{registration}\"]\n"
    );
    fs::write(site.config(), text).unwrap();
    let ended = site.run(["init"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    site
}

/// Schedules an action for these systems; its number.
pub fn schedule(site: &Site, systems: &[&str]) -> i64 {
    let config = site.config();
    let line = ["schedule"].into_iter().chain(systems.iter().copied());
    let line = line.chain(["--json", "--config", config.to_str().unwrap()]);
    crate::site::run(line).json()["id"].as_i64().unwrap()
}

/// The states of an action on its systems.
pub fn states(site: &Site, action: i64) -> Vec<String> {
    let rows = site
        .run(["actions", &action.to_string(), "--limit", "1000", "--json"])
        .json();
    let rows = rows.as_array().or_else(|| rows["actions"].as_array()).unwrap().clone();
    rows.iter()
        .map(|row| {
            row["state"]
                .as_str()
                .or_else(|| row["status"].as_str())
                .unwrap()
                .to_owned()
        })
        .collect()
}

/// Copies a file.
pub fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
}
