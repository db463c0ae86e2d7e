//! Our own agent at the jabberd2 of a Proxy, which speaks to the one of its Satellite by dialback.

use std::net::SocketAddr;

use crate::agents::{Home, Process};
use crate::deployment::Deployment;
use crate::existing::{ExistingAgent, Identity};
use crate::existing_agents::wait_until;
use crate::over_servers::Over;
use crate::satellite_httpd;
use crate::servers::{Jabberd2, XmppServer};
use crate::site::Site;

/// The agent, which knows the name of its Proxy only.
struct Behind {
    over: Over<Jabberd2>,
    home: Home,
    _agent: Process,
    https: SocketAddr,
    proxy: Jabberd2,
}

impl Behind {
    /// Its first check is over.
    fn start() -> Self {
        let site = Site::initialised();
        let domains = ["satellite.example", "localhost"];
        let [satellite, proxy] = Jabberd2::start_joined(&site.path("data/tls"), domains);
        let mut over = Over::on(site, satellite);
        let https = satellite_httpd::serve_as(&over.beside.database, &proxy.tls(), domains[1], domains[0]);
        let home = Home::of(
            &identity(&over, &proxy, https, "client"),
            over.beside.site.path("client"),
            "client",
        );
        home.completes(&over.beside);
        let agent = home.start();
        over.beside.log.wait_for("step_recorded", "Online(true)");
        over.shown("online");
        wait_until("its first check has ended", || home.checks() == 1);
        over.beside.becomes_quiet(&["client"]);
        Self {
            over,
            home,
            _agent: agent,
            https,
            proxy,
        }
    }

    /// Another client of the Proxy comes; returns when it is seen.
    fn is_joined_by(&mut self, name: &str) -> ExistingAgent {
        let agent = ExistingAgent::start(identity(&self.over, &self.proxy, self.https, name));
        wait_until("it is seen", || self.over.beside.state(name) == "online");
        agent
    }

    /// An action that is scheduled now.
    fn is_pushed(&mut self) {
        let checks = self.home.checks();
        let action = self.over.beside.schedule(&["client"]);
        wait_until("it is completed", || self.over.beside.is_completed(action));
        self.over.beside.becomes_quiet(&["client"]);
        assert_eq!(self.home.checks(), checks + 1);
    }
}

/// What a client of the Proxy is given.
fn identity(over: &Over<Jabberd2>, proxy: &Jabberd2, https: SocketAddr, name: &str) -> Identity {
    Identity {
        host: proxy.domain().into(),
        xmpp: proxy.address(),
        https,
        ca: proxy.ca(),
        ..over.beside.add(name)
    }
}

/// Also what is scheduled while the jabberd of its Proxy is dead, which nobody tells.
#[test]
fn new_agent_behind_a_proxy_is_pushed_and_seen_again_when_the_proxy_was_killed() {
    let mut behind = Behind::start();
    behind.is_pushed();
    let jid = behind.over.beside.database.query("SELECT jabber_id FROM rhnPushClient");
    assert!(jid.ends_with("@localhost/osad"), "{jid}");
    let checks = behind.home.checks();

    behind.proxy.kill();
    let meanwhile = behind.over.beside.schedule(&["client"]);
    behind.over.shown("offline");
    behind.proxy.launch();

    wait_until("it is completed", || behind.over.beside.is_completed(meanwhile));
    behind.over.beside.becomes_quiet(&["client"]);
    assert_eq!(behind.home.checks(), checks + 1);
    behind.over.shown("online");
    behind.is_pushed();
}

/// It stays logged in at its Proxy, and has no reason to show itself again.
#[test]
fn new_agent_behind_a_proxy_is_found_again_when_the_way_to_the_proxy_was_cut() {
    let mut behind = Behind::start();
    let checks = behind.home.checks();

    behind.proxy.end_s2s();
    let meanwhile = behind.over.beside.schedule(&["client"]);
    behind.over.shown("offline");
    behind.proxy.start_s2s();
    // Who is missed is looked for each minute, and when somebody new comes.
    let _other = behind.is_joined_by("other");

    wait_until("it is completed", || behind.over.beside.is_completed(meanwhile));
    behind.over.shown("online");
    wait_until("its check has ended", || behind.home.checks() == checks + 1);
    behind.is_pushed();
}
