//! Existing agents beside a Satellite: which actions they are asked to fetch, and when.
#![expect(clippy::disallowed_methods, reason = "what is waited for happens in other processes")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::beside_satellite::{BesideSatellite, online};
use crate::cluster::Database;
use crate::deployment::{Deployment, HURRY, Request, USUAL};
use crate::existing::{Event, ExistingAgent, Identity};
use crate::existing_agents::{answered, pushable, shortened, wait_until};
use crate::satellite_sessions::want_ping;

/// A restart of the client.
pub const REBOOT: i64 = 9;
/// Anything else.
pub const SCRIPT: i64 = 30;
/// How long nothing must happen to be believed that nothing does: longer than the pause behind a first answer.
const QUIET: Duration = Duration::from_secs(4);

/// An agent whose check fetches nothing, as one does that finds the lock taken.
pub fn idle(beside: &mut BesideSatellite, name: &str) -> ExistingAgent {
    let identity = Identity {
        check: Arc::new(|| 0),
        ..beside.add(name)
    };
    pushable(beside, identity)
}

/// An action that a check of this system picked up so long ago.
pub fn picked_up(beside: &BesideSatellite, system: &str, kind: i64, ago: Duration) -> i64 {
    let (id, ago) = (beside.id(system), ago.as_secs_f64());
    let action = beside.database.query(&format!(
        "WITH added AS (INSERT INTO rhnAction (id, action_type, name, earliest_action) \
           VALUES (nextval('rhn_event_id_seq'), {kind}, 'check', current_timestamp) RETURNING id), \
         rows AS (INSERT INTO rhnServerAction (server_id, action_id, status, pickup_time) \
           SELECT {id}, added.id, 1, current_timestamp - {ago} * interval '1 second' FROM added) \
         SELECT id FROM added"
    ));
    action.parse().unwrap()
}

pub fn complete(beside: &BesideSatellite, action: i64) {
    let complete = format!("UPDATE rhnServerAction SET status = 2 WHERE action_id = {action}");
    beside.database.sql(&complete);
}

/// Whether an answered request covered this action of a system.
fn was_asked_for(beside: &BesideSatellite, system: &str, action: i64) -> bool {
    let covers = format!(
        "SELECT count(*) > 0 FROM osa_request_action c JOIN osa_request r ON r.server_id = c.server_id \
           AND r.number = c.number WHERE c.server_id = {} AND c.action_id = {action} AND r.answered_at IS NOT NULL",
        beside.id(system)
    );
    beside.database.query(&covers) == "t"
}

/// Half an hour is six minutes: longer than anything here takes, on however slow a machine. Agents are in a hurry.
fn unhurried(push: &str) -> BesideSatellite {
    BesideSatellite::paced(&["migrate"], push, 5).with_quick_agents()
}

/// Nothing is asked of this system for a while, so that it was asked as often as this.
fn assert_quiet(beside: &BesideSatellite, system: &str, requests: usize) {
    std::thread::sleep(QUIET);
    let made = beside.requests(system);
    assert_eq!(made.len(), requests, "{made:?}");
}

#[test]
fn action_of_the_future_is_asked_for_at_its_time() {
    let mut beside = BesideSatellite::usual();
    let (_, mut agent) = online(&mut beside, "client");

    let begun = Instant::now();
    let time = "current_timestamp + interval '3 seconds'";
    let action = beside.schedule_at(&["client"], time);
    let (at, _) = agent.wait_for(answered);

    assert!(at - begun >= Duration::from_secs(3), "{:?}", at - begun);
    wait_until("it is completed", || beside.is_completed(action));
}

fn answered_requests(beside: &BesideSatellite) -> Vec<Request> {
    let mut requests = beside.requests("client");
    requests.retain(|request| request.answered.is_some());
    requests
}

#[test]
fn action_left_queued_is_asked_for_again_and_ever_more_rarely() {
    let mut beside = BesideSatellite::usual();
    let mut agent = idle(&mut beside, "client");

    beside.schedule(&["client"]);
    for _ in 0..4 {
        agent.wait_for(answered);
    }

    wait_until("four answers were heard", || answered_requests(&beside).len() >= 4);
    let answers = answered_requests(&beside);
    for (pause, pair) in [15, 30, 60].into_iter().zip(answers.windows(2)) {
        let apart = pair[1].claimed.saturating_since(pair[0].answered.unwrap());
        assert!(apart >= shortened(pause), "{apart:?} instead of {pause} s");
    }
}

#[test]
fn picked_up_action_is_stuck_after_30_min() {
    let mut beside = BesideSatellite::usual();
    let (_, mut agent) = online(&mut beside, "client");

    let begun = Instant::now();
    let action = picked_up(&beside, "client", SCRIPT, shortened(30 * 60) - Duration::from_secs(4));
    let (at, _) = agent.wait_for(answered);

    assert!(at - begun >= Duration::from_secs(3), "{:?}", at - begun);
    wait_until("it is completed", || beside.is_completed(action));
}

#[test]
fn system_at_work_is_asked_again_when_its_action_ends() {
    let mut beside = unhurried(USUAL);
    let _agent = idle(&mut beside, "client");
    let busy = picked_up(&beside, "client", SCRIPT, Duration::ZERO);
    let queued = beside.schedule(&["client"]);

    wait_until("it was asked for", || was_asked_for(&beside, "client", queued));
    let before = beside.requests("client").len();
    assert_quiet(&beside, "client", before);
    complete(&beside, busy);

    wait_until("it is asked again", || beside.requests("client").len() > before);
}

