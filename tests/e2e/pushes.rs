//! From a scheduled action to a finished check, through the deaths of everybody involved.

use std::fs;
use std::time::Instant;

use nix::sys::signal::Signal;
use osa::net::ca::{AuthorityFiles, create_authority, issue_server};
use osa::net::tls::ServerFiles;
use osa::ports::clock::Clock;
use serde_json::Value;

use crate::agents::{Home, Logged, copy, schedule, site_with_ports, states};
use crate::site::{PATIENCE, Site};

/// A dispatcher with one agent that is pushable and has done the check of its start.
fn one_agent() -> (Site, Logged, Home, crate::agents::Process) {
    let site = site_with_ports();
    let mut dispatcher = Logged::start(&site);
    let home = Home::add(&site, "client");
    let agent = home.start();
    dispatcher.wait_for("step_recorded", "Finished");
    (site, dispatcher, home, agent)
}

#[test]
fn action_starts_a_check_and_is_completed_by_it() {
    let (site, mut dispatcher, home, _agent) = one_agent();
    let before = home.runs().matches("finished").count();

    let action = schedule(&site, &["client"]);
    dispatcher.wait_for("step_recorded", "Finished");

    assert_eq!(states(&site, action), ["completed"]);
    assert_eq!(home.runs().matches("finished").count(), before + 1);
}

/// Asks the agent how it is until it says so.
fn status_when(home: &Home, wanted: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let status = home.status();
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < end, "{status}");
    }
}

#[test]
fn agent_says_whether_it_is_linked_and_why_not() {
    let (site, mut dispatcher, home, mut agent) = one_agent();
    fs::write(home.path("exit"), "3").unwrap();
    schedule(&site, &["client"]);

    let linked = status_when(&home, |status| status["last_run"]["exit"] == 3);
    dispatcher.process.kill();
    let cut = status_when(&home, |status| status["link"]["failure"].is_object());
    agent.kill();
    let dead = home.status();

    assert_eq!(
        (&linked["running"], &linked["link"]["state"]),
        (&true.into(), &"linked".into())
    );
    assert!(
        linked["link"]["server"] == "localhost" && linked["last_request"]["number"].is_i64(),
        "{linked}"
    );
    assert_ne!(cut["link"]["state"], "linked");
    assert!(
        cut["link"]["since"].as_str() > linked["link"]["since"].as_str(),
        "{cut}"
    );
    assert_eq!((&dead["running"], &dead["link"]), (&false.into(), &Value::Null));
    assert_eq!(dead["last_run"]["exit"], 3);
}

/// Kills the dispatcher when it has recorded this step of a push, and starts it again.
fn dispatcher_killed_after(step: &str) {
    let (site, mut dispatcher, home, _agent) = one_agent();
    home.close_gate();
    let action = schedule(&site, &["client"]);
    if step == "Finished" {
        dispatcher.wait_for("step_recorded", "Started");
        home.open_gate();
    }
    if step != "scheduled" {
        dispatcher.wait_for("step_recorded", step);
    }
    dispatcher.process.kill();
    if step != "Finished" {
        // The check, if it runs already, ends while nobody listens.
        std::thread::spawn(move || home.open_gate());
    }

    let mut dispatcher = Logged::start(&site);
    while states(&site, action) != ["completed"] {
        dispatcher.wait_for("step_recorded", "");
    }
}

#[test]
fn dispatcher_killed_after_an_action_is_scheduled_loses_nothing() {
    dispatcher_killed_after("scheduled");
}

#[test]
fn dispatcher_killed_after_a_request_is_sent_loses_nothing() {
    dispatcher_killed_after("Sent");
}

#[test]
fn dispatcher_killed_after_an_answer_loses_nothing() {
    dispatcher_killed_after("Answered");
}

#[test]
fn dispatcher_killed_after_a_check_started_loses_nothing() {
    dispatcher_killed_after("Started");
}

#[test]
fn dispatcher_killed_after_a_report_loses_nothing() {
    dispatcher_killed_after("Finished");
}

#[test]
fn agent_killed_in_a_check_still_reports_its_result() {
    let (site, mut dispatcher, home, mut agent) = one_agent();
    home.close_gate();
    fs::write(home.path("exit"), "0").unwrap();
    let action = schedule(&site, &["client"]);
    dispatcher.wait_for("step_recorded", "Started");
    // The report may be quicker than the shell.
    while !home.runs().ends_with("started\n") {
        std::thread::yield_now();
    }
    agent.kill();
    let started = home.runs().matches("started").count();

    home.open_gate();
    let _agent = home.start();
    while states(&site, action) != ["completed"] {
        dispatcher.wait_for("step_recorded", "Finished");
    }

    // The run that was in progress counted; the agent's start adds one of its own.
    assert!(home.runs().matches("started").count() <= started + 1, "{}", home.runs());
}

