//! What administrators do to systems of a Satellite, and what becomes of their agents.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::administrators::{SCRIPT, checked, looking, online, told};
use crate::beside_satellite::BesideSatellite;
use crate::deployment::{Deployment, LOST_SOON};
use crate::existing::{Credentials, Event, ExistingAgent, Identity};
use crate::existing_agents::{answered, pushable, wait_until};

/// What a dispatcher's pauses are divided by where agents alone are in a hurry.
const UNHURRIED: u32 = 5;
const REBOOT: u32 = 9;
const KICKSTART: u32 = 19;

impl BesideSatellite {
    /// Columns of a system's row in `rhnPushClient`.
    fn client(&self, system: &str, columns: &str) -> String {
        self.database.query(&format!(
            "SELECT {columns} FROM rhnPushClient c JOIN rhnServer s ON s.id = c.server_id WHERE s.name = '{system}'"
        ))
    }

    /// The status of an action on one system.
    fn status_on(&self, action: i64, system: &str) -> String {
        self.database.query(&format!(
            "SELECT sa.status FROM rhnServerAction sa JOIN rhnServer s ON s.id = sa.server_id \
             WHERE sa.action_id = {action} AND s.name = '{system}'"
        ))
    }

    /// How many requests this system was made, and how many of them were answered.
    fn requests_of(&self, system: &str) -> (i64, i64) {
        let counted = self.database.query(&format!(
            "SELECT count(*) || ' ' || count(answered_at) FROM osa_request r JOIN rhnServer s ON s.id = r.server_id \
             WHERE s.name = '{system}'"
        ));
        let (all, answered) = counted.split_once(' ').unwrap();
        (all.parse().unwrap(), answered.parse().unwrap())
    }
}

#[test]
fn reboot_that_is_cancelled_on_the_machine_keeps_all_but_few_requests_back() {
    // Half an hour is six minutes: longer than this takes, on however slow a machine.
    let push = "poll_interval = \"100ms\"\nreconcile_interval = \"1s\"";
    let mut beside = BesideSatellite::paced(&["migrate"], push, UNHURRIED).with_quick_agents();
    let (machine, identity, mut agent) = online(&mut beside, "client");
    let (_, _, mut other) = online(&mut beside, "other");
    let reboot = beside.act(&["client"], REBOOT, "now()", "NULL");
    checked(&mut agent);
    wait_until("the dispatcher knows that it is picked up", || {
        beside.session("client")["rebooting"] == true && beside.open_requests() == "0"
    });
    let (before, answered) = beside.requests_of("client");
    let verdict = beside.verdict("client");
    assert!(verdict.contains("a reboot is picked up"), "{verdict}");

    // Now `shutdown -c`: nobody tells the Satellite.
    let script = beside.schedule(&["client", "other"]);
    checked(&mut other);
    beside.becomes_quiet(&["other"]);
    assert_eq!(beside.status_on(script, "other"), "2");
    assert_eq!(beside.requests_of("client"), (before, answered));

    // 30 minutes after it was picked up, one request.
    beside.database.sql(&format!(
        "UPDATE rhnServerAction SET pickup_time = now() - interval '30 minutes' / {UNHURRIED} WHERE action_id = {reboot}"
    ));
    wait_until("it is asked", || beside.requests_of("client").1 == answered + 1);
    beside.stays_quiet();
    assert_eq!(beside.status_on(reboot, "client"), "1");

    // One for each new session.
    agent.kill();
    let agent = pushable(&mut beside, identity.clone());
    wait_until("it is asked", || beside.requests_of("client").1 == answered + 2);
    beside.stays_quiet();
    assert_eq!(beside.status_on(script, "client"), "0");

    // The next boot, whatever it is for, ends it by the check that follows.
    agent.kill();
    machine.boot.store(2_000, Ordering::SeqCst);
    let _agent = pushable(&mut beside, identity);
    wait_until("all is completed", || {
        [reboot, script].map(|action| beside.status_on(action, "client")) == ["2", "2"]
    });
    beside.becomes_quiet(&["client", "other"]);
}

