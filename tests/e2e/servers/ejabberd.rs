//! ejabberd, for peers that log in without SASL: the module for that, and passwords stored as they are.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Authority, COMPONENT, COMPONENT_SECRET, ComponentServer, Processes, XmppServer, offers_features};
use crate::ports::free_port;

/// One node: of its own, or of a cluster. No daemon is left behind for nodes to find each other.
pub struct Ejabberd {
    processes: Processes,
    domain: String,
    authority: Authority,
    c2s: SocketAddr,
    /// Where administrators' commands are taken.
    api: SocketAddr,
    component: SocketAddr,
    /// Where nodes of its cluster find it.
    node: Option<SocketAddr>,
    /// Removed after the process has ended.
    directory: TempDir,
}

impl Ejabberd {
    /// Starts one for a domain, with a certificate from an authority of its own.
    pub fn start(domain: &str) -> Self {
        Self::start_under(None, domain)
    }

    /// The same, with a certificate from the authority in this directory.
    pub fn start_under(authority: Option<&Path>, domain: &str) -> Self {
        let mut server = Self::prepare(authority, domain, None);
        server.launch();
        server
    }

    /// Two nodes of one cluster, which serve the same domain and know the same accounts.
    pub fn start_cluster(authority: &Path, domain: &str) -> [Self; 2] {
        // Nodes look for each other at one port, so they have addresses of their own.
        let port = free_port();
        let mut nodes =
            [2, 3].map(|host| Self::prepare(Some(authority), domain, Some(([127, 0, 0, host], port).into())));
        for node in &mut nodes {
            node.launch();
        }
        let [first, second] = &mut nodes;
        second.join(first.node.unwrap());
        nodes
    }

    /// Joins the cluster of this node; its own accounts are lost. It begins anew for that, so that nobody who asks at its
    /// own doors would be answered.
    fn join(&self, other: SocketAddr) {
        let asker = SocketAddr::from(([127, 0, 0, 4], other.port()));
        let joined = format!(
            "ok = rpc:call('{}', ejabberd_cluster, join, ['{}']), halt().",
            name(self.node.unwrap()),
            name(other)
        );
        let asked = Command::new("erl")
            .args(["-noinput", "-eval", &joined])
            .args(distribution(asker))
            .env("HOME", self.directory.path())
            .env("ERL_CRASH_DUMP_BYTES", "0")
            .output()
            .unwrap();
        assert!(asked.status.success(), "{asked:?}\n{}", self.log());
    }

