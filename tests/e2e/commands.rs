//! The subcommands, with and without a running dispatcher, and what the control socket bears.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::site::{Dispatcher, PATIENCE, Site};

fn names(list: &serde_json::Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|system| system["name"].as_str().unwrap())
        .collect()
}

/// The same steps mean the same, whoever carries them out.
fn add_schedule_and_remove(site: &Site, dispatcher: Option<&Dispatcher>) {
    let out = site.path("").display().to_string();
    let added = site.run(["systems", "add", "web-1", "--out", &out, "--json"]).json();
    assert_eq!(added["name"], "web-1");
    let mode = |file: &str| {
        fs::metadata(site.path("web-1").join(file))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!((mode("systemid"), mode("osad.toml")), (0o600, 0o600));
    assert_eq!(names(&site.run(["systems", "list", "--json"]).json()), ["web-1"]);

    let micros = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros();
    let before = micros();
    let first = site.run(["schedule", "web-1", "--name", "update", "--json"]).json();
    let committed = u128::from(first["committed_us"].as_u64().unwrap());
    assert!((before..=micros()).contains(&committed), "{before} {first}");
    let id = first["id"].to_string();
    site.run(["schedule", "--all", "--after", &id, "--in", "1h", "--json"])
        .json();
    let actions = site
        .run(["actions", "--system", "web-1", "--state", "queued", "--json"])
        .json();
    assert_eq!(names(&actions), ["check", "update"], "newest first");

    let status = site.run(["status", "--json"]);
    assert_eq!(status.code, Some(if dispatcher.is_some() { 0 } else { 69 }));
    let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!((&status["systems"], &status["pending"]), (&1.into(), &2.into()));
    assert_eq!(status["running"].is_null(), dispatcher.is_none());

    let explained = site.run(["explain", "web-1", "--json"]).json();
    let verdict = explained["verdict"].as_str().unwrap();
    let wanted = if dispatcher.is_some() {
        "never registered"
    } else {
        "no dispatcher runs"
    };
    assert!(verdict.contains(wanted), "{verdict}");

    assert_eq!(site.run(["systems", "remove", "web-1"]).code, Some(0));
    assert_eq!(names(&site.run(["systems", "list", "--json"]).json()), [""; 0]);
}

#[test]
fn commands_work_without_a_dispatcher() {
    add_schedule_and_remove(&Site::initialised(), None);
}

#[test]
fn commands_work_through_a_dispatcher() {
    let site = Site::initialised();
    let dispatcher = site.serve();

    add_schedule_and_remove(&site, Some(&dispatcher));

    // Who changed something is told; who only looked, as health checks do all the time, is not.
    let log = fs::read_to_string(site.path("log")).unwrap();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("command_received")).collect();
    let commands = ["add_system", "schedule", "schedule", "remove_system"];
    assert_eq!(told.len(), commands.len(), "{told:?}");
    for (line, command) in told.iter().zip(commands) {
        assert!(line.contains(command) && line.contains("uid="), "{line}");
    }
}

#[test]
fn wrong_names_are_bad_data_and_change_nothing() {
    let site = Site::initialised();
    let out = site.path("").display().to_string();
    site.run(["systems", "add", "web-1", "--out", &out, "--json"]).json();

    site.run(["schedule", "web-1", "web-2"])
        .assert_failed(65, &["\"web-2\"", "systems list"]);
    site.run(["schedule", "web-1", "--after", "77"])
        .assert_failed(65, &["77", "does not exist"]);
    site.run(["explain", "web-2"]).assert_failed(65, &["\"web-2\""]);
    site.run(["accounts", "reset", "osad-x"])
        .assert_failed(65, &["\"osad-x\"", "accounts list"]);
    site.run(["systems", "add", "../evil", "--out", &out])
        .assert_failed(65, &["../evil", "letters"]);
    site.run(["systems", "add", "web-1", "--out", &out])
        .assert_failed(73, &["web-1", "exists already"]);
    fs::remove_dir_all(site.path("web-1")).unwrap();
    site.run(["systems", "add", "web-1", "--out", &out])
        .assert_failed(73, &["web-1", "exists already"]);
    assert!(!site.path("web-1").exists(), "no bundle of a system that was not added");
    site.run(["ping", "web-1"]).assert_failed(69, &["no dispatcher runs"]);
    assert_eq!(site.run(["actions", "--json"]).json(), serde_json::json!([]));
}

#[test]
fn action_that_does_not_exist_is_bad_data_and_one_that_is_filtered_out_is_not() {
    let site = Site::initialised();
    let out = site.path("").display().to_string();
    site.run(["systems", "add", "web-1", "--out", &out, "--json"]).json();
    let id = site.run(["schedule", "web-1", "--json"]).json()["id"].to_string();

    site.run(["actions", "99"])
        .assert_failed(65, &["action 99 does not exist", "osa-dispatcher actions"]);
    site.run(["actions", &id, "99", "--json"]).assert_failed(65, &["99"]);
    site.run(["actions", "--system", "web-2"]).assert_failed(65, &["web-2"]);
    let completed = site.run(["actions", &id, "--state", "completed", "--json"]);
    assert_eq!(completed.json(), serde_json::json!([]));
}

