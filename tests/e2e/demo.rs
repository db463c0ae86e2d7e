//! The demo, as a newcomer runs it.

use std::fs;
use std::path::Path;

use crate::site::run;

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
        .args(["demo", "--agents", "3", "--json", "--osad", env!("CARGO_BIN_EXE_osad")])
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();

    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words}");
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["summary"]["carried_out"], 6, "{shown}");
    for action in shown["actions"].as_array().unwrap() {
        assert_eq!(action["state"], "completed", "{action}");
        for step in ["sent", "answered", "started", "finished"] {
            assert!(action["milliseconds"][step].is_u64(), "{step}: {action}");
        }
        assert!(
            action["milliseconds"]["finished"].as_u64() >= Some(200),
            "the check takes a while: {action}"
        );
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
        .args(["demo", "--json", "--osad", "/bin/false"])
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();

    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(70), "{words}");
    assert!(words.contains("client-1 ended (exit status: 1)"), "{words}");
    assert_eq!(left_in(temporary.path()), [""; 0]);
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
