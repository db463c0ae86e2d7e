//! What can befall the server of a Satellite's database while a dispatcher serves: no session ends, nothing is lost, and
//! people are told, once.

use std::process::Command;
use std::time::Duration;

use crate::private_server::PrivateServer;
use crate::satellite_scene::{LOOKING, Scene, TOLD, outlast_deadlines};
use crate::slow_socket::SlowSocket;

/// A scene on a server's Unix socket.
fn scene(how: (&[&str], &str)) -> Scene {
    on(PrivateServer::start(&[]), how)
}

fn on(server: PrivateServer, how: (&[&str], &str)) -> Scene {
    let host = server.database("satellite").socket.display().to_string();
    Scene::begin(server, &host, how)
}

/// Stopped as an administrator does, and started.
fn stop(mut scene: Scene) {
    let under_way = scene.run_under_way();
    let due = scene.schedule_before();
    scene.server.stop();
    scene.is_told("cannot be reached");
    scene.is_told_by_commands(69, "cannot be reached");
    scene.run_ends();
    scene.agent_leaves();
    scene.agent_comes();
    scene.row_is_told_to_be_old();

    scene.still_fails();
    scene.server.launch();

    scene.is_well_again(&due, &[under_way]);
    scene.runs_are_counted();
}

#[test]
fn stopped_server_is_waited_for_by_looking() {
    stop(scene(LOOKING));
}

#[test]
fn stopped_server_is_waited_for_with_triggers() {
    stop(scene(TOLD));
}

#[test]
fn killed_server_is_waited_for() {
    let mut scene = scene(LOOKING);
    let due = scene.schedule_before();
    scene.server.kill();
    scene.is_told("cannot be reached");
    scene.agent_leaves();

    scene.still_fails();
    scene.server.launch();

    scene.is_well_again(&due, &[]);
}

#[test]
fn paused_server_is_waited_for() {
    let mut scene = scene(TOLD);
    let due = scene.schedule_before();
    scene.server.pause(true);
    scene.is_told("has not answered within 10 s");
    scene.agent_leaves();
    outlast_deadlines();

    scene.still_fails();
    scene.server.pause(false);

    scene.is_well_again(&due, &[]);
}

/// A new poller knows nobody, and cannot ask for anybody's record.
#[cfg(debug_assertions)]
#[test]
fn poller_that_panics_while_the_server_is_away_costs_no_session() {
    let mut scene = scene(LOOKING);
    let due = scene.schedule_before();
    scene.server.stop();
    scene.is_told("cannot be reached");
    crate::crashes::crash(&scene.beside.site, "poller");
    scene.is_told("cannot be reached");
    scene.agent_leaves();

    scene.still_fails();
    scene.server.launch();

    scene.is_well_again(&due, &[]);
}

/// So fast that it may be over before anybody has said anything.
#[test]
fn restarted_server_is_found_again() {
    let mut scene = scene(TOLD);
    for _ in 0..3 {
        let due = scene.schedule_before();
        scene.server.stop();
        scene.server.launch();
        scene.is_done(&due);
    }
}

/// A network of this thread's own, and of what it starts from now on.
pub fn network_of_its_own() {
    if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
        panic!("this test cuts a network of its own, which only root may make: run it as root ({error})");
    }
    run("ip", &["link", "set", "lo", "up"]);
}

/// In this network no packet from or to this port arrives, and nobody is told.
pub fn drop_packets(port: u16) {
    for rule in [
        "add table inet osa",
        "add chain inet osa input { type filter hook input priority 0; }",
        &format!("add rule inet osa input tcp dport {port} drop"),
        &format!("add rule inet osa input tcp sport {port} drop"),
    ] {
        run("nft", &[rule]);
    }
}

/// They arrive again.
pub fn pass_packets() {
    run("nft", &["delete table inet osa"]);
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error} (scripts/test installs it)"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {told}");
}

