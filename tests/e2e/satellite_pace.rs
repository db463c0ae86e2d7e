//! Existing agents beside a Satellite: how many of them are asked at once, in a second, and in which order.

use std::sync::Arc;
use std::time::Duration;

use osa::domain::time::Timestamp;

use crate::beside_satellite::{BesideSatellite, online};
use crate::deployment::{Deployment, HURRY, Request};
use crate::existing::Identity;
use crate::existing_agents::{answered, pushable, shortened, wait_until};
use crate::satellite_rules::{REBOOT, SCRIPT, complete, idle, picked_up};

/// When the first request of a system was made.
fn first_claim(beside: &BesideSatellite, system: &str) -> Timestamp {
    beside.requests(system)[0].claimed
}

/// The database's time; the dispatcher takes its own from it, and is late by the time of an answer at most.
fn now(beside: &BesideSatellite) -> Timestamp {
    let now = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    Timestamp::from_millis(beside.database.query(now).parse().unwrap())
}

#[test]
fn no_more_requests_are_made_in_a_second_than_is_set() {
    const NAMES: [&str; 7] = ["one", "two", "three", "four", "five", "six", "seven"];
    let push = "poll_interval = \"100ms\"\npushes_per_second = 2";
    let mut beside = BesideSatellite::start(&["migrate"], push);
    let mut agents = NAMES.map(|name| online(&mut beside, name).1);

    let action = beside.schedule(&NAMES);
    agents.iter_mut().for_each(|agent| drop(agent.wait_for(answered)));

    wait_until("it is completed", || beside.is_completed(action));
    let mut claims = NAMES.map(|name| first_claim(&beside, name));
    claims.sort_unstable();
    for (position, claimed) in (0..).zip(claims) {
        let earliest = claims[0] + Duration::from_millis(500) * position;
        // Times are kept in milliseconds.
        assert!(
            claimed + Duration::from_millis(1) >= earliest,
            "{position} of {claims:?}"
        );
    }
}

/// With one slot, which somebody holds, requests become due in one order, and are made in another: first requests before
/// retries, and of those the one whose action may be done earliest.
#[test]
fn first_requests_come_before_retries_and_early_ones_before_late_ones() {
    let push = "poll_interval = \"100ms\"\nnotify_threshold = 1";
    let mut beside = BesideSatellite::start(&["migrate"], push);
    let mut retried = idle(&mut beside, "retried");
    let _agents = ["late", "early", "busy"].map(|name| idle(&mut beside, name));
    let session = |system: &str| beside.site.run(["explain", system, "--json"]).json()["session"].clone();
    let is_due = |system: &str| {
        let session = session(system);
        session["next"].is_string() && session["outstanding"].is_null()
    };
    beside.schedule_at(&["retried"], "current_timestamp - interval '1 day'");
    retried.wait_for(answered);
    let work = picked_up(&beside, "busy", SCRIPT, Duration::ZERO);
    wait_until("the slot is held", || is_due("busy"));
    wait_until("its request may be made again", || is_due("retried"));
    let retries = beside.requests("retried").len();

    beside.schedule_at(&["late"], "current_timestamp - interval '1 minute'");
    beside.schedule_at(&["early"], "current_timestamp - interval '1 hour'");
    wait_until("the others wait for the slot", || is_due("late") && is_due("early"));
    let before = ["retried", "late", "early"].map(|system| beside.requests(system).len());
    assert_eq!(before, [retries, 0, 0]);
    complete(&beside, work);

    let made = || ["early", "late", "retried"].map(|system| beside.requests(system));
    wait_until("all were asked", || {
        let [early, late, retried] = made();
        !early.is_empty() && !late.is_empty() && retried.len() > retries
    });
    let [early, late, retried] = made();
    let order = [early[0], late[0], retried[retries]].map(|request| request.claimed);
    assert!(order.is_sorted(), "{order:?}");
}

/// A check that never ends holds its slot for no longer than is set.
#[test]
fn slot_is_held_for_its_age_at_most() {
    const AGE: Duration = Duration::from_secs(3);
    let push = "poll_interval = \"100ms\"\nnotify_threshold = 1\nslot_age = \"3s\"";
    let mut beside = BesideSatellite::start(&["migrate"], push);
    let _busy = idle(&mut beside, "busy");
    let (_, mut waits) = online(&mut beside, "waits");

    let begun = now(&beside);
    picked_up(&beside, "busy", SCRIPT, Duration::ZERO);
    let action = beside.schedule(&["waits"]);
    waits.wait_for(answered);

    wait_until("it is completed", || beside.is_completed(action));
    let claimed = first_claim(&beside, "waits");
    assert!(claimed >= begun + AGE, "{:?}", claimed.saturating_since(begun));
}

/// Half an hour after it was picked up, then at pauses that double, for as long as nothing happens.
#[test]
fn stuck_action_and_reboot_are_asked_about_ever_more_rarely() {
    const GREAT_HURRY: u32 = 36 * HURRY;
    let push = "poll_interval = \"100ms\"\nlease = \"30s\"";
    let mut beside = BesideSatellite::paced(&["migrate"], push, GREAT_HURRY);
    let _agents = ["stuck", "reboots"].map(|name| {
        let identity = Identity {
            hurry: HURRY,
            check: Arc::new(|| 0),
            ..beside.add(name)
        };
        pushable(&mut beside, identity)
    });

    let begun = now(&beside);
    picked_up(&beside, "stuck", SCRIPT, Duration::ZERO);
    picked_up(&beside, "reboots", REBOOT, Duration::ZERO);
    let answers = |system: &str| {
        let mut requests = beside.requests(system);
        requests.retain(|request| request.answered.is_some());
        requests
    };
    wait_until("they were asked a few times", || {
        answers("stuck").len() >= 4 && answers("reboots").len() >= 4
    });

    let half_hour = shortened(30 * 60) / (GREAT_HURRY / HURRY);
    let pauses = |requests: Vec<Request>| -> Vec<Duration> {
        let pairs = requests.windows(2);
        let apart = pairs.map(|pair| pair[1].claimed.saturating_since(pair[0].answered.unwrap()));
        apart.collect()
    };
    let (stuck, reboots) = (answers("stuck"), answers("reboots"));
    assert!(stuck[0].claimed >= begun + half_hour, "{stuck:?}");
    // The first request of its session comes at once.
    assert!(reboots[1].claimed >= begun + half_hour, "{reboots:?}");
    for (pause, apart) in (0..).zip(pauses(stuck)) {
        assert!(apart >= half_hour * 2_u32.pow(pause), "{apart:?} after {pause} pauses");
    }
    for (pause, apart) in (0..).zip(pauses(reboots[1..].to_vec())) {
        assert!(apart >= half_hour * 2_u32.pow(pause), "{apart:?} after {pause} pauses");
    }
}
