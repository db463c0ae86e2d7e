//! Prosody, for peers that log in without SASL: the module for that, and passwords stored as they are.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{Authority, COMPONENT, COMPONENT_SECRET, ComponentServer, Processes, XmppServer, offers_features};
use crate::ports::free_port;

/// Its modules that a client sees.
const MODULES: &str = r#""roster", "saslauth", "tls", "disco", "ping", "legacyauth", "register_ibr", "offline""#;

/// One process.
pub struct Prosody {
    processes: Processes,
    domain: String,
    authority: Authority,
    c2s: SocketAddr,
    component: SocketAddr,
    /// Removed after the process has ended.
    directory: TempDir,
}

impl Prosody {
    /// Starts one for a domain, with a certificate from an authority of its own.
    pub fn start(domain: &str) -> Self {
        Self::start_under(None, domain)
    }

    /// The same, with a certificate from the authority in this directory.
    pub fn start_under(authority: Option<&Path>, domain: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::in_directory(authority.unwrap_or(directory.path()));
        let mut server = Self {
            processes: Processes::default(),
            domain: domain.to_owned(),
            authority,
            c2s: SocketAddr::from(([127, 0, 0, 1], free_port())),
            component: SocketAddr::from(([127, 0, 0, 1], free_port())),
            directory,
        };
        server.issue(domain, 0);
        server.configure();
        server.launch();
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn configure(&self) {
        for directory in ["data", "certs"] {
            fs::create_dir(self.path(directory)).unwrap();
        }
        let quoted = |name: &str| format!("{:?}", self.path(name));
        let settings = format!(
            "run_as_root = true\npidfile = {}\ndata_path = {}\ninterfaces = {{ \"127.0.0.1\" }}\nc2s_ports = {{ {} }}\n\
             modules_enabled = {{ {MODULES} }}\nmodules_disabled = {{ \"s2s\" }}\n\
             c2s_require_encryption = false\nallow_registration = true\n\
             authentication = \"internal_plain\"\nstorage = \"internal\"\nlog = {{ info = {} }}\n\
             ssl = {{ certificate = {}; key = {} }}\ncomponent_ports = {{ {} }}\n\
             VirtualHost {:?}\nComponent {COMPONENT:?}\ncomponent_secret = {COMPONENT_SECRET:?}\n",
            quoted("prosody.pid"),
            quoted("data"),
            self.c2s.port(),
            quoted("prosody.log"),
            quoted("server.crt"),
            quoted("server.key"),
            self.component.port(),
            self.domain
        );
        fs::write(self.path("prosody.cfg.lua"), settings).unwrap();
    }

    /// Where it keeps something about an account.
    fn file(&self, store: &str, username: &str) -> PathBuf {
        let directory = self.path("data").join(encoded(&self.domain)).join(store);
        fs::create_dir_all(&directory).unwrap();
        directory.join(format!("{}.dat", encoded(username)))
    }
}

impl ComponentServer for Prosody {
    fn component(&self) -> SocketAddr {
        self.component
    }
}

impl XmppServer for Prosody {
    fn domain(&self) -> &str {
        &self.domain
    }

    fn address(&self) -> SocketAddr {
        self.c2s
    }

    fn ca(&self) -> PathBuf {
        self.authority.certificate()
    }

    fn tls(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    fn launch(&mut self) {
        let output = File::options()
            .create(true)
            .append(true)
            .open(self.path("output"))
            .unwrap();
        let process = Command::new("prosody")
            .arg("--config")
            .arg(self.path("prosody.cfg.lua"))
            .arg("-F")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn();
        self.processes
            .push(process.unwrap_or_else(|error| panic!("prosody: {error}: run scripts/test once")));
        let (address, domain) = (self.c2s, self.domain.clone());
        let directory = self.directory.path().to_owned();
        self.processes
            .wait_until("clients are served", &|| log_in(&directory), || {
                offers_features(address, &domain)
            });
    }

    fn stop(&mut self) {
        self.processes.end(Signal::SIGTERM);
    }

    fn kill(&mut self) {
        self.processes.end(Signal::SIGKILL);
    }

    fn delete_store(&self) {
        assert!(self.processes.0.is_empty(), "it runs");
        fs::remove_dir_all(self.path("data")).unwrap();
        fs::create_dir(self.path("data")).unwrap();
    }

    fn add_account(&self, username: &str, password: &str) {
        let account = format!("return {{ [\"password\"] = {password:?}; }};\n");
        fs::write(self.file("accounts", username), account).unwrap();
    }

    fn remove_account(&self, username: &str) {
        for store in ["accounts", "roster"] {
            fs::remove_file(self.file(store, username)).ok();
        }
    }

    fn issue(&self, hostname: &str, days_ago: u32) {
        self.authority.issue(hostname, days_ago, &self.path("server.pem"));
    }

    fn log(&self) -> String {
        log_in(self.directory.path())
    }
}

fn log_in(directory: &Path) -> String {
    let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
    read("prosody.log") + &read("output")
}

/// A name as it stands in the names of files.
fn encoded(name: &str) -> String {
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02x}").unwrap();
        }
    }
    encoded
}
