//! What a site's jabberd2, and the way to it, can do to the dispatcher's login: each is told, tried again with pauses, and
//! costs nothing that is due.

use std::fs;
use std::path::PathBuf;

use crate::detour::{Detour, Fault, Place};
use crate::satellite_faults::{drop_packets, network_of_its_own, pass_packets};
use crate::server_scene::{ServerScene, configure};
use crate::servers::{Jabberd2, XmppServer};
use crate::site::Site;

const NOT_TLS: &str = "peer does not speak TLS";
/// More than the largest stanza, and what is made of it, may need. Units: KiB.
const GROWTH_MAX: u64 = 80 * 1024;

/// A server that works answers much sooner, and does so again if it was too late once.
fn hears_soon(site: &Site) {
    configure(site, "[upstream]\n", "[upstream]\nsilence_timeout = \"12s\"\n");
}

/// After the login, and then at each new connection, one after the other, until everything is as it was.
fn befalls(mut scene: ServerScene, logged_in: (Fault, &str), before: &[(Place, Fault, &str)]) {
    let memory = scene.memory();
    scene.detour.order(Place::LoggedIn, logged_in.0);
    let due = scene.schedule();
    scene.is_lost_because(logged_in.1);
    for &(place, fault, words) in before {
        scene.is_befallen(place, fault, words);
    }
    scene.detour.pass();

    scene.is_well_again(&due);
    assert!(!scene.existing_was_cut_off());
    let grown = scene.memory() - memory;
    assert!(grown < GROWTH_MAX, "{grown} KiB");
}

#[test]
fn garbage_is_told_in_each_state() {
    let (fault, words) = (Fault::Garbage, "not well-formed XML");
    let before = [
        (Place::Secured, fault, words),
        (Place::Proceeding, fault, NOT_TLS),
        (Place::Offered, fault, words),
        (Place::Accepted, fault, words),
    ];
    befalls(ServerScene::by_detour(), (fault, words), &before);
}

#[test]
fn stream_error_is_told_in_each_state() {
    let (fault, words) = (Fault::StreamError, "the server ended the stream: ");
    let before = [
        (Place::Secured, fault, words),
        (Place::Proceeding, fault, NOT_TLS),
        (Place::Offered, fault, words),
        (Place::Accepted, fault, words),
    ];
    befalls(ServerScene::by_detour(), (fault, words), &before);
}

#[test]
fn long_stanza_is_cut_off_in_each_state() {
    let (longest, long) = (
        "stanza is longer than 16777216 bytes",
        "stanza is longer than 10000 bytes",
    );
    let mut scene = ServerScene::by_detour();
    scene.detour.order(Place::LoggedIn, Fault::LongText);
    scene.is_lost_because(longest);
    scene.detour.pass();
    scene.is_logged_in();

    let before = [
        (Place::Secured, Fault::LongText, long),
        (Place::Proceeding, Fault::LongText, NOT_TLS),
        (
            Place::Offered,
            Fault::ManyElements,
            "a stanza has more than 1000 elements",
        ),
        (Place::Accepted, Fault::LongText, long),
    ];
    befalls(scene, (Fault::ManyElements, longest), &before);
}

/// Its end of the connection takes everything, so that only its silence tells.
#[test]
fn silence_is_told() {
    let mut scene = ServerScene::over(|_, detour| detour.address(), hears_soon);

    scene.detour.order(Place::LoggedIn, Fault::Silence);
    let due = scene.schedule();
    scene.is_lost_because("the server has gone silent");
    scene.is_befallen(Place::Proceeding, Fault::Silence, "the server did not answer in time");
    scene.detour.pass();

    scene.is_well_again(&due);
    assert!(!scene.existing_was_cut_off());
}

/// The dispatcher writes, and nothing of it is acknowledged.
#[test]
fn connection_that_is_half_open_is_told() {
    network_of_its_own();
    let mut scene = ServerScene::by_detour();
    drop_packets(scene.detour.address().port());
    let due = scene.schedule();
    scene.is_lost_because("connection lost");
    pass_packets();

    scene.is_well_again(&due);
    assert!(!scene.existing_was_cut_off());
}

#[test]
fn server_that_is_killed_is_waited_for() {
    let mut scene = ServerScene::begin();
    scene.server.kill();
    let due = scene.schedule();
    scene.is_lost_because("cannot connect to");
    scene.is_tried_again(2);

    scene.server.launch();

    scene.is_well_again(&due);
}

#[test]
fn store_that_is_lost_is_filled_again() {
    let mut scene = ServerScene::begin();
    let account = scene.account();
    scene.server.stop();
    scene.server.delete_store();
    let due = scene.schedule();
    scene.is_lost_because("cannot connect to");

    scene.server.launch();

    scene.is_well_again(&due);
    assert_eq!(scene.account(), account);
}

#[test]
fn certificate_that_does_not_fit_is_named() {
    let mut scene = ServerScene::begin();
    let present = |scene: &mut ServerScene, hostname: &str, days_ago: u32| {
        scene.server.stop();
        scene.server.issue(hostname, days_ago);
        scene.server.launch();
    };
    scene.stop_existing(true);
    present(&mut scene, "other.example", 0);
    let due = scene.schedule();
    scene.is_lost_because("the server's certificate is for other.example, not for localhost");
    present(&mut scene, "localhost", 4_000);
    scene.is_lost_because("the server's certificate has expired");
    present(&mut scene, "localhost", 0);
    scene.stop_existing(false);

    scene.is_well_again(&due);
}

/// Whom to trust is read at each connection: a file that is put right needs no restart.
#[test]
fn certificate_of_another_authority_is_named() {
    let ours = |site: &Site| site.path("data/tls/ca.crt");
    let used = |site: &Site| site.path("upstream.pem");
    let place = |server: &Jabberd2, _: &Detour| server.address();
    let mut scene = ServerScene::over(place, |site| {
        fs::copy(ours(site), used(site)).unwrap();
        let line = |path: PathBuf| format!("ca = {path:?}\n");
        configure(site, &line(ours(site)), &line(used(site)));
    });
    let others = Site::initialised();
    fs::copy(ours(&others), used(&scene.beside.site)).unwrap();
    scene.server.stop();
    let due = scene.schedule();
    scene.server.launch();
    scene.is_lost_because("is not signed by an authority in");

    fs::copy(ours(&scene.beside.site), used(&scene.beside.site)).unwrap();

    scene.is_well_again(&due);
}
