//! The dispatcher as a client of the site's own XMPP server.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::agents::Logged;
use crate::beside_satellite::BesideSatellite;
use crate::deployment::{Deployment, HURRY};
use crate::existing::{Event, ExistingAgent, Identity};
use crate::existing_agents::{answered, pushable, wait_until};
use crate::satellite_httpd;
use crate::servers::{Ejabberd, Jabberd2, Prosody, XmppServer};
use crate::site::Site;

/// The site's server and the dispatcher that is logged in to it; the server is ended last.
pub struct Over<S> {
    pub beside: BesideSatellite,
    pub server: S,
}

impl<S: XmppServer> Over<S> {
    pub fn start(start: impl FnOnce(Option<&Path>, &str) -> S) -> Self {
        let mut over = Self::without_login(start, |_| ());
        over.is_logged_in();
        over
    }

    /// The same over this server.
    pub fn on(site: Site, server: S) -> Self {
        let beside = BesideSatellite::over(site, &server, HURRY);
        let mut over = Self { beside, server };
        over.is_logged_in();
        over
    }

    /// A dispatcher that may not be able to log in, once this was done to the server.
    pub fn without_login(start: impl FnOnce(Option<&Path>, &str) -> S, prepare: impl FnOnce(&mut S)) -> Self {
        let site = Site::initialised();
        let mut server = start(Some(&site.path("data/tls")), "localhost");
        prepare(&mut server);
        Self {
            beside: BesideSatellite::over(site, &server, HURRY),
            server,
        }
    }

    pub fn is_logged_in(&mut self) {
        self.beside.log.wait_for("upstream_logged_in", "");
    }

    /// Why the dispatcher is not logged in, in the log and in `status`.
    pub fn is_lost_because(&mut self, words: &str) {
        self.beside.log.wait_for("upstream_lost", words);
        let upstream = self.status();
        let error = upstream["error"].as_str().unwrap_or_default();
        // It may be trying again just now.
        assert!(
            upstream["jid"].is_null() && (error.contains(words) || error.is_empty()),
            "{upstream}"
        );
        let unknown = [&upstream["registered"], &upstream["available"]];
        assert!(unknown.iter().all(|count| count.is_null()), "{upstream}");
    }

    pub fn status(&self) -> Value {
        self.beside.site.run(["status", "--json"]).json()["running"]["upstream"].clone()
    }

    /// An account that the administrator makes, for peers whom the server does not let make one.
    pub fn add(&self, name: &str, has_account: bool) -> Identity {
        let identity = self.beside.add(name);
        if has_account {
            let credentials = identity.credentials.lock().unwrap().clone();
            self.server.add_account(&credentials.username, &credentials.password);
        }
        identity
    }

    pub fn shown(&self, state: &str) {
        wait_until(state, || self.beside.state("client") == state);
    }

    pub fn is_pushed(&self, agent: &mut ExistingAgent) {
        let action = self.beside.schedule(&["client"]);
        agent.wait_for(answered);
        wait_until("it is completed", || self.beside.is_completed(action));
    }

    /// The system is woken for an action, carries it out, and is shown as it is.
    pub fn pushes(&mut self, has_account: bool) {
        let identity = self.add("client", has_account);
        self.pushes_as(identity);
    }

    fn pushes_as(&mut self, identity: Identity) {
        let mut agent = pushable(&mut self.beside, identity);
        self.shown("online");
        self.is_pushed(&mut agent);
        agent.interrupt();
        self.shown("offline");
    }
}

#[test]
fn existing_agent_is_pushed_over_jabberd2() {
    let mut over = Over::start(Jabberd2::start_under);

    over.pushes(false);

    let shown = over.beside.site.run(["status"]);
    assert!(
        shown
            .out
            .contains("localhost, as rhn-dispatcher-sat@localhost/superclient; 0 of 1 registered"),
        "{shown:?}"
    );
}

/// It is logged in to the jabberd of its Proxy, which speaks to the Satellite's by dialback.
#[test]
fn existing_agent_behind_a_proxy_is_pushed() {
    let site = Site::initialised();
    let domains = ["satellite.example", "proxy.example"];
    let [satellite, proxy] = Jabberd2::start_joined(&site.path("data/tls"), domains);
    let mut over = Over::on(site, satellite);
    let https = satellite_httpd::serve_as(&over.beside.database, &proxy.tls(), domains[1], domains[0]);

    let identity = Identity {
        host: domains[1].into(),
        xmpp: proxy.address(),
        https,
        ca: proxy.ca(),
        ..over.beside.add("client")
    };

    over.pushes_as(identity);
}