/// A machine is installed anew under its old profile while its old session hangs in a long pause.
fn kickstart_with_a_reactivation_key(mut beside: BesideSatellite) {
    let (_, identity, agent) = online(&mut beside, "client");
    let before = beside.client("client", "c.name, c.shared_key, c.jabber_id");
    agent.stop(true);
    let kickstart = beside.act(&["client"], KICKSTART, "now()", "NULL");
    beside.log().wait_for("step_recorded", "Unanswered");
    wait_until("it waits for half of a minute", || {
        beside.verdict("client").contains("stay unanswered")
    });
    let secret = "f".repeat(64);
    beside.database.sql(&format!(
        "UPDATE rhnServer SET secret = '{secret}' WHERE name = 'client'"
    ));
    let systemid = BesideSatellite::systemid("client", &beside.id("client"), &secret);
    // The check of its start finds another one running.
    let (check, is_first) = (Arc::clone(&identity.check), AtomicBool::new(true));
    let installed = Identity {
        systemid: Arc::new(Mutex::new(systemid)),
        credentials: Arc::new(Mutex::new(Credentials::random())),
        check: Arc::new(move || match is_first.swap(false, Ordering::SeqCst) {
            true => 0,
            false => check(),
        }),
        ..identity
    };

    let mut new = ExistingAgent::start(installed);
    let (available, _) = new.wait_for(|event| *event == Event::Available);
    let (asked, _) = new.wait_for(answered);

    let took = asked - available;
    assert!(took < Duration::from_secs(28), "not after the old pause: {took:?}");
    wait_until("what was due is completed", || beside.is_completed(kickstart));
    let after = beside.client("client", "c.name, c.shared_key, c.jabber_id");
    let differs = before.split('|').zip(after.split('|')).all(|(old, new)| old != new);
    assert!(differs, "{before} {after}");
    agent.stop(false);
    let next = beside.schedule(&["client"]);
    wait_until("the next is completed", || beside.is_completed(next));
    assert_eq!(new.count(|event| matches!(event, Event::Lost(_))), 0);
    wait_until("it is shown as online", || beside.state("client") == "online");
}

#[test]
fn kickstart_with_a_reactivation_key_voids_lease_and_pause() {
    let push = format!("{LOST_SOON}\nreconcile_interval = \"1s\"");
    kickstart_with_a_reactivation_key(BesideSatellite::paced(&["migrate"], &push, 2).with_quick_agents());
}

#[test]
fn kickstart_with_a_reactivation_key_voids_lease_and_pause_with_triggers() {
    let push = "poll_interval = \"1h\"\nreconcile_interval = \"1h\"\nlease = \"1s\"";
    let beside = BesideSatellite::paced(&["migrate", "--install-notify"], push, 2);
    kickstart_with_a_reactivation_key(beside.with_quick_agents());
}

/// What "Ping System" writes.
fn ping(beside: &BesideSatellite, systems: &str) {
    beside.database.sql(&format!(
        "UPDATE rhnPushClient SET last_ping_time = date_trunc('day', now()), next_action_time = NULL \
         WHERE server_id IN (SELECT id FROM rhnServer WHERE name IN ({systems}))"
    ));
}

fn pings_of_the_web_interface(mut beside: BesideSatellite) {
    let (_, _, mut agent) = online(&mut beside, "online");
    let (_, _, gone) = online(&mut beside, "offline");
    gone.interrupt();
    beside.log().wait_for("step_recorded", "Online(false)");
    wait_until("it is shown as offline", || beside.state("offline") == "offline");
    wait_until("it is shown as online", || beside.state("online") == "online");
    let checks = agent.count(|event| *event == Event::CheckStarted);
    agent.stop(true);

    let begun = beside.database.query("SELECT now() - interval '1 s'");
    ping(&beside, "'online', 'offline'");

    let awaited =
        format!("c.next_action_time BETWEEN '{begun}'::timestamptz + interval '60 s' AND now() + interval '60 s'");
    wait_until("its answer is awaited", || beside.client("online", &awaited) == "t");
    agent.stop(false);
    agent.wait_for(|event| *event == Event::Answered("ping"));
    let settled = "c.last_ping_time IS NULL AND c.next_action_time IS NULL AND c.last_message_time IS NOT NULL";
    wait_until("it has answered", || beside.client("online", settled) == "t");
    assert_eq!(beside.state("online"), "online");
    assert_eq!(agent.count(|event| *event == Event::CheckStarted), checks);
    let untouched = "c.last_ping_time = date_trunc('day', now()) AND c.next_action_time IS NULL";
    assert_eq!(beside.client("offline", untouched), "t");
    assert_eq!(beside.state("offline"), "offline");
    assert_eq!(beside.requests_of("offline"), (0, 0));
}

