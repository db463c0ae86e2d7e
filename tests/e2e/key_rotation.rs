//! Names and keys that the Satellite replaces while the session of their system goes on.

use std::fs;

use crate::beside_satellite::BesideSatellite;
use crate::deployment::Deployment;
use crate::existing::{Event, rotate};
use crate::existing_agents::{answered, pushable, wait_until};

fn distrusted(event: &Event) -> bool {
    *event == Event::Distrusted
}

#[test]
fn request_after_a_rotation_is_signed_with_the_new_key() {
    let mut beside = BesideSatellite::usual();
    let identity = beside.add("client");
    let mut agent = pushable(&mut beside, identity);
    // Nothing has been due so far, so no request with the old key can be under way.
    agent.re_enrol();

    let action = beside.schedule(&["client"]);

    agent.wait_for(answered);
    wait_until("it is completed", || beside.is_completed(action));
    assert_eq!(agent.count(distrusted), 0, "{:?}", agent.events());
    assert_eq!(
        agent.count(|event| matches!(event, Event::Lost(_))),
        0,
        "its connection went on"
    );
}

/// Another process of the system took its name and key away between a request and its answer.
#[test]
fn answer_under_the_old_name_is_looked_up_and_has_no_effect() {
    let mut beside = BesideSatellite::usual();
    let identity = beside.add("client");
    let mut agent = pushable(&mut beside, identity.clone());
    agent.stop(true);
    let action = beside.schedule(&["client"]);
    beside.log.wait_for("step_recorded", "Sent");

    rotate(&identity);
    beside.log.wait_for("step_recorded", "Sent");
    agent.stop(false);

    // The first request is signed with the key that it has, the second with the new one.
    agent.wait_for(answered);
    agent.wait_for(distrusted);
    beside
        .log
        .wait_for("stanza_ignored", "no client of this name has this JID");
    // Its check has run all the same, and the Satellite knows what it did.
    wait_until("it is completed", || beside.is_completed(action));

    agent.re_enrol();
    let action = beside.schedule(&["client"]);
    agent.wait_for(answered);
    wait_until("it is completed", || beside.is_completed(action));
    assert_eq!(
        agent.count(|event| matches!(event, Event::Lost(_))),
        0,
        "its connection went on"
    );
}

/// Nobody tells an agent of ours that its key is void, but that it cannot verify what its dispatcher says.
#[test]
fn new_agent_whose_key_was_taken_registers_anew() {
    let mut beside = BesideSatellite::usual();
    let home = beside.new_home("client");
    let _agent = home.start();
    beside.log.wait_for("step_recorded", "Online(true)");
    let checks = || home.runs().matches("finished").count();
    wait_until("the check of its start has run", || checks() > 0);
    let before = checks();

    let elsewhere = beside.add("its systemid is replaced");
    *elsewhere.systemid.lock().unwrap() = fs::read_to_string(home.path("systemid")).unwrap();
    rotate(&elsewhere);
    let action = beside.schedule(&["client"]);

    wait_until("its check has run", || checks() > before);
    beside.database.sql(&format!(
        "UPDATE rhnServerAction SET status = 2 WHERE action_id = {action}"
    ));
}