/// Exit code and words of a command whose standard output is this.
fn shown_to(site: &Site, program: &str, arguments: &[&str], output: impl Into<Stdio>) -> (Option<i32>, String) {
    let output = crate::site::command(program)
        .args(arguments)
        .arg("--config")
        .arg(site.config())
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn answer_that_cannot_be_written_fails_and_one_that_nobody_reads_ends_quietly() {
    let site = Site::initialised();
    let (dispatcher, osad) = (env!("CARGO_BIN_EXE_osa-dispatcher"), env!("CARGO_BIN_EXE_osad"));
    for (program, arguments) in [
        (dispatcher, &["systems", "list"][..]),
        (dispatcher, &["actions", "--json"]),
        (dispatcher, &["status", "--help"]),
        (osad, &["check-config", "--help"]),
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let (code, words) = shown_to(&site, program, arguments, full);
        assert_eq!(code, Some(74), "{arguments:?}: {words}");
        assert!(words.contains(": cannot write to standard output: "), "{words}");
        assert_eq!(words.lines().count(), 1, "{words}");

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let unread = shown_to(&site, program, arguments, writer);
        assert_eq!(unread, (Some(141), String::new()), "{arguments:?}");
    }
}

#[test]
fn command_line_that_is_not_understood_is_one_line() {
    let site = Site::initialised();
    site.run(["schedule"])
        .assert_failed(64, &["<SYSTEM>", "osa-dispatcher schedule --help"]);
    site.run(["actions", "--stat", "x"])
        .assert_failed(64, &["'--stat'", "'--state'"]);
    crate::site::run(["systems"]).assert_failed(64, &["missing", "osa-dispatcher systems --help"]);
    crate::site::run(["--config", "x", "status"])
        .assert_failed(64, &["put --config <FILE> after", "`osa-dispatcher status --help`"]);
    let help = crate::site::run(["systems", "--help"]);
    assert!(help.code == Some(0) && help.out.lines().count() > 5, "{help:?}");
}

#[test]
fn both_programs_show_settings_alike() {
    let site = Site::initialised();
    let mut osad = crate::site::command(env!("CARGO_BIN_EXE_osad"));
    let osad = osad
        .args(["check-config"])
        .env("OSA_SERVER_URL", "https://a.example.com/X");
    let osad = String::from_utf8(osad.output().unwrap().stdout).unwrap();
    let dispatcher = site.run(["check-config"]).out;

    for (shown, switch) in [(osad, "check.enabled"), (dispatcher, "accounts.digest_login")] {
        let mut lines = shown.lines();
        let words =
            |line: Option<&str>| line.map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(words(lines.next()).unwrap(), ["KEY", "VALUE", "FROM"]);
        let switch = words(lines.find(|line| line.starts_with(switch))).unwrap();
        assert!(matches!(switch[1].as_str(), "true" | "false"), "{switch:?}");
    }
}

#[test]
fn commands_before_init_say_what_to_do() {
    Site::configured()
        .run(["systems", "list"])
        .assert_failed(66, &["osa.sqlite3", "osa-dispatcher init"]);
}

#[test]
fn dispatcher_ends_cleanly_when_told() {
    let site = Site::initialised();
    let dispatcher = site.serve();
    let pid = fs::read_to_string(site.path("pid")).unwrap();
    let status = site.run(["status", "--json"]).json();
    assert_eq!(status["running"]["pid"].to_string(), pid.trim());

    assert!(dispatcher.stop().success());

    for file in ["pid", "data/control.sock", "data/osa.sqlite3-wal"] {
        assert!(!site.path(file).exists(), "{file} is left behind");
    }
}

#[test]
fn certificate_is_taken_anew_at_sighup() {
    let site = Site::initialised();
    site.issue("localhost", 100);
    let dispatcher = site.serve();
    let expires = || site.run(["status", "--json"]).json()["running"]["certificate_expires"].clone();
    let before = expires();

    site.issue("localhost", 50);
    dispatcher.signal(Signal::SIGHUP);
    dispatcher.wait_for("READY=1", &site.path("log"));

    assert!(
        expires().as_str() > before.as_str(),
        "{} is not after {before}",
        expires()
    );
}

#[test]
fn what_is_bad_at_sighup_is_told_and_leaves_the_old_in_use() {
    let site = Site::initialised();
    let dispatcher = site.serve();
    let files = [site.path("data/tls/server.crt"), site.config()];
    let good = files.clone().map(|file| fs::read(file).unwrap());
    let expires = || site.run(["status", "--json"]).json()["running"]["certificate_expires"].clone();
    let before = expires();

    fs::write(site.path("data/tls/server.crt"), "half a certifi").unwrap();
    dispatcher.signal(Signal::SIGHUP);
    dispatcher.wait_for("READY=1", &site.path("log"));

    let said = |event: &str| fs::read_to_string(site.path("log")).unwrap().matches(event).count();
    assert_eq!(expires(), before);
    assert_eq!([said("certificate_reload_failed"), said("reload_incomplete")], [1, 1]);

    fs::write(&files[0], &good[0]).unwrap();
    fs::write(&files[1], "no_such_key = 1\n").unwrap();
    dispatcher.signal(Signal::SIGHUP);
    dispatcher.wait_for("READY=1", &site.path("log"));
    assert_eq!(
        [
            said("settings_reload_failed"),
            said("reload_incomplete"),
            said("reloaded")
        ],
        [1, 2, 0]
    );

    fs::write(&files[1], &good[1]).unwrap();
    dispatcher.signal(Signal::SIGHUP);
    dispatcher.wait_for("READY=1", &site.path("log"));
    assert_eq!([said("reload_incomplete"), said("reloaded")], [2, 1]);
}

#[test]
fn dispatcher_in_the_background_is_ready_when_its_starter_ends() {
    let site = Site::initialised();
    let pid_file = site.path("pid").display().to_string();

    // As in an init script: no subcommand.
    let log = site.path("log").display().to_string();
    let config = site.config().display().to_string();
    let ended = crate::site::run(["--pid-file", &pid_file, "--logfile", &log, "--cfg", &config]);
    assert_eq!(ended.code, Some(0), "{ended:?}");

    assert_eq!(site.run(["status"]).code, Some(0));
    let pid = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap().to_str(), Some("/"));
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while fs::metadata(&pid_file).is_ok() {
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::yield_now();
    }
}