/// What comes while a request is on its way is asked for when it is answered, though what the request covers must wait.
#[test]
fn action_that_comes_during_a_request_is_asked_for_when_it_is_answered() {
    let mut beside = unhurried(USUAL);
    let agent = idle(&mut beside, "client");
    picked_up(&beside, "client", SCRIPT, Duration::ZERO);
    agent.stop(true);
    let first = beside.schedule(&["client"]);
    beside.log().wait_for("step_recorded", "Sent");

    let second = beside.schedule(&["client"]);
    agent.stop(false);

    // Sooner than the picked-up one is stuck.
    wait_until("both were asked for", || {
        was_asked_for(&beside, "client", first) && was_asked_for(&beside, "client", second)
    });
}

#[test]
fn system_in_a_reboot_is_asked_once_for_each_session() {
    let mut beside = unhurried(USUAL);
    let added = beside.add("client");
    let (database, id) = (Arc::clone(&beside.database), beside.id("client"));
    let identity = Identity {
        // The Satellite hands out nothing while a reboot is picked up.
        check: Arc::new(move || {
            database.sql(&format!(
                "UPDATE rhnServerAction SET status = 2 WHERE server_id = {id} AND NOT EXISTS \
                   (SELECT 1 FROM rhnServerAction sa JOIN rhnAction a ON a.id = sa.action_id \
                    WHERE sa.server_id = {id} AND sa.status = 1 AND a.action_type = {REBOOT})"
            ));
            0
        }),
        ..added
    };
    let agent = pushable(&mut beside, identity.clone());
    let action = beside.schedule(&["client"]);
    wait_until("the session was asked for something", || beside.is_completed(action));
    let session = || beside.site.run(["explain", "client", "--json"]).json()["session"].clone();
    wait_until("nothing is left to ask for", || {
        let session = session();
        session.is_object() && session["next"].is_null() && session["outstanding"].is_null()
    });
    let asked = beside.requests("client").len();

    let reboot = picked_up(&beside, "client", REBOOT, Duration::ZERO);
    wait_until("the reboot is known", || session()["rebooting"] == true);
    let queued = beside.schedule(&["client"]);
    assert_quiet(&beside, "client", asked);
    agent.kill();
    let agent = pushable(&mut beside, identity);
    wait_until("the new session is asked", || agent.count(answered) > 0);
    assert_quiet(&beside, "client", asked + 1);
    complete(&beside, reboot);

    wait_until("pushes go on", || beside.is_completed(queued));
}

#[test]
fn system_without_a_wanted_entitlement_is_not_pushed() {
    let push = "poll_interval = \"100ms\"\nentitlements = [\"enterprise_entitled\"]";
    let mut beside = BesideSatellite::start(&["migrate"], push);
    let (_, _entitled) = online(&mut beside, "entitled");
    let (_, mut other) = online(&mut beside, "other");
    let entitle = |beside: &BesideSatellite, system: &str| {
        let id = beside.id(system);
        let entitle = format!("INSERT INTO rhnServerGroupMembers (server_id, server_group_id) VALUES ({id}, 1)");
        beside.database.sql(&entitle);
    };
    entitle(&beside, "entitled");

    let action = beside.schedule(&["entitled", "other"]);
    wait_until("the entitled one is asked", || {
        was_asked_for(&beside, "entitled", action)
    });
    assert_quiet(&beside, "other", 0);
    want_ping(&beside, "other");
    other.wait_for(|event| *event == Event::Answered("ping"));
    entitle(&beside, "other");

    let again = beside.schedule(&["other"]);
    wait_until("everything is completed", || {
        beside.is_completed(action) && beside.is_completed(again)
    });
}

#[test]
fn system_with_another_contact_method_is_not_pushed() {
    let uyuni = Database::satellite().apply("uyuni.sql");
    let host = uyuni.socket.display().to_string();
    let mut beside = BesideSatellite::on(uyuni, &host, &["migrate"], "poll_interval = \"100ms\"", HURRY);
    let (_, _usual) = online(&mut beside, "usual");
    let (_, _other) = online(&mut beside, "other");
    let contact = |beside: &BesideSatellite, method: u8| {
        beside.database.sql(&format!(
            "UPDATE rhnServer SET contact_method_id = {method} WHERE name = 'other'"
        ));
    };
    contact(&beside, 1);

    let action = beside.schedule(&["usual", "other"]);
    wait_until("the usual one is asked", || was_asked_for(&beside, "usual", action));
    assert_quiet(&beside, "other", 0);
    contact(&beside, 0);

    let again = beside.schedule(&["other"]);
    wait_until("everything is completed", || {
        beside.is_completed(action) && beside.is_completed(again)
    });
}

/// Systems at work count, whoever made them so; those that are not connected, and those that reboot, do not.
#[test]
fn slots_are_held_by_systems_at_work() {
    let push = "poll_interval = \"100ms\"\nnotify_threshold = 1";
    let mut beside = BesideSatellite::start(&["migrate"], push);
    let _agents = ["busy", "reboots"].map(|name| idle(&mut beside, name));
    let (_, mut waits) = online(&mut beside, "waits");
    beside.add("absent");
    picked_up(&beside, "absent", SCRIPT, Duration::ZERO);
    picked_up(&beside, "reboots", REBOOT, Duration::ZERO);
    let work = picked_up(&beside, "busy", SCRIPT, Duration::ZERO);

    let action = beside.schedule(&["waits"]);
    assert_quiet(&beside, "waits", 0);
    complete(&beside, work);

    waits.wait_for(answered);
    wait_until("it is completed", || beside.is_completed(action));
}
