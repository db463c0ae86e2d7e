//! What administrators do to actions in a Satellite's web interface, each as its SQL, and what agents are asked then.
#![expect(clippy::disallowed_methods, reason = "what is waited for happens in other processes")]

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::beside_satellite::BesideSatellite;
use crate::deployment::{Deployment, HURRY};
use crate::existing::{Event, ExistingAgent, Identity};
use crate::existing_agents::{answered, pushable, wait_until};
use crate::machine::Machine;
use crate::site::PATIENCE;

pub const SCRIPT: u32 = 30;
const UPDATE: u32 = 3;

/// Without triggers: looks at the database all the time.
pub fn looking() -> BesideSatellite {
    BesideSatellite::start(&["migrate"], "poll_interval = \"100ms\"\nreconcile_interval = \"1s\"")
}

/// With triggers only: what they do not tell is not found for an hour.
pub fn told() -> BesideSatellite {
    BesideSatellite::start(
        &["migrate", "--install-notify"],
        "poll_interval = \"1h\"\nreconcile_interval = \"1h\"",
    )
}

/// A system whose agent is connected and has done its first check.
pub fn online(beside: &mut BesideSatellite, name: &str) -> (Machine, Identity, ExistingAgent) {
    let identity = beside.add(name);
    let (machine, identity) = Machine::of(beside, name, identity);
    let agent = pushable(beside, identity.clone());
    (machine, identity, agent)
}

/// Longer than the pauses after the first answers. On a machine that is slow enough, an action is asked for again before
/// its check is over, or before the dispatcher knows that it is: nothing here relies on how often that happens.
pub fn some_time() -> Duration {
    Duration::from_secs(60) / HURRY
}

/// Waits for the next answer, and until the check that it starts is over.
pub fn checked(agent: &mut ExistingAgent) {
    agent.wait_for(answered);
    agent.wait_for(|event| matches!(event, Event::CheckEnded(_)));
}

impl BesideSatellite {
    /// Makes an action of this type on these systems; `earliest` and `prerequisite` are SQL.
    pub fn act(&self, systems: &[&str], kind: u32, earliest: &str, prerequisite: &str) -> i64 {
        let names: Vec<String> = systems.iter().map(|name| format!("'{name}'")).collect();
        let id = self.database.query(&format!(
            "WITH added AS (INSERT INTO rhnAction (id, action_type, earliest_action, prerequisite) \
               VALUES (nextval('rhn_event_id_seq'), {kind}, {earliest}, {prerequisite}) RETURNING id), \
             rows AS (INSERT INTO rhnServerAction (server_id, action_id, status) \
               SELECT s.id, added.id, 0 FROM added, rhnServer s WHERE s.name IN ({}) RETURNING action_id) \
             SELECT id FROM added",
            names.join(", ")
        ));
        id.parse().unwrap()
    }

    pub fn status(&self, action: i64) -> String {
        let text = format!("SELECT status FROM rhnServerAction WHERE action_id = {action} ORDER BY server_id");
        self.database.query(&text).replace('\n', " ")
    }

    /// Open requests of all systems.
    pub fn open_requests(&self) -> String {
        self.database
            .query("SELECT count(*) FROM osa_request WHERE ended_at IS NULL")
    }

    /// How the dispatcher sees a system that is connected.
    pub fn session(&self, system: &str) -> serde_json::Value {
        self.site.run(["explain", system, "--json"]).json()["session"].clone()
    }

    /// Waits until the dispatcher knows that nothing is left to do for these systems; from then on nobody is asked.
    pub fn becomes_quiet(&self, systems: &[&str]) {
        let is_left = |system: &&&str| {
            let session = self.session(system);
            !(session["next"].is_null() && session["outstanding"].is_null())
        };
        let end = Instant::now() + PATIENCE;
        while let Some(system) = systems.iter().find(is_left) {
            let explained = self.site.run(["explain", system]);
            assert!(Instant::now() < end, "something is left: {}", explained.out);
            std::thread::sleep(Duration::from_millis(100));
        }
        wait_until("nothing is left open", || self.open_requests() == "0");
        self.stays_quiet();
    }