    fn prepare(authority: Option<&Path>, domain: &str, node: Option<SocketAddr>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::in_directory(authority.unwrap_or(directory.path()));
        let server = Self {
            processes: Processes::default(),
            domain: domain.to_owned(),
            authority,
            c2s: SocketAddr::from(([127, 0, 0, 1], free_port())),
            api: SocketAddr::from(([127, 0, 0, 1], free_port())),
            component: SocketAddr::from(([127, 0, 0, 1], free_port())),
            node,
            directory,
        };
        server.issue(domain, 0);
        server.configure();
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// In JSON, which is YAML.
    fn configure(&self) {
        let settings = json!({
            "loglevel": "info",
            "hosts": [self.domain],
            "certfiles": [self.path("server.pem")],
            "ca_file": self.authority.certificate(),
            "listen": [
                {
                    "port": self.c2s.port(), "ip": "127.0.0.1", "module": "ejabberd_c2s",
                    "max_stanza_size": 262_144, "starttls": true,
                },
                {
                    "port": self.api.port(), "ip": "127.0.0.1", "module": "ejabberd_http",
                    "request_handlers": { "/api": "mod_http_api" },
                },
                {
                    "port": self.component.port(), "ip": "127.0.0.1", "module": "ejabberd_service",
                    "hosts": { COMPONENT: { "password": COMPONENT_SECRET } },
                },
            ],
            "auth_method": ["internal"],
            "auth_password_format": "plain",
            "registration_timeout": "infinity",
            "api_permissions": {
                "tests": {
                    "from": ["mod_http_api"],
                    "who": { "ip": "127.0.0.1/8" },
                    "what": ["register", "unregister", "get_roster", "add_rosteritem"],
                },
            },
            "modules": {
                "mod_admin_extra": {}, "mod_disco": {}, "mod_legacy_auth": {}, "mod_ping": {},
                "mod_register": { "ip_access": "all" }, "mod_roster": {},
            },
        });
        fs::write(self.path("ejabberd.yml"), settings.to_string()).unwrap();
        fs::write(self.path("inetrc"), "{lookup,[\"file\",\"native\"]}.\n").unwrap();
    }

    /// Runs a command of `ejabberdctl`.
    pub fn command(&self, name: &str, arguments: &Value) -> String {
        let mut stream = TcpStream::connect(self.api).unwrap();
        let body = arguments.to_string();
        write!(
            stream,
            "POST /api/{name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{name} {body}: {answer}");
        answer
    }
}

impl ComponentServer for Ejabberd {
    fn component(&self) -> SocketAddr {
        self.component
    }
}

impl XmppServer for Ejabberd {
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
        let process = Command::new("erl")
            .args(["-noinput", "+sbwt", "none", "-mnesia", "dir"])
            .arg(format!("{:?}", self.path("spool")))
            .args(self.node.map(distribution).into_iter().flatten())
            .args(["-s", "ejabberd"])
            .current_dir(self.directory.path())
            .env("HOME", self.directory.path())
            .env("EJABBERD_CONFIG_PATH", self.path("ejabberd.yml"))
            .env("EJABBERD_LOG_PATH", self.path("ejabberd.log"))
            .env("ERL_INETRC", self.path("inetrc"))
            .env("ERL_LIBS", libraries())
            .env("ERL_CRASH_DUMP_BYTES", "0")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn();
        self.processes
            .push(process.unwrap_or_else(|error| panic!("erl: {error}: run scripts/test once")));
        let (address, domain, api) = (self.c2s, self.domain.clone(), self.api);
        let directory = self.directory.path().to_owned();
        self.processes
            .wait_until("clients are served", &|| log_in(&directory), || {
                offers_features(address, &domain) && TcpStream::connect(api).is_ok()
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
        fs::remove_dir_all(self.path("spool")).unwrap();
    }

    fn add_account(&self, username: &str, password: &str) {
        let account = json!({ "user": username, "host": self.domain, "password": password });
        self.command("register", &account);
    }

    fn remove_account(&self, username: &str) {
        self.command("unregister", &json!({ "user": username, "host": self.domain }));
    }

    fn issue(&self, hostname: &str, days_ago: u32) {
        self.authority.issue(hostname, days_ago, &self.path("server.pem"));
    }

    fn log(&self) -> String {
        log_in(self.directory.path())
    }
}

fn name(node: SocketAddr) -> String {
    format!("osa@{}", node.ip())
}

/// How a node is found by others, and finds them.
fn distribution(node: SocketAddr) -> Vec<String> {
    let (name, port) = (name(node), node.port());
    let interface = format!("{{{}}}", node.ip().to_string().replace('.', ","));
    let words = format!(
        "-name {name} -setcookie tests -start_epmd false -erl_epmd_port {port} -kernel inet_dist_use_interface {interface}"
    );
    words.split(' ').map(str::to_owned).collect()
}

fn log_in(directory: &Path) -> String {
    let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
    read("ejabberd.log") + &read("output")
}

/// Where Debian keeps the program.
fn libraries() -> PathBuf {
    let found = fs::read_dir("/usr/lib").unwrap().find_map(|entry| {
        let directory = entry.unwrap().path();
        let mut inside = fs::read_dir(&directory).ok()?;
        inside
            .any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("ejabberd-")))
            .then_some(directory)
    });
    found.unwrap_or_else(|| panic!("ejabberd is not installed: run scripts/test once"))
}
