//! Where existing agents are tried: a dispatcher, its systems, and who moves their actions.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use osa::compose::time::Time;
use osa::domain::time::Timestamp;
use serde_json::Value;

use crate::agents::{Logged, schedule, states};
use crate::existing::{Credentials, Identity};
use crate::ports::free_port;
use crate::site::Site;

/// What all pauses are divided by where there is no time for them.
pub const HURRY: u32 = 50;

/// A dispatcher that runs, over some store.
pub trait Deployment {
    /// Where the dispatcher has its files.
    fn site(&self) -> &Site;
    /// What the dispatcher logs.
    fn log(&mut self) -> &mut Logged;
    /// Adds a system; what its agent is given. Its check does what a check does here.
    fn add(&self, name: &str) -> Identity;
    /// Makes an action due on these systems; its number.
    fn schedule(&self, systems: &[&str]) -> i64;
    /// The states of an action on its systems.
    fn states(&self, action: i64) -> Vec<String>;

    /// The last requests of a system, oldest first.
    fn requests(&self, system: &str) -> Vec<Request> {
        let explained = self.site().run(["explain", system, "--json"]).json();
        let history = explained["history"].as_array().unwrap();
        let time = |value: &Value| value.as_str().and_then(Time::parse).map(|Time(at)| at);
        let request = |entry: &Value| Request {
            claimed: time(&entry["request"]["claimed"]).unwrap(),
            answered: time(&entry["request"]["answered"]),
        };
        history.iter().rev().map(request).collect()
    }
}

/// When a request was made, and when it was answered, by the dispatcher's clock: however slow agents and tests are, what
/// the dispatcher must wait for lies between these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub claimed: Timestamp,
    pub answered: Option<Timestamp>,
}

/// Lines of the table `push`: pauses divided by this, with a lease to match unless these lines set another.
pub fn pace(hurry: u32, push: &str) -> String {
    let lease = match push.contains("lease = ") {
        true => String::new(),
        false => format!("lease = \"{}ms\"\n", 60_000 / hurry),
    };
    format!("pause_divisor = {hurry}\n{lease}{push}\n")
}

/// Pauses as they are in life, but for the time until a request counts as lost: after the first loss, a minute.
pub const LOST_SOON: &str = "poll_interval = \"100ms\"\nlease = \"1s\"";

/// Looks at the database ten times a second.
pub const USUAL: &str = "poll_interval = \"100ms\"";

/// The standalone deployment: SQLite, and agents' answers move the actions.
pub struct Standalone {
    pub site: Site,
    pub xmpp: SocketAddr,
    pub https: SocketAddr,
    pub log: Logged,
    hurry: u32,
}

/// What is not as usual: further lines of tables of the configuration.
pub struct Settings<'a> {
    /// What all pauses are divided by.
    pub hurry: u32,
    pub xmpp: &'a str,
    pub push: &'a str,
    pub accounts: &'a str,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            hurry: HURRY,
            xmpp: "",
            push: USUAL,
            accounts: "",
        }
    }
}

impl Standalone {
    /// In a hurry, with the usual settings.
    pub fn usual() -> Self {
        Self::start(&Settings::default())
    }

    pub fn start(settings: &Settings<'_>) -> Self {
        let Settings {
            hurry,
            xmpp: xmpp_lines,
            push,
            accounts,
        } = settings;
        let (xmpp, https) = (free_port(), free_port());
        let site = Site::configured();
        let data = site.path("data");
        let pace = pace(*hurry, push);
        let text = format!(
            "hostname = \"localhost\"\ndata_dir = {data:?}\n\
             [xmpp]\nlisten = [\"127.0.0.1:{xmpp}\"]\n{xmpp_lines}\n[registration]\nlisten = [\"127.0.0.1:{https}\"]\n\
             [push]\n{pace}[accounts]\n{accounts}\n"
        );
        fs::write(site.config(), text).unwrap();
        let ended = site.run(["init"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let log = Logged::start(&site);
        let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            site,
            xmpp: local(xmpp),
            https: local(https),
            log,
            hurry: *hurry,
        }
    }

    /// However slow its dispatcher is, its agents are in a hurry.
    pub fn with_quick_agents(self) -> Self {
        Self { hurry: HURRY, ..self }
    }

    pub fn ca(&self) -> PathBuf {
        self.site.path("data").join("tls/ca.crt")
    }
}

impl Deployment for Standalone {
    fn site(&self) -> &Site {
        &self.site
    }

    fn log(&mut self) -> &mut Logged {
        &mut self.log
    }

    fn add(&self, name: &str) -> Identity {
        let out = self.site.path("bundles");
        fs::create_dir_all(&out).unwrap();
        let ended = self.site.run(["systems", "add", name, "--out", out.to_str().unwrap()]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let systemid = fs::read_to_string(out.join(name).join("systemid")).unwrap();
        Identity {
            host: "localhost".into(),
            xmpp: self.xmpp,
            https: self.https,
            ca: self.ca(),
            systemid: Arc::new(Mutex::new(systemid)),
            credentials: Arc::new(Mutex::new(Credentials::random())),
            subscribes: false,
            clock_ahead: 0,
            hurry: self.hurry,
            check: Arc::new(|| 0),
        }
    }

    fn schedule(&self, systems: &[&str]) -> i64 {
        schedule(&self.site, systems)
    }

    fn states(&self, action: i64) -> Vec<String> {
        states(&self.site, action)
    }
}