    /// Waits for some time, in which nobody is asked for anything.
    pub fn stays_quiet(&self) {
        let requests = "SELECT s.name, r.number, (SELECT string_agg(c.action_id::text, ' ') FROM osa_request_action c \
               WHERE c.server_id = r.server_id AND c.number = r.number) \
             FROM osa_request r LEFT JOIN rhnServer s ON s.id = r.server_id ORDER BY r.server_id, r.number";
        let before = self.database.query(requests);
        std::thread::sleep(some_time());
        let after = self.database.query(requests);
        assert!(after == before, "somebody was asked, before\n{before}\nafter\n{after}");
    }

    /// How many requests covered this action.
    pub fn requests_for(&self, action: i64) -> String {
        let text = format!("SELECT count(*) FROM osa_request_action WHERE action_id = {action}");
        self.database.query(&text)
    }

    pub fn verdict(&self, system: &str) -> String {
        let explained = self.site.run(["explain", system, "--json"]).json();
        explained["verdict"].as_str().unwrap().to_owned()
    }
}

fn failed_action_is_rescheduled(mut beside: BesideSatellite) {
    let (machine, _, mut agent) = online(&mut beside, "client");
    machine.fails.store(true, Ordering::SeqCst);
    let action = beside.schedule(&["client"]);
    checked(&mut agent);
    wait_until("it has failed", || beside.status(action) == "3");
    machine.fails.store(false, Ordering::SeqCst);

    beside.database.sql(&format!(
        "UPDATE rhnServerAction SET status = 0, remaining_tries = 5, pickup_time = NULL, completion_time = NULL, \
         result_code = NULL WHERE action_id = {action}"
    ));

    checked(&mut agent);
    wait_until("it is completed", || beside.is_completed(action));
    beside.becomes_quiet(&["client"]);
}

#[test]
fn failed_action_that_is_rescheduled_under_its_id_is_found_by_looking() {
    failed_action_is_rescheduled(looking());
}

#[test]
fn failed_action_that_is_rescheduled_under_its_id_is_told_by_triggers() {
    failed_action_is_rescheduled(told());
}

fn postponed_action_is_pulled_forward(mut beside: BesideSatellite) {
    let (_, _, mut agent) = online(&mut beside, "client");
    let action = beside.act(&["client"], SCRIPT, "now() + interval '1 day'", "NULL");
    let now = beside.schedule(&["client"]);
    checked(&mut agent);
    wait_until("the other is completed", || beside.is_completed(now));
    assert_eq!(beside.requests_for(action), "0");

    beside.database.sql(&format!(
        "UPDATE rhnAction SET earliest_action = now() WHERE id = {action}"
    ));

    checked(&mut agent);
    wait_until("it is completed", || beside.is_completed(action));
}

#[test]
fn action_that_is_pulled_forward_is_found_by_looking() {
    postponed_action_is_pulled_forward(looking());
}

#[test]
fn action_that_is_pulled_forward_is_told_by_triggers() {
    postponed_action_is_pulled_forward(told());
}

/// The first of the chain is for tomorrow, but something else, such as `rhnsd`, carries it out today.
fn successor_is_pushed_when_its_predecessor_is_completed(mut beside: BesideSatellite) {
    let (_, _, mut agent) = online(&mut beside, "client");
    let first = beside.act(&["client"], SCRIPT, "now() + interval '1 day'", "NULL");
    let second = beside.act(&["client"], SCRIPT, "now()", &first.to_string());
    let other = beside.schedule(&["client"]);
    checked(&mut agent);
    wait_until("the other is completed", || beside.is_completed(other));
    assert_eq!(beside.requests_for(second), "0");

    for status in [1, 2] {
        beside.database.sql(&format!(
            "UPDATE rhnServerAction SET status = {status} WHERE action_id = {first}"
        ));
    }

    checked(&mut agent);
    wait_until("it is completed", || beside.is_completed(second));
    assert_eq!(beside.requests_for(first), "0");
}

