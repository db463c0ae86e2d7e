//! A Satellite whose clients and dispatcher meet at an XMPP server of the site.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crate::beside_satellite::BesideSatellite;
use crate::cluster::Database;
use crate::deployment::HURRY;
use crate::existing::{Credentials, Event, ExistingDispatcher, Identity};
use crate::satellite_httpd;
use crate::servers::XmppServer;

const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The database, and an existing dispatcher that has logged in.
pub struct ForeignSite<S> {
    pub server: S,
    pub dispatcher: ExistingDispatcher,
    pub database: Arc<Database>,
    https: SocketAddr,
}

impl<S: XmppServer> ForeignSite<S> {
    /// The dispatcher makes its own account.
    pub fn start(server: S) -> Self {
        Self::on(server, Database::satellite())
    }

    /// With an account that was made for the dispatcher. It must find itself among its clients where it is told its own
    /// presence.
    pub fn with_account(server: S, account: &Credentials) -> Self {
        let database = Database::satellite();
        dispatcher_row(&server, &database, account);
        let own = format!("{}@{}/osad", account.username, server.domain());
        database.sql(&format!(
            "INSERT INTO rhnPushClient (id, name, server_id, jabber_id, shared_key, state_id) \
             SELECT nextval('rhn_pclient_id_seq'), 'dispatcher', 0, '{own}', 'none', id \
             FROM rhnPushClientState WHERE label = 'offline'"
        ));
        Self::on(server, database)
    }

    fn on(server: S, database: Database) -> Self {
        let database = Arc::new(database);
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut dispatcher = ExistingDispatcher::start(&identity(&server, nowhere), &database);
        dispatcher.wait_for(|event| *event == Event::Available);
        let https = satellite_httpd::serve_as(&database, &server.tls(), server.domain(), server.domain());
        Self {
            server,
            dispatcher,
            database,
            https,
        }
    }

    /// Adds a system; what its agent is given. Its check fetches what is due and reports it done.
    pub fn add(&self, name: &str) -> Identity {
        let id = self.database.query(&format!(
            "INSERT INTO rhnServer (id, digital_server_id, secret, name) \
             SELECT id, 'ID-' || id, '{SECRET}', '{name}' FROM nextval('rhn_server_id_seq') id RETURNING id"
        ));
        let database = Arc::clone(&self.database);
        let systemid = BesideSatellite::systemid(name, &id, SECRET);
        let check = move || {
            database.sql(&format!(
                "UPDATE rhnServerAction SET status = 2 WHERE server_id = {id} AND status < 2"
            ));
            0
        };
        Identity {
            systemid: Arc::new(Mutex::new(systemid)),
            check: Arc::new(check),
            ..identity(&self.server, self.https)
        }
    }

    /// Adds a system behind a Proxy, whose XMPP server this is.
    pub fn add_behind(&self, proxy: &impl XmppServer, name: &str) -> Identity {
        let https = satellite_httpd::serve_as(&self.database, &proxy.tls(), proxy.domain(), self.server.domain());
        let agent = self.add(name);
        Identity {
            systemid: agent.systemid,
            check: agent.check,
            ..identity(proxy, https)
        }
    }

    /// Makes an action due on a system; its number.
    pub fn schedule(&self, system: &str) -> i64 {
        let id = self.database.query(&format!(
            "WITH added AS (INSERT INTO rhnAction (id, action_type, name, earliest_action) \
               VALUES (nextval('rhn_event_id_seq'), 30, 'check', current_timestamp) RETURNING id), \
             rows AS (INSERT INTO rhnServerAction (server_id, action_id, status) \
               SELECT s.id, added.id, 0 FROM added, rhnServer s WHERE s.name = '{system}') \
             SELECT id FROM added"
        ));
        id.parse().unwrap()
    }

    pub fn is_completed(&self, action: i64) -> bool {
        let left = format!("SELECT count(*) FROM rhnServerAction WHERE action_id = {action} AND status <> 2");
        self.database.query(&left) == "0"
    }

    /// What the web interface shows as OSA status.
    pub fn state(&self, system: &str) -> String {
        self.database.query(&format!(
            "SELECT s.label FROM rhnPushClient c JOIN rhnPushClientState s ON s.id = c.state_id \
               JOIN rhnServer r ON r.id = c.server_id WHERE r.name = '{system}'"
        ))
    }
}

/// The dispatcher's account as an administrator makes it.
pub fn dispatcher_account() -> Credentials {
    Credentials {
        username: "rhn-dispatcher-sat".to_owned(),
        password: "DispatcherTestPassword0123456789".to_owned(),
    }
}

/// Makes an account for the dispatcher, and has the database know its password.
pub fn dispatcher_row(server: &impl XmppServer, database: &Database, account: &Credentials) {
    let (Credentials { username, password }, host) = (account, server.domain());
    server.add_account(username, password);
    database.sql(&format!(
        "INSERT INTO rhnPushDispatcher (id, jabber_id, hostname, password) \
         VALUES (nextval('rhn_pushdispatch_id_seq'), '{username}@{host}/superclient', '{host}', '{password}')"
    ));
}

/// What an existing peer of a server is given.
pub fn identity(server: &impl XmppServer, https: SocketAddr) -> Identity {
    Identity {
        host: server.domain().to_owned(),
        xmpp: server.address(),
        https,
        ca: server.ca(),
        systemid: Arc::new(Mutex::new(String::new())),
        credentials: Arc::new(Mutex::new(Credentials::random())),
        subscribes: false,
        clock_ahead: 0,
        hurry: HURRY,
        check: Arc::new(|| 0),
    }
}