#[test]
fn failing_check_is_tried_again_and_its_tries_are_counted() {
    let (site, mut dispatcher, home, _agent) = one_agent();
    fs::write(home.path("exit"), "7").unwrap();

    let action = schedule(&site, &["client"]);
    dispatcher.wait_for("step_recorded", "Finished");

    assert_eq!(states(&site, action), ["picked_up"], "four tries are left");
    let explained = site.run(["explain", "client"]);
    assert_eq!(explained.code, Some(0), "{explained:?}");
}

#[test]
fn certificate_is_rotated_under_a_living_connection() {
    let (site, mut dispatcher, home, _agent) = one_agent();
    let tls = |name: &str| site.path("data").join("tls").join(name);
    // Another authority, so that only who trusts the new one can connect from now on.
    let authority = AuthorityFiles {
        certificate: tls("ca.crt"),
        key: tls("ca.key"),
    };
    fs::remove_file(&authority.certificate).unwrap();
    fs::remove_file(&authority.key).unwrap();
    let now = osa::host::clock::SystemClock.now();
    create_authority(&authority, "second authority", now).unwrap();
    let server = ServerFiles {
        certificate: tls("server.crt"),
        key: tls("server.key"),
        hostname: "localhost".into(),
        authority: None,
    };
    issue_server(&authority, &server, now).unwrap();
    dispatcher.process.signal(Signal::SIGHUP);
    dispatcher.wait_for("reloaded", "");

    let newcomer = Home::add(&site, "newcomer");
    let _second = newcomer.start();
    dispatcher.wait_for("step_recorded", "Finished");
    let action = schedule(&site, &["client"]);
    dispatcher.wait_for("step_recorded", "Finished");

    assert_eq!(states(&site, action), ["completed"], "over the connection from before");
    assert!(home.runs().contains("finished"));
}

#[test]
fn replaced_systemid_makes_the_agent_another_system() {
    let (site, mut dispatcher, home, _agent) = one_agent();
    let other = Home::add(&site, "other");

    fs::rename(other.path("systemid"), home.path("systemid")).unwrap();
    dispatcher.wait_for("step_recorded", "Online(true)");
    let action = schedule(&site, &["other"]);
    while states(&site, action) != ["completed"] {
        dispatcher.wait_for("step_recorded", "Finished");
    }
}

#[test]
fn hundred_clones_with_one_account_all_become_pushable() {
    let (site, mut dispatcher, first, mut agent) = one_agent();
    agent.kill();
    let names: Vec<String> = (1..=100).map(|number| format!("clone-{number}")).collect();
    let homes: Vec<Home> = names.iter().map(|name| Home::add(&site, name)).collect();
    for (number, home) in homes.iter().enumerate() {
        copy(&first.path("osad-auth.conf"), &home.path("osad-auth.conf"));
        // Half of them were not even given an identity of their own.
        if number % 2 == 0 {
            copy(&first.path("machine-id"), &home.path("machine-id"));
        }
    }
    let _agents: Vec<_> = homes.iter().map(Home::start).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();

    let action = schedule(&site, &names);
    while states(&site, action).iter().any(|state| state != "completed") {
        dispatcher.wait_for("step_recorded", "Finished");
    }
    assert_eq!(states(&site, action).len(), 100);
}

#[test]
fn agent_takes_level_and_log_file_anew_at_sighup_and_says_what_is_wrong() {
    // No dispatcher runs, so the agent has something to say.
    let site = site_with_ports();
    let home = Home::add(&site, "client");
    let (log, moved, config) = (home.path("osad.log"), home.path("osad.log.1"), home.path("osad.toml"));
    let settings = fs::read_to_string(&config).unwrap();
    let configure = |level: &str| {
        let text = format!("{settings}\n[log]\nlevel = \"{level}\"\nfile = {log:?}\n");
        fs::write(&config, text).unwrap();
    };
    let said = || fs::read_to_string(&log).unwrap_or_default();
    let wait_for = |words: &str| {
        let end = Instant::now() + PATIENCE;
        while !said().contains(words) {
            assert!(Instant::now() < end, "{words}: {}", said());
            std::thread::yield_now();
        }
    };
    configure("warn");
    let mut command = crate::site::command(env!("CARGO_BIN_EXE_osad"));
    command
        .args(["run", "-N", "--config"])
        .arg(&config)
        .envs(home.environment());
    let mut agent = crate::agents::Process(command.spawn().unwrap());
    wait_for("event=");

    fs::rename(&log, &moved).unwrap();
    configure("info");
    agent.signal(Signal::SIGHUP);
    // Opened last.
    let end = Instant::now() + PATIENCE;
    while !log.exists() {
        assert!(Instant::now() < end, "no new file");
        std::thread::yield_now();
    }
    fs::write(&config, "no_such_key = 1\n").unwrap();
    agent.signal(Signal::SIGHUP);
    wait_for("settings_reload_failed");
    agent.signal(Signal::SIGTERM);
    assert!(agent.0.wait().unwrap().success());

    assert!(
        said().contains(" INFO ") && said().contains("agent_stopped"),
        "{}",
        said()
    );
    let before = fs::read_to_string(&moved).unwrap();
    assert!(!before.contains(" INFO "), "{before}");
}