fn say(site: &Site, text: &[u8]) -> String {
    let mut stream = UnixStream::connect(site.path("data/control.sock")).unwrap();
    // What is refused before its end cannot be written to its end.
    stream.write_all(text).ok();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok();
    answer
}

#[test]
fn what_is_not_understood_on_the_control_socket_is_refused() {
    let site = Site::initialised();
    let _dispatcher = site.serve();

    for text in [
        &b"hello\n"[..],
        b"\xff\xfe\n",
        b"{\"version\":1,\"request\":\"explode\"}\n",
        b"\n",
    ] {
        let answer = say(&site, text);
        assert!(
            answer.contains("bad_request") && answer.lines().count() == 1,
            "{answer}"
        );
    }
    let other = say(&site, b"{\"version\":7,\"request\":\"status\"}\n");
    assert!(other.contains("has version 7"), "{other}");
    let socket = fs::metadata(site.path("data/control.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
}

#[test]
fn oversized_cut_off_and_silent_callers_keep_nobody_waiting() {
    let site = Site::initialised();
    let _dispatcher = site.serve();
    let silent: Vec<UnixStream> = (0..10)
        .map(|_| UnixStream::connect(site.path("data/control.sock")).unwrap())
        .collect();

    say(&site, &vec![b' '; 3 << 20]);
    assert_eq!(say(&site, b""), "");

    // More callers than are served at once say nothing; they are given up, and then it is our turn.
    assert_eq!(site.run(["status"]).code, Some(0));
    drop(silent);
}

#[test]
fn init_refuses_another_hostname_than_the_configuration_has() {
    let site = Site::initialised();
    let before = std::fs::read(site.path("data/tls/server.crt")).unwrap();

    let ended = site.run(["init", "--hostname", "other.example"]);

    ended.assert_failed(78, &["hostname", "localhost", "other.example"]);
    assert_eq!(std::fs::read(site.path("data/tls/server.crt")).unwrap(), before);
}

#[test]
fn init_says_what_is_wrong_with_a_hostname_before_it_writes() {
    let directory = tempfile::tempdir().unwrap();
    let (config, data) = (directory.path().join("osa.toml"), directory.path().join("data"));

    let ended = crate::site::run([
        "init".as_ref(),
        "--hostname".as_ref(),
        "127.0.0.1".as_ref(),
        "--config".as_ref(),
        config.as_os_str(),
        "--data-dir".as_ref(),
        data.as_os_str(),
    ]);

    ended.assert_failed(78, &["--hostname", "127.0.0.1"]);
    assert!(!config.exists());
}

#[test]
fn command_says_what_to_do_when_the_control_socket_is_gone() {
    let site = Site::initialised();
    let _dispatcher = site.serve();
    fs::remove_file(site.path("data").join("control.sock")).unwrap();

    let ended = site.run(["systems", "list"]);

    ended.assert_failed(69, &["control.sock", "restart osa-dispatcher"]);
}