#[test]
fn cut_connection_is_made_anew() {
    network_of_its_own();
    let server = PrivateServer::start(&[]);
    let port = server.port();
    let mut scene = Scene::begin(server, "127.0.0.1", TOLD);
    let due = scene.schedule_before();
    drop_packets(port);
    scene.is_told("");
    scene.agent_leaves();
    let meanwhile = scene.schedule("current_timestamp");
    outlast_deadlines();

    scene.still_fails();
    pass_packets();

    scene.is_well_again(&due, &[meanwhile]);
}

#[test]
fn full_disk_is_waited_for() {
    let mut scene = on(PrivateServer::start_on_disk(160, &[]), LOOKING);
    // What is empty has no room left in its pages.
    scene.beside.database.sql("TRUNCATE osa_request CASCADE");
    scene.server.disk().fill();
    let due = scene.schedule_before();
    scene.is_told("no space left");
    scene.fails_again(3);
    scene.agent_leaves();
    let meanwhile = scene.schedule("current_timestamp");

    scene.still_fails();
    scene.server.disk().free();

    scene.is_well_again(&due, &[meanwhile]);
}

/// Without room for its log the server ends, and cannot start.
#[test]
fn server_that_a_full_disk_ended_is_waited_for() {
    let mut scene = on(PrivateServer::start_on_disk(160, &[]), TOLD);
    scene.server.disk().fill();
    let due = scene.schedule_before();
    scene.server.log_until_it_ends();
    scene.is_told("");
    scene.agent_leaves();

    scene.still_fails();
    scene.server.disk().free();
    scene.server.launch();

    scene.is_well_again(&due, &[]);
}

/// The standby has not heard of what came last, and takes no writes until it is promoted.
fn fail_over(mut scene: Scene) {
    let due = scene.schedule_before();
    scene.server.fail_over();
    scene.is_told("is read-only");
    scene.fails_again(3);
    scene.agent_leaves();

    scene.still_fails();
    scene.beside.database.sql("SELECT pg_promote()");

    scene.is_well_again(&due, &[]);
}

#[test]
fn standby_takes_the_place_of_its_primary_by_looking() {
    fail_over(scene(LOOKING));
}

#[test]
fn standby_takes_the_place_of_its_primary_with_triggers() {
    fail_over(scene(TOLD));
}

/// By hand, or by a backup of a time when there were none.
#[test]
fn tables_that_are_lost_are_waited_for() {
    let mut scene = scene(LOOKING);
    let due = scene.schedule_before();
    scene.drop_tables();
    scene.is_told("run osa-dispatcher migrate");
    scene.is_told_by_commands(78, "run osa-dispatcher migrate");
    scene.agent_leaves();

    scene.make_tables();

    scene.is_well_again(&due, &[]);
    assert_eq!(scene.said("node_renewed"), 1);
}

/// Everything takes many times as long as it does, and nothing so long that it is given up.
fn slowness(how: (&[&str], &str)) {
    let server = PrivateServer::start(&[]);
    let slow = SlowSocket::to(&server.database("satellite"));
    let mut scene = Scene::begin(server, &slow.host(), how);
    slow.delay(Duration::from_millis(15));
    let under_way = scene.run_under_way();
    let due = scene.schedule_before();
    let more: Vec<i64> = (0..5).map(|_| scene.schedule("current_timestamp")).collect();
    scene.agent_leaves();
    scene.agent_comes_in();
    scene.run_ends();

    scene.is_well(&due, &[more.as_slice(), &[under_way]].concat());

    scene.runs_are_counted();
    let later = scene.schedule_before();
    slow.delay(Duration::ZERO);
    scene.is_done(&later);
}

#[test]
fn slow_server_delays_and_loses_nothing_by_looking() {
    slowness(LOOKING);
}

#[test]
fn slow_server_delays_and_loses_nothing_with_triggers() {
    slowness(TOLD);
}