#[test]
fn ping_of_the_web_interface_is_answered_by_who_is_online_and_leaves_others_alone() {
    pings_of_the_web_interface(looking());
}

#[test]
fn ping_of_the_web_interface_is_told_by_triggers() {
    pings_of_the_web_interface(told());
}

fn system_is_deleted_while_connected(mut beside: BesideSatellite) {
    let (machine, identity, gone) = online(&mut beside, "gone");
    let (_, _, stays) = online(&mut beside, "stays");
    gone.stop(true);
    let action = beside.schedule(&["gone", "stays"]);
    wait_until("the other is done", || beside.status_on(action, "stays") == "2");
    wait_until("a request is on its way", || beside.open_requests() == "1");

    beside
        .database
        .sql(&format!("SELECT delete_server({})", beside.id("gone")));

    wait_until("its request is settled", || beside.open_requests() == "0");
    let next = beside.schedule(&["stays"]);
    wait_until("pushes go on", || beside.is_completed(next));
    let mut gone = gone;
    gone.stop(false);
    // It answers, and nobody knows it: that is no reason to end its session.
    gone.wait_for(answered);
    beside.becomes_quiet(&["stays"]);
    for agent in [&gone, &stays] {
        assert_eq!(agent.count(|event| matches!(event, Event::Lost(_))), 0);
    }
    let listed = beside.site.run(["systems", "list", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_ne!(beside.site.run(["explain", "gone"]).code, Some(0));

    // `rhnreg_ks` on the machine: another profile.
    let again = beside.add("again").systemid.lock().unwrap().clone();
    *machine.system.lock().unwrap() = beside.id("again");
    *identity.systemid.lock().unwrap() = again;
    gone.wait_for(|event| *event == Event::Available);
    let action = beside.schedule(&["again", "stays"]);
    wait_until("both are done", || beside.is_completed(action));
    beside.becomes_quiet(&["again", "stays"]);
}

#[test]
fn system_that_is_deleted_while_connected_is_settled_and_can_come_back() {
    system_is_deleted_while_connected(looking());
}

#[test]
fn system_that_is_deleted_while_connected_is_settled_and_can_come_back_with_triggers() {
    system_is_deleted_while_connected(told());
}

/// The agent sees its new systemid and takes another account. The old profile is left behind.
fn profile_is_registered_again(mut beside: BesideSatellite) {
    let (machine, identity, mut agent) = online(&mut beside, "old");
    let new = beside.add("new").systemid.lock().unwrap().clone();
    *machine.system.lock().unwrap() = beside.id("new");
    *identity.systemid.lock().unwrap() = new;
    agent.wait_for(|event| *event == Event::Available);

    let action = beside.schedule(&["old", "new"]);

    wait_until("the new one is done", || beside.status_on(action, "new") == "2");
    wait_until("the old one is offline", || beside.state("old") == "offline");
    wait_until("the new one is online", || beside.state("new") == "online");
    beside.becomes_quiet(&["new"]);
    assert_eq!(beside.status_on(action, "old"), "0");
    let verdict = beside.verdict("old");
    assert!(verdict.contains("not connected"), "{verdict}");

    // Registered once more while no agent runs, it comes back with the account it had.
    agent.kill();
    let newest = beside.add("newest").systemid.lock().unwrap().clone();
    *machine.system.lock().unwrap() = beside.id("newest");
    let agent = Identity {
        systemid: Arc::new(Mutex::new(newest)),
        ..identity
    };
    let _agent = pushable(&mut beside, agent);
    let action = beside.act(&["new", "newest"], SCRIPT, "now()", "NULL");
    wait_until("the newest one is done", || beside.status_on(action, "newest") == "2");
    wait_until("the one before is offline", || beside.state("new") == "offline");
    wait_until("the newest one is online", || beside.state("newest") == "online");
    assert_eq!(beside.client("new", "c.jabber_id IS NULL"), "t");
    assert_eq!(beside.status_on(action, "new"), "0");
    beside.becomes_quiet(&["newest"]);
}

#[test]
fn profile_that_is_registered_again_is_another_system() {
    profile_is_registered_again(looking());
}

#[test]
fn profile_that_is_registered_again_is_another_system_with_triggers() {
    profile_is_registered_again(told());
}
