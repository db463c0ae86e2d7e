//! `osad` with a list of servers, at jabberd2 servers that speak to each other.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use crate::agents::Home;
use crate::behind_http_proxy::HttpProxy;
use crate::deployment::Deployment;
use crate::existing_agents::wait_until;
use crate::over_servers::Over;
use crate::satellite_httpd;
use crate::servers::{Jabberd2, XmppServer};
use crate::site::Site;

/// The list: a Proxy, then the Satellite, whose jabberd the dispatcher is logged in to.
const PROXY: &str = "proxy.example";
const SATELLITE: &str = "satellite.example";

struct Listed {
    over: Over<Jabberd2>,
    proxy: Jabberd2,
    home: Home,
    /// Knows where these names are.
    _names: HttpProxy,
}

impl Listed {
    fn start() -> Self {
        let site = Site::initialised();
        let [satellite, proxy] = Jabberd2::start_joined(&site.path("data/tls"), [SATELLITE, PROXY]);
        let over = Over::on(site, satellite);
        let mut places: BTreeMap<String, SocketAddr> = BTreeMap::new();
        for server in [&over.server, &proxy] {
            let (domain, tls) = (server.domain(), server.tls());
            let https = satellite_httpd::serve_as(&over.beside.database, &tls, domain, SATELLITE);
            places.insert(format!("{domain}:443"), https);
            places.insert(format!("{domain}:5222"), server.address());
        }
        let names = HttpProxy::start_to(places);
        let home = over.beside.new_home("client");
        let list = format!("server_url = [\"https://{PROXY}/XMLRPC\", \"https://{SATELLITE}/XMLRPC\"]\n");
        let text = format!("{list}enable_failover = true\n{}", names.table());
        fs::write(home.path("osad.toml"), text).unwrap();
        home.completes(&over.beside);
        Self {
            over,
            proxy,
            home,
            _names: names,
        }
    }

    /// Waits until it is at this server, and pushes it there.
    fn is_pushed_at(&mut self, domain: &str) {
        let beside = &self.over.beside;
        let suffix = format!("@{domain}/osad");
        wait_until(domain, || {
            let jid = beside.database.query("SELECT jabber_id FROM rhnPushClient");
            jid.ends_with(&suffix) && beside.state("client") == "online"
        });
        beside.becomes_quiet(&["client"]);
        let checks = self.home.checks();
        let action = beside.schedule(&["client"]);
        wait_until("it is completed", || beside.is_completed(action));
        beside.becomes_quiet(&["client"]);
        assert_eq!(self.home.checks(), checks + 1);
    }
}

#[test]
fn agent_goes_to_its_second_server_and_returns_to_the_first() {
    let mut listed = Listed::start();
    let _agent = listed.home.start();
    listed.is_pushed_at(PROXY);

    listed.proxy.kill();
    listed.is_pushed_at(SATELLITE);
    let own_contacts = || listed.over.server.contacts("rhn-dispatcher-sat");
    wait_until("its other JID is no contact any more", || {
        own_contacts().iter().all(|jid| jid.ends_with(SATELLITE))
    });

    listed.proxy.launch();
    listed.is_pushed_at(PROXY);
}
