//! XMPP servers that a site may have, from Debian's packages: each in a directory of its own, on loopback, ended when it
//! is dropped.
#![expect(clippy::disallowed_methods, reason = "what is waited for happens in other processes")]

mod ejabberd;
mod jabberd2;
mod name_server;
mod prosody;

pub use self::ejabberd::Ejabberd;
pub use self::jabberd2::Jabberd2;
pub use self::prosody::Prosody;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use osa::domain::time::Timestamp;
use osa::host::clock::SystemClock;
use osa::net::ca::{AuthorityFiles, create_authority, issue_server};
use osa::net::tls::ServerFiles;
use osa::ports::clock::Clock;
use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair};

use crate::site::PATIENCE;

/// What every one of them can.
pub trait XmppServer {
    /// The name that it serves: the domain of its accounts, and what its certificate is for.
    fn domain(&self) -> &str;

    /// Where it listens for clients, also after a restart.
    fn address(&self) -> SocketAddr;

    /// The authority that signed its certificate: PEM.
    fn ca(&self) -> PathBuf;

    /// The directory with its `server.crt` and `server.key`.
    fn tls(&self) -> PathBuf;

    /// Starts it again; returns when clients are served.
    fn launch(&mut self);

    /// Stops it as an administrator does; returns when all its processes have ended.
    fn stop(&mut self);

    /// Ends all its processes at once; returns when they have ended.
    fn kill(&mut self);

    /// Deletes accounts, rosters and everything else it keeps; it must be stopped.
    fn delete_store(&self);

    /// Makes an account, as an administrator does.
    fn add_account(&self, username: &str, password: &str);

    /// Deletes an account with its roster.
    fn remove_account(&self, username: &str);

    /// Replaces the certificate, from the next start on, by one for this name that was issued so many days ago.
    fn issue(&self, hostname: &str, days_ago: u32);

    /// What it logged.
    fn log(&self) -> String;
}

/// The component that servers which have such are told of.
pub const COMPONENT: &str = "osa.localhost";
/// What it proves to know.
pub const COMPONENT_SECRET: &str = "ComponentTestSecret0123456789";

/// A server that takes components.
pub trait ComponentServer: XmppServer {
    /// Where it listens for them, also after a restart.
    fn component(&self) -> SocketAddr;
}

/// A certificate authority, and what it signs, in one directory.
pub struct Authority {
    files: AuthorityFiles,
}

impl Authority {
    /// The pair `ca.crt` and `ca.key` of a directory, made if it is not there.
    pub fn in_directory(directory: &Path) -> Self {
        let files = AuthorityFiles {
            certificate: directory.join("ca.crt"),
            key: directory.join("ca.key"),
        };
        if !files.certificate.exists() {
            create_authority(&files, "site", now()).unwrap();
        }
        Self { files }
    }

    pub fn certificate(&self) -> PathBuf {
        self.files.certificate.clone()
    }

    /// Writes certificate and key for a name into one file, as jabberd2 wants them.
    pub fn issue(&self, hostname: &str, days_ago: u32, pem: &Path) {
        let server = ServerFiles {
            certificate: pem.with_extension("crt"),
            key: pem.with_extension("key"),
            hostname: hostname.to_owned(),
            authority: None,
        };
        let issued = now() - Duration::from_secs(24 * 3600) * days_ago;
        issue_server(&self.files, &server, issued).unwrap();
        let pair = fs::read_to_string(&server.certificate).unwrap() + &fs::read_to_string(&server.key).unwrap();
        fs::write(pem, pair).unwrap();
    }

    /// The same with the name as common name only, as tools of Satellites made it before August 2011.
    pub fn issue_without_alt_name(&self, hostname: &str, pem: &Path) {
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        let signing = KeyPair::from_pem(&read(&self.files.key)).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&read(&self.files.certificate), signing).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, hostname);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        fs::write(pem, certificate.pem() + &key.serialize_pem()).unwrap();
    }
}

fn now() -> Timestamp {
    SystemClock.now()
}

/// Processes of one server, in the order in which they were started; killed when they are dropped.
#[derive(Default)]
struct Processes(Vec<Child>);

impl Processes {
    fn push(&mut self, process: Child) {
        self.0.push(process);
    }

    /// Tells all to end, the last one first; returns when they have.
    fn end(&mut self, signal: Signal) {
        for process in self.0.iter().rev() {
            // One that has ended meanwhile is what is wanted.
            kill(Pid::from_raw(process.id().try_into().unwrap()), signal).ok();
        }
        for mut process in self.0.drain(..) {
            if !wait(&mut process) {
                process.kill().ok();
                process.wait().ok();
            }
        }
    }

    /// The first one that has ended by itself.
    fn has_ended(&mut self) -> bool {
        self.0.iter_mut().any(|process| process.try_wait().unwrap().is_some())
    }

    /// Waits for something that a running server does.
    fn wait_until(&mut self, what: &str, log: &dyn Fn() -> String, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds() {
            assert!(!self.has_ended(), "it ended before {what}: {}", log());
            assert!(Instant::now() < end, "{what}: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Whether a process ends in good time.
fn wait(process: &mut Child) -> bool {
    let end = Instant::now() + Duration::from_secs(20);
    while process.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.end(Signal::SIGKILL);
    }
}

/// Whether a server answers a client's header with stream features.
fn offers_features(address: SocketAddr, domain: &str) -> bool {
    features(address, domain).is_ok()
}

/// What a server says before TLS: its header and its features.
pub fn features(address: SocketAddr, domain: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "<?xml version='1.0'?><stream:stream to='{domain}' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
    )?;
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        heard.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&heard);
        if text.contains("</stream:features>") {
            stream.write_all(b"</stream:stream>")?;
            return Ok(text.into_owned());
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