#[test]
fn successor_of_a_completed_action_is_found_by_looking() {
    successor_is_pushed_when_its_predecessor_is_completed(looking());
}

#[test]
fn successor_of_a_completed_action_is_told_by_triggers() {
    successor_is_pushed_when_its_predecessor_is_completed(told());
}

fn chain_is_carried_out_in_order_and_ends_with_a_failure(mut beside: BesideSatellite) {
    let (machine, _, _agent) = online(&mut beside, "client");
    let first = beside.act(&["client"], SCRIPT, "now()", "NULL");
    let second = beside.act(&["client"], SCRIPT, "now()", &first.to_string());
    wait_until("the chain is completed", || {
        beside.is_completed(first) && beside.is_completed(second)
    });
    beside.becomes_quiet(&["client"]);

    machine.fails.store(true, Ordering::SeqCst);
    let failing = beside.act(&["client"], SCRIPT, "now() + interval '1 day'", "NULL");
    let dependent = beside.act(&["client"], SCRIPT, "now()", &failing.to_string());
    let last = beside.act(&["client"], SCRIPT, "now()", &dependent.to_string());
    beside.database.sql(&format!(
        "UPDATE rhnAction SET earliest_action = now() WHERE id = {failing}"
    ));
    wait_until("the chain has failed", || {
        [failing, dependent, last].map(|action| beside.status(action)) == ["3", "3", "3"]
    });

    beside.becomes_quiet(&["client"]);
    assert_eq!(
        (beside.requests_for(dependent), beside.requests_for(last)),
        ("0".into(), "0".into())
    );
    assert_eq!(beside.verdict("client"), "nothing is pending");
}

#[test]
fn chain_is_carried_out_in_order_and_ends_with_a_failure_found_by_looking() {
    chain_is_carried_out_in_order_and_ends_with_a_failure(looking());
}

#[test]
fn chain_is_carried_out_in_order_and_ends_with_a_failure_told_by_triggers() {
    chain_is_carried_out_in_order_and_ends_with_a_failure(told());
}

#[test]
fn one_action_for_many_systems_is_pushed_to_each_that_is_there() {
    let mut beside = told();
    let names = ["one", "two", "three", "four", "five"];
    let mut agents = names.map(|name| online(&mut beside, name).2);
    let away = beside.add("away");

    let action = beside.schedule(&["one", "two", "three", "four", "five", "away"]);
    agents.iter_mut().for_each(checked);

    wait_until("it is completed where agents are", || {
        beside.status(action) == "2 2 2 2 2 0"
    });
    beside.becomes_quiet(&names);
    let (_, away) = Machine::of(&beside, "away", away);
    pushable(&mut beside, away);
    assert!(beside.is_completed(action));
}

/// Schedules an action for in so many seconds and cancels it, when the dispatcher knows that; its id, if there was time
/// enough.
fn cancelled_in_time(beside: &BesideSatellite, secs: u32) -> Option<i64> {
    let earliest = format!("now() + interval '{secs} s'");
    let action = beside.act(&["client"], SCRIPT, &earliest, "NULL");
    let text = format!("SELECT now() < earliest_action FROM rhnAction WHERE id = {action}");
    let is_early = || beside.database.query(&text) == "t";
    let knows = || beside.session("client")["next"].is_string();
    wait_until("the dispatcher knows it", || knows() || !is_early());
    beside
        .database
        .sql(&format!("DELETE FROM rhnServerAction WHERE action_id = {action}"));
    wait_until("the dispatcher knows that it is cancelled", || !knows());
    is_early().then_some(action)
}

