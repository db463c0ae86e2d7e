//! Actors of the real program panic: within the intensity nothing is lost, past it the process ends.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::agents::{Home, Logged, schedule, site_with_ports, states};
use crate::site::Site;

/// Restarts that the dispatcher allows its actors within a minute.
const RESTARTS: usize = 10;

/// Asks the dispatcher through its control socket to let this actor panic.
pub fn crash(site: &Site, actor: &str) {
    let request = format!("{{\"version\":1,\"request\":{{\"crash\":{{\"actor\":\"{actor}\"}}}}}}");
    let socket = site.path("data").join("control.sock");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let answer = runtime
        .block_on(osa::net::control::ask(&socket, request.as_bytes()))
        .unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.contains("crashed"), "{answer}");
}

/// Says that it is over, whatever happened: the scope of a thread that goes on would never end.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn two_agents(site: &Site, dispatcher: &mut Logged) -> Vec<(Home, crate::agents::Process)> {
    ["left", "right"]
        .map(|name| {
            let home = Home::add(site, name);
            let agent = home.start();
            dispatcher.wait_for("step_recorded", "Finished");
            (home, agent)
        })
        .into()
}

#[test]
fn crash_of_each_actor_under_traffic_loses_no_action() {
    let site = site_with_ports();
    let mut dispatcher = Logged::start(&site);
    let _agents = two_agents(&site, &mut dispatcher);
    let done = AtomicBool::new(false);

    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let mut actions = 0;
            while !done.load(Ordering::SeqCst) || actions < 10 {
                schedule(&site, &["left", "right"]);
                actions += 1;
            }
        });
        let over = Over(&done);
        for actor in ["poller", "router", "tls_supervisor"] {
            dispatcher.wait_for("step_recorded", "Sent");
            crash(&site, actor);
            dispatcher.wait_for("child_started", actor);
            dispatcher.wait_for("step_recorded", "Finished");
        }
        drop(over);
        traffic.join().unwrap();
    });

    // There are too many to ask for each.
    let none_is = |state: &str| site.run(["actions", "--state", state, "--json"]).json() == serde_json::json!([]);
    while !(none_is("queued") && none_is("picked_up")) {
        dispatcher.wait_for("step_recorded", "");
    }
    assert!(none_is("failed"));
    assert!(
        dispatcher.process.is_running(),
        "three crashes are within the intensity"
    );
}

#[test]
fn crash_past_the_intensity_ends_the_process_and_a_restart_carries_on() {
    let site = site_with_ports();
    let mut dispatcher = Logged::start(&site);
    let agents = two_agents(&site, &mut dispatcher);
    for (home, _) in &agents {
        home.close_gate();
    }
    let action = schedule(&site, &["left", "right"]);
    dispatcher.wait_for("step_recorded", "Started");

    // More are needed where they take longer than a minute.
    let goes_on = |_: &usize| {
        crash(&site, "router");
        dispatcher.wait_unless_ended("child_started", "router").is_some()
    };
    let restarts = (0..10 * RESTARTS).take_while(goes_on).count();
    assert!(restarts >= RESTARTS, "{restarts}");
    let (code, last) = dispatcher.end();

    assert_eq!(code, Some(70));
    assert!(
        last.starts_with("osa-dispatcher: actor router failed too often"),
        "{last}"
    );
    assert!(last.contains("start osa-dispatcher again"), "{last}");
    for (home, _) in &agents {
        home.open_gate();
    }
    let mut dispatcher = Logged::start(&site);
    while states(&site, action) != ["completed", "completed"] {
        dispatcher.wait_for("step_recorded", "");
    }
}
