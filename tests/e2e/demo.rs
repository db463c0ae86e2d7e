//! The demo, as a newcomer runs it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::site::{PATIENCE, run};

/// What the demo leaves in its directory for temporary files.
fn left_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn demo_carries_out_every_action_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let output = crate::site::command(env!("CARGO_BIN_EXE_osa-dispatcher"))
        .args([
            "demo",
            "--agents",
            "3",
            "--json",
            "--within",
            "4min",
            "--osad",
            env!("CARGO_BIN_EXE_osad"),
        ])
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();

    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words}");
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["summary"]["carried_out"], 6, "{shown}");
    for action in shown["actions"].as_array().unwrap() {
        assert_eq!(action["state"], "completed", "{action}");
        let step = |name: &str| action["milliseconds"][name].as_u64().unwrap();
        let all: u64 = ["sent", "answered", "started", "finished"].map(step).into_iter().sum();
        assert!(all >= 200, "the check takes a while: {action}");
    }
    assert_eq!(left_in(temporary.path()), [""; 0]);
    assert_eq!(processes_naming(temporary.path()), [""; 0]);
}

#[test]
fn demo_without_an_agent_says_how_to_get_one() {
    run(["demo", "--osad", "/nonexistent/osad"]).assert_failed(66, &["/nonexistent/osad", "cargo build"]);
}

#[test]
fn demo_whose_agent_ends_says_so_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let output = crate::site::command(env!("CARGO_BIN_EXE_osa-dispatcher"))
        .args(["demo", "--agents", "1", "--json", "--osad", "/bin/false"])
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();

    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(70), "{words}");
    assert!(words.contains("client-1 ended (exit status: 1)"), "{words}");
    assert_eq!(left_in(temporary.path()), [""; 0]);
}

#[test]
fn demo_whose_checks_fail_says_which_action_was_not_carried_out() {
    let temporary = tempfile::tempdir().unwrap();
    let osad = temporary.path().join("osad");
    // The agent, but with a check that fails after it has run.
    let check = temporary.path().join("check");
    let wrapper = format!(
        "#!/bin/sh\nOSA_CHECK_COMMAND=\"{} ${{OSA_CHECK_COMMAND#* }}\" exec {} \"$@\"\n",
        check.display(),
        env!("CARGO_BIN_EXE_osad")
    );
    for (path, text) in [
        (&osad, wrapper.as_str()),
        (&check, "#!/bin/sh\necho finished >>\"$1\"\nexit 3\n"),
    ] {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    }

    let osad = osad.display().to_string();
    let demo = |within: &str| run(["demo", "--agents", "1", "--json", "--within", within, "--osad", &osad]);
    // Its check may not have run yet when the time is over.
    let mut ended = demo("5s");
    for within in ["20s", "90s"] {
        if !ended.err.contains("the check failed") {
            ended = demo(within);
        }
    }

    ended.assert_failed(
        75,
        &[
            "not done within",
            "action 1 (update packages) of client-1",
            "the check failed",
        ],
    );
}

#[test]
fn demo_stays_up_for_a_second_terminal_until_ctrl_c() {
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = crate::site::command(env!("CARGO_BIN_EXE_osa-dispatcher"))
        .args([
            "demo",
            "--agents",
            "1",
            "--keep",
            "--within",
            "4min",
            "--osad",
            env!("CARGO_BIN_EXE_osad"),
        ])
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let hint = lines.find(|line| line.contains(" schedule --all --config ")).unwrap();

    // Exactly what the demo says.
    let scheduled = crate::site::command("sh").args(["-c", hint.trim()]).output().unwrap();

    assert!(scheduled.status.success(), "{scheduled:?}");
    assert!(lines.any(|line| line.contains("action 3 (check): completed")));
    kill(Pid::from_raw(demo.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(0));
    assert_eq!(left_in(temporary.path()), [""; 0]);
}

#[test]
fn demo_that_is_killed_takes_its_processes_along() {
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = crate::site::command(env!("CARGO_BIN_EXE_osa-dispatcher"))
        .args([
            "demo",
            "--agents",
            "2",
            "--keep",
            "--within",
            "4min",
            "--osad",
            env!("CARGO_BIN_EXE_osad"),
        ])
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.contains("still running")).unwrap();
    assert_eq!(processes_naming(temporary.path()).len(), 3);

    demo.kill().unwrap();
    demo.wait().unwrap();

    let deadline = Instant::now() + PATIENCE;
    while !processes_naming(temporary.path()).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", processes_naming(temporary.path()));
        std::thread::yield_now();
    }
}

/// Command lines of processes that work in a directory.
fn processes_naming(directory: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines
        .filter(|line| line.contains(directory.to_str().unwrap()))
        .collect()
}
