//! The development program that measures, on something small: its numbers mean nothing here, but they come.

use serde_json::Value;

/// A history of seconds instead of years.
const SMALL: [&str; 8] = [
    "--systems=40",
    "--finished=400",
    "--pending=80",
    "--shared-buffers=16MB",
    "--agents=4",
    "--repeats=1",
    "--settle-secs=0",
    "--json",
];

/// What the program tells if all went well.
pub fn measure(arguments: &[&str], more: &[&str]) -> Value {
    let output = crate::site::command(env!("CARGO_BIN_EXE_osa-swarm"))
        .args(arguments)
        .args(more)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn checks_beside_a_satellite_are_timed() {
    let schedule = ["schedule", "--satellite", "--triggers", "--osads=1", "--actions=2"];

    let told = measure(&schedule, &SMALL);

    assert_eq!(told["commit_to_check_ms"]["count"], 2, "{told}");
    assert!(told["cpu_per_1000_pushes_ms"][0].as_f64() > Some(0.0), "{told}");
}

#[test]
fn checks_over_jabberd2_are_timed_beside_those_over_the_embedded_server() {
    let schedule = ["schedule", "--satellite", "--over=jabberd2", "--osads=1", "--actions=2"];

    let told = measure(&schedule, &SMALL);

    for prefix in ["", "jabberd2_"] {
        assert_eq!(told[format!("{prefix}commit_to_check_ms")]["count"], 2, "{told}");
    }
    assert!(
        told["jabberd2_between_two_clients_ms"]["p50"].as_f64() > Some(0.0),
        "{told}"
    );
}

#[test]
fn contacts_at_jabberd2_are_counted_in_memory_and_time() {
    let contacts = [
        "contacts",
        "--contacts=40",
        "--agents=4",
        "--idle-secs=1",
        "--stable-secs=0",
    ];

    let told = measure(&contacts, &["--repeats=2", "--settle-secs=0", "--json"]);

    for what in [
        "rss_full_roster_mib",
        "idle_cpu_dispatcher_ms_per_s",
        "dispatcher_crash_all_pushable_s",
    ] {
        assert!(told[what][0].as_f64() > Some(0.0), "{what}: {told}");
    }
    assert_eq!(
        told["server_restart_all_pushable_s"].as_array().unwrap().len(),
        2,
        "{told}"
    );
}

#[test]
fn statements_to_a_satellites_database_are_heard_with_their_plans() {
    let database = [
        "database",
        "--cost-secs=1",
        "--listen-secs=2",
        "--pushes=40",
        "--notify-threshold=1000",
    ];

    let told = measure(&database, &SMALL);

    for when in ["polled", "notified"] {
        let cpu = |who: &str| told[format!("{when}_pushes_cpu_{who}_ms_per_s")][0].as_f64();
        for who in ["database_for_dispatcher", "database_for_satellite", "dispatcher"] {
            assert!(cpu(who) > Some(0.0), "{who}: {told}");
        }
        let statements = told[format!("{when}_push_statements")].as_array().unwrap();
        let text = |statement: &Value| statement["text"].as_str().unwrap().to_owned();
        let is_claim = |statement: &&Value| text(statement).contains("INSERT INTO osa_request (");
        let claim = statements.iter().find(is_claim).unwrap();
        assert!(claim["plan"][0].as_str().unwrap().contains("osa_push"), "{claim}");
    }
}

#[test]
fn checks_of_a_deployment_of_its_own_are_timed() {
    let schedule = ["schedule", "--osads=1", "--actions=2"];

    let told = measure(&schedule, &SMALL[4..]);

    assert_eq!(told["commit_to_check_ms"]["count"], 2, "{told}");
}
