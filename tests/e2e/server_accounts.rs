//! What can befall the dispatcher's account on a site's jabberd2.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use osa::compose::time::Time;
use serde_json::Value;

use crate::existing::{Credentials, Event, ExistingAgent, Identity, remove_account};
use crate::foreign_site::identity;
use crate::server_scene::ServerScene;
use crate::servers::XmppServer;

const NODE: &str = "rhn-dispatcher-sat";

/// Its row, its roster and its password are gone; the session lives on until the server is restarted.
#[test]
fn account_that_is_deleted_while_it_is_used_is_made_again() {
    let mut scene = ServerScene::begin();
    let account = scene.account();
    scene.server.remove_account(NODE);
    scene.server.kill();
    let due = scene.schedule();
    scene.is_lost_because("");
    scene.server.launch();

    scene.is_well_again(&due);

    assert_eq!(scene.account(), account);
    assert_eq!(scene.server.contacts(NODE).len(), 2);
}

/// As a program does that logs in with its password: jabberd2 ends its sessions.
#[test]
fn account_that_another_program_removes_is_made_again() {
    let mut scene = ServerScene::begin();
    let account = scene.account();

    remove_account(&scene.dispatcher()).unwrap();
    scene.beside.log.wait_for("upstream_lost", "closed by the server");
    let due = scene.schedule();

    scene.is_well_again(&due);
    assert_eq!(scene.account(), account);
    assert_eq!(scene.server.contacts(NODE).len(), 2);
}

#[test]
fn password_that_is_changed_leads_to_another_account_that_agents_follow() {
    let mut scene = ServerScene::begin();
    scene.server.set_password(NODE, "another");
    scene.server.kill();
    let due = scene.schedule();
    scene.is_lost_because("");
    scene.server.launch();
    scene.beside.log.wait_for("upstream_account_taken", NODE);

    scene.is_well_again(&due);

    let jid = scene.status()["jid"].as_str().unwrap().to_owned();
    assert!(jid.starts_with(&format!("{NODE}-")), "{jid}");
}

/// Another name would not help.
#[test]
fn password_that_is_changed_where_nobody_may_register_waits_for_the_operator() {
    let mut scene = ServerScene::begin();
    let account = scene.account();
    let (_, password) = account.split_once('|').unwrap();
    scene.server.set_password(NODE, "another");
    scene.server.refuse_registration();
    scene.server.kill();
    scene.server.launch();
    let due = scene.schedule();
    scene.is_lost_because("create it there, or set its password");
    scene.is_tried_again(2);

    scene.server.set_password(NODE, password);

    scene.is_well_again(&due);
    assert_eq!(scene.account(), account);
}

/// jabberd2 ends the older session.
#[test]
fn account_that_another_dispatcher_uses_is_not_fought_for() {
    let mut scene = ServerScene::begin();
    let mut other = ExistingAgent::idle(scene.dispatcher(), "superclient");
    other.wait_for(|event| matches!(event, Event::LoggedIn { .. }));
    scene.is_lost_because("another program logged in as rhn-dispatcher-sat@localhost");
    assert_eq!(other.count(|event| matches!(event, Event::Lost(_))), 0);
    drop(other);
    let due = scene.schedule();

    scene.is_well_again(&due);

    assert!(scene.pause() >= Duration::from_secs(59), "{:?}", scene.pause());
}

impl ServerScene {
    /// Who knows the dispatcher's password.
    fn dispatcher(&self) -> Identity {
        let account = self.account();
        let (_, password) = account.split_once('|').unwrap();
        let credentials = Credentials {
            username: NODE.to_owned(),
            password: password.to_owned(),
        };
        Identity {
            credentials: Arc::new(Mutex::new(credentials)),
            ..identity(&self.server, self.beside.https)
        }
    }

    /// From the first loss to the login after it.
    fn pause(&mut self) -> Duration {
        let at = |record: &Value| Time::parse(record["timestamp"].as_str().unwrap()).unwrap().0;
        let records: Vec<_> = self.since_the_fault().collect();
        let lost = records
            .iter()
            .find(|record| record["event"] == "upstream_lost")
            .unwrap();
        let back = records
            .iter()
            .find(|record| record["event"] == "upstream_logged_in")
            .unwrap();
        at(back).saturating_since(at(lost))
    }
}