#[test]
fn action_that_is_cancelled_before_its_time_is_never_asked_for() {
    let mut beside = looking();
    let (_, _, mut agent) = online(&mut beside, "client");
    let cancelled = [6, 6, 20, 60, 180]
        .into_iter()
        .find_map(|secs| cancelled_in_time(&beside, secs));
    let cancelled = cancelled.expect("three minutes are enough");
    let earliest = format!("(SELECT earliest_action + interval '1 s' FROM rhnAction WHERE id = {cancelled})");

    let later = beside.act(&["client"], SCRIPT, &earliest, "NULL");

    checked(&mut agent);
    wait_until("the other is completed", || beside.is_completed(later));
    beside.becomes_quiet(&["client"]);
    assert_eq!(beside.requests_for(cancelled), "0");
    assert_eq!(beside.verdict("client"), "nothing is pending");
}

/// An agent's check that waits until it may begin.
fn gated(identity: Identity) -> (Identity, Arc<Mutex<()>>) {
    let gate = Arc::new(Mutex::new(()));
    let (check, its) = (Arc::clone(&identity.check), Arc::clone(&gate));
    let check: Arc<dyn Fn() -> i32 + Send + Sync> = Arc::new(move || {
        drop(its.lock());
        check()
    });
    (Identity { check, ..identity }, gate)
}

fn action_is_cancelled_between_request_and_check(mut beside: BesideSatellite) {
    let identity = beside.add("client");
    let (_, identity) = Machine::of(&beside, "client", identity);
    let (identity, gate) = gated(identity);
    let mut agent = pushable(&mut beside, identity);
    let closed = gate.lock().unwrap();
    let action = beside.schedule(&["client"]);
    agent.wait_for(|event| *event == Event::CheckStarted);

    beside
        .database
        .sql(&format!("DELETE FROM rhnServerAction WHERE action_id = {action}"));
    drop(closed);

    agent.wait_for(|event| matches!(event, Event::CheckEnded(0)));
    // It finds out with what comes next.
    let next = beside.schedule(&["client"]);
    wait_until("the next is completed", || beside.is_completed(next));
    wait_until("nothing is pending", || {
        beside.verdict("client") == "nothing is pending"
    });
    beside.becomes_quiet(&["client"]);
}

#[test]
fn action_that_is_cancelled_between_request_and_check_leaves_nothing_open() {
    action_is_cancelled_between_request_and_check(looking());
}

#[test]
fn action_that_is_cancelled_between_request_and_check_leaves_nothing_open_with_triggers() {
    action_is_cancelled_between_request_and_check(told());
}

#[test]
fn action_that_is_cancelled_in_a_check_of_a_new_agent_leaves_nothing_open() {
    let mut beside = looking();
    let home = beside.new_home("client");
    let _agent = home.start();
    beside.log().wait_for("step_recorded", "Online(true)");
    wait_until("its first check is over", || home.runs().contains("finished"));
    home.close_gate();
    let action = beside.schedule(&["client"]);
    beside.log().wait_for("step_recorded", "Started");
    assert_eq!(beside.open_requests(), "1");

    beside
        .database
        .sql(&format!("DELETE FROM rhnServerAction WHERE action_id = {action}"));
    home.open_gate();

    beside.log().wait_for("step_recorded", "Finished");
    wait_until("nothing is left open", || beside.open_requests() == "0");
    wait_until("nothing is pending", || {
        beside.verdict("client") == "nothing is pending"
    });
}

#[test]
fn locked_system_is_asked_only_for_what_it_may_do_until_it_is_unlocked() {
    let mut beside = looking();
    let (_, _, mut agent) = online(&mut beside, "client");
    let id = beside.id("client");
    beside.database.sql(&format!(
        "INSERT INTO rhnServerLock (server_id, reason) VALUES ({id}, 'audit')"
    ));
    let update = beside.act(&["client"], UPDATE, "now()", "NULL");
    let script = beside.schedule(&["client"]);

    checked(&mut agent);
    wait_until("the script is completed", || beside.is_completed(script));
    // Several periods of reconciliation.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(beside.requests_for(update), "0");
    let verdict = beside.verdict("client");
    assert!(verdict.contains("locked"), "{verdict}");

    beside
        .database
        .sql(&format!("DELETE FROM rhnServerLock WHERE server_id = {id}"));
    checked(&mut agent);
    wait_until("the update is completed", || beside.is_completed(update));
}
