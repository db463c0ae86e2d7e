//! Systems that are deleted, and come back, at a real server's roster.

use std::sync::Arc;

use crate::cluster::Database;
use crate::deployment::Deployment;
use crate::existing::{Event, ExistingAgent, Identity};
use crate::existing_agents::{pushable, wait_until};
use crate::over_servers::Over;
use crate::satellite_httpd;
use crate::servers::Jabberd2;

const ACCOUNT: &str = "rhn-dispatcher-sat";

fn bare(identity: &Identity) -> String {
    format!("{}@localhost", identity.credentials.lock().unwrap().username)
}

impl Over<Jabberd2> {
    /// Who is there, and in the roster that the server keeps for the dispatcher.
    fn has_contacts(&self, wanted: &[&Identity]) {
        let mut wanted: Vec<String> = wanted.iter().copied().map(bare).collect();
        wanted.sort();
        wait_until("those and no others are contacts", || {
            self.server.contacts(ACCOUNT) == wanted && self.status()["available"] == wanted.len()
        });
    }

    /// Another system comes, for which registrations are read; it is there afterwards.
    fn is_joined_by(&mut self, name: &str) -> (Identity, ExistingAgent) {
        let identity = self.beside.add(name);
        let agent = pushable(&mut self.beside, identity.clone());
        (identity, agent)
    }
}

/// A Satellite that is told of the same dispatcher and has never heard of its systems.
fn elsewhere(over: &Over<Jabberd2>) -> Arc<Database> {
    let database = Arc::new(Database::satellite());
    database.sql(&format!(
        "INSERT INTO rhnPushDispatcher (id, jabber_id, hostname) \
         VALUES (nextval('rhn_pushdispatch_id_seq'), '{ACCOUNT}@localhost/superclient', 'localhost'); \
         INSERT INTO rhnServer (id, digital_server_id, secret, name) \
         SELECT id, digital_server_id, secret, name FROM (VALUES {}) s (id, digital_server_id, secret, name)",
        over.beside.database.query(
            "SELECT string_agg(format('(%s, %L, %L, %L)', id, digital_server_id, secret, name), ',') FROM rhnServer"
        )
    ));
    database
}

#[test]
fn deleted_system_is_no_contact_any_more_until_it_registers_anew() {
    let mut over = Over::start(Jabberd2::start_under);
    let (gone, agent) = over.is_joined_by("gone");
    over.has_contacts(&[&gone]);
    let other_satellite = elsewhere(&over);

    let id = over.beside.id("gone");
    over.beside.database.sql(&format!(
        "DELETE FROM rhnPushClient WHERE server_id = {id}; DELETE FROM rhnServer WHERE id = {id}"
    ));
    let (first, _first) = over.is_joined_by("first");
    over.has_contacts(&[&first]);

    // It is no system of this Satellite any more, and asks all the same.
    agent.kill();
    let https = satellite_httpd::serve(&other_satellite, &over.beside.site.path("data/tls"));
    let mut stranger = ExistingAgent::start(Identity { https, ..gone.clone() });
    stranger.wait_for(|event| matches!(event, Event::Subscribed(_)));
    stranger.wait_for(|event| *event == Event::Available);
    let (second, _second) = over.is_joined_by("second");
    over.has_contacts(&[&first, &second]);
    stranger.kill();

    // Installed and registered anew, with the account that it has.
    let again = Identity {
        credentials: Arc::clone(&gone.credentials),
        ..over.beside.add("again")
    };
    let mut agent = pushable(&mut over.beside, again.clone());
    over.has_contacts(&[&first, &second, &again]);
    let action = over.beside.schedule(&["again"]);
    agent.wait_for(|event| matches!(event, Event::CheckEnded(_)));
    wait_until("it is completed", || over.beside.is_completed(action));
}