/// A real `osad` makes its account, is woken for an action, and reports its run.
pub fn new_agent_is_pushed(mut over: Over<impl XmppServer>) {
    let home = over.beside.new_home("client");
    let agent = home.start();
    over.beside.log.wait_for("step_recorded", "Online(true)");
    over.shown("online");
    wait_until("its first check has ended", || home.runs().contains("finished"));

    let runs = home.runs().matches("finished").count();
    over.beside.schedule(&["client"]);
    wait_until("it runs its check", || home.runs().matches("finished").count() > runs);
    over.beside.log.wait_for("step_recorded", "Finished");

    drop(agent);
    over.shown("offline");
}

#[test]
fn new_agent_is_pushed_over_jabberd2() {
    new_agent_is_pushed(Over::start(Jabberd2::start_under));
}

#[test]
fn new_agent_is_pushed_over_ejabberd() {
    new_agent_is_pushed(Over::start(Ejabberd::start_under));
}

#[test]
fn new_agent_is_pushed_over_prosody() {
    new_agent_is_pushed(Over::start(Prosody::start_under));
}

/// The dispatcher makes its account there; an existing agent does not know how this server says that its own is unknown.
#[test]
fn existing_agent_with_an_account_is_pushed_over_prosody() {
    Over::start(Prosody::start_under).pushes(true);
}

/// ejabberd leaves the type `normal` out of the messages that it hands on, and existing agents want the word.
pub fn existing_agent_is_seen_and_cannot_be_pushed(mut over: Over<Ejabberd>) {
    let identity = over.add("client", true);
    let mut agent = pushable(&mut over.beside, identity);
    over.shown("online");

    over.beside.schedule(&["client"]);
    over.beside.log.wait_for("step_recorded", "Sent");
    agent.wait_for(|event| *event == Event::Ignored);

    assert_eq!(agent.count(answered), 0);
}

#[test]
fn existing_agent_over_ejabberd_is_seen_and_cannot_be_pushed() {
    existing_agent_is_seen_and_cannot_be_pushed(Over::start(Ejabberd::start_under));
}

#[test]
fn account_that_somebody_else_has_is_replaced_by_another_once() {
    let taken = |server: &mut Jabberd2| server.add_account("rhn-dispatcher-sat", "another");
    let mut over = Over::without_login(Jabberd2::start_under, taken);

    over.beside.log.wait_for("upstream_account_taken", "rhn-dispatcher-sat");
    over.is_logged_in();

    let jid = over.status()["jid"].as_str().unwrap().to_owned();
    assert!(jid.starts_with("rhn-dispatcher-sat-"), "{jid}");
    let told = over.beside.database.query("SELECT jabber_id FROM rhnPushDispatcher");
    assert_eq!(told, jid);
}

/// As tools of Satellites made them before August 2011: compatibility contract, section 1.4.
#[test]
fn certificate_without_alt_name_is_accepted_by_the_dispatcher_when_it_is_told_to() {
    let old = |server: &mut Jabberd2| {
        server.stop();
        server.issue_without_alt_name();
        server.launch();
    };
    let mut over = Over::without_login(Jabberd2::start_under, old);
    over.is_lost_because("set upstream.common_name = true");
    let home = over.beside.new_home("client");
    let _agent = home.start();
    wait_until("osad says why it does not connect", || {
        home.status()["link"].to_string().contains("no subjectAltName")
    });

    over.beside.log.process.kill();
    let text = fs::read_to_string(over.beside.site.config()).unwrap();
    let text = text.replace("[upstream]\n", "[upstream]\ncommon_name = true\n");
    fs::write(over.beside.site.config(), text).unwrap();
    over.beside.log = Logged::start_until(&over.beside.site, "setting_questioned", "remove upstream.common_name");

    over.is_logged_in();
}

/// docs/migration.md: from the site's jabberd to the embedded server, and back, with one agent that is not touched.
#[test]
fn transport_changes_with_a_restart_and_loses_nothing() {
    let mut over = Over::start(Jabberd2::start_under);
    let identity = over.add("client", false);
    let mut agent = pushable(&mut over.beside, identity);
    let over_jabberd = fs::read_to_string(over.beside.site.config()).unwrap();
    let listen = format!("[xmpp]\nlisten = [\"{}\"]\n[upstream]", over.server.address());
    let embedded = over_jabberd
        .replace("\"client\"", "\"embedded\"")
        .replace("[upstream]", &listen);

    over.beside.log.process.kill();
    over.server.stop();
    let meanwhile = over.beside.schedule(&["client"]);
    fs::write(over.beside.site.config(), embedded).unwrap();
    over.beside.log = Logged::start(&over.beside.site);
    wait_until("it is completed", || over.beside.is_completed(meanwhile));
    over.is_pushed(&mut agent);

    over.beside.log.process.kill();
    let meanwhile = over.beside.schedule(&["client"]);
    over.server.launch();
    fs::write(over.beside.site.config(), over_jabberd).unwrap();
    over.beside.log = Logged::start(&over.beside.site);
    over.is_logged_in();
    wait_until("it is completed", || over.beside.is_completed(meanwhile));
    over.is_pushed(&mut agent);
}
