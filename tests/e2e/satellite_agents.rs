//! Agents beside a Satellite: the rules of the push life cycle, and our own agent.

use crate::beside_satellite::BesideSatellite;
use crate::deployment::{Deployment, LOST_SOON};
use crate::existing::Event;
use crate::existing_agents::{
    agent_that_says_goodbye_is_offline_at_once_and_one_that_dies_soon,
    agent_whose_account_was_reset_registers_it_again, agent_with_a_wrong_password_tries_again_and_never_ends,
    answer_to_a_subscription_is_one_record, clone_takes_an_account_of_its_own,
    failing_check_is_started_again_by_the_agent_itself, idle_agent_is_sent_nothing_and_a_request_is_one_record,
    pushable, reconnect_voids_the_pause_and_rotates_the_key, request_forgotten_in_a_check_is_made_again,
    silent_agent_becomes_unresponsive_and_comes_back, slot_is_held_for_30_s_after_an_answer, wait_until,
};

#[test]
fn request_forgotten_in_a_check_beside_a_satellite_is_made_again() {
    request_forgotten_in_a_check_is_made_again(BesideSatellite::usual());
}

#[test]
fn silent_agent_beside_a_satellite_becomes_unresponsive_and_comes_back() {
    silent_agent_becomes_unresponsive_and_comes_back(BesideSatellite::usual());
}

#[test]
fn reconnect_beside_a_satellite_voids_the_pause_and_rotates_the_key() {
    let beside = BesideSatellite::paced(&["migrate"], LOST_SOON, 1);
    reconnect_voids_the_pause_and_rotates_the_key(beside.with_quick_agents());
}

#[test]
fn slot_beside_a_satellite_is_held_for_30_s_after_an_answer() {
    slot_is_held_for_30_s_after_an_answer(BesideSatellite::start(
        &["migrate"],
        "poll_interval = \"100ms\"\nnotify_threshold = 1",
    ));
}

#[test]
fn clone_beside_a_satellite_takes_an_account_of_its_own() {
    clone_takes_an_account_of_its_own(BesideSatellite::usual());
}

#[test]
fn new_agent_is_woken_beside_a_satellite() {
    let mut beside = BesideSatellite::usual();
    let home = beside.new_home("client");
    let _agent = home.start();
    beside.log().wait_for("step_recorded", "Online(true)");
    let checks = || home.runs().matches("finished").count();
    wait_until("the check of its start has run", || checks() > 0);
    let before = checks();

    let action = beside.schedule(&["client"]);
    wait_until("its check has run", || checks() > before);
    beside.database.sql(&format!(
        "UPDATE rhnServerAction SET status = 2 WHERE action_id = {action}"
    ));

    let shown = || beside.site.run(["actions", "--json"]).json();
    wait_until("its report is kept", || shown()[0]["request"]["ended"].is_string());
    assert_eq!(shown()[0]["state"], "completed");
}

/// It may be another machine's, and be set while the dispatcher runs.
#[test]
fn action_is_due_by_the_clock_of_the_database() {
    let mut beside = BesideSatellite::usual();
    let identity = beside.add("client");
    let mut agent = pushable(&mut beside, identity);
    let database = &beside.database.name;
    beside.database.sql(&format!(
        "CREATE SCHEMA ahead; \
         CREATE FUNCTION ahead.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS \
           'SELECT pg_catalog.clock_timestamp() + interval ''10 min'''; \
         ALTER DATABASE {database} SET search_path = ahead, pg_catalog, public; \
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
           WHERE application_name = 'osa-dispatcher' AND datname = current_database()"
    ));

    beside.schedule_at(&["client"], "current_timestamp + interval '9 min'");

    agent.wait_for(|event| matches!(event, Event::CheckEnded(_)));
}

#[test]
fn agent_beside_a_satellite_whose_account_was_reset_registers_it_again() {
    agent_whose_account_was_reset_registers_it_again(BesideSatellite::usual());
}

#[test]
fn agent_beside_a_satellite_with_a_wrong_password_tries_again_and_never_ends() {
    agent_with_a_wrong_password_tries_again_and_never_ends(BesideSatellite::usual());
}

#[test]
fn agent_beside_a_satellite_that_says_goodbye_is_offline_at_once_and_one_that_dies_soon() {
    agent_that_says_goodbye_is_offline_at_once_and_one_that_dies_soon(BesideSatellite::usual());
}

#[test]
fn failing_check_beside_a_satellite_is_started_again_by_the_agent_itself() {
    failing_check_is_started_again_by_the_agent_itself(BesideSatellite::usual());
}

#[test]
fn idle_agent_beside_a_satellite_is_sent_nothing_and_a_request_is_one_record() {
    idle_agent_is_sent_nothing_and_a_request_is_one_record(BesideSatellite::usual());
}

#[test]
fn answer_to_a_subscription_beside_a_satellite_is_one_record() {
    answer_to_a_subscription_is_one_record(BesideSatellite::usual());
}
