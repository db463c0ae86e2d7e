//! Contacts at other servers, which may be gone without a word.

use minidom::Element;
use osa::protocol::contacts::ContactOutput;
use osa::protocol::roster::Subscription;

use crate::contacts::{A, Scene, available, own_presence, presence};

const BEHIND: [&str; 2] = ["osad-c@proxy.test/osad", "osad-d@proxy.test/osad"];

/// Two clients at another server, which are there.
fn behind_another_server() -> Scene {
    let roster = ["osad-c@proxy.test", "osad-d@proxy.test"].map(|jid| (jid, Subscription::Both, false));
    let mut scene = Scene::with_roster(&roster);
    scene.read(&BEHIND);
    for jid in BEHIND {
        assert_eq!(scene.hear(&format!("<presence from='{jid}'/>")), [available(jid)]);
    }
    assert_eq!(scene.sent(), [own_presence()]);
    scene
}

fn ping(jid: &str) -> String {
    format!("<iq id='contact' to='{jid}' type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
}

fn back(jid: &str) -> ContactOutput {
    let presence = Element::bare("presence", "jabber:client");
    let jid = jid.to_owned();
    ContactOutput::Available { jid, presence }
}

#[test]
fn one_client_of_each_other_server_is_pinged_at_each_reading() {
    let mut scene = behind_another_server();

    for _ in 0..3 {
        assert_eq!(scene.read(&BEHIND), []);
        assert_eq!(scene.sent(), [ping(BEHIND[0])]);
        scene.contacts.handle_answered(BEHIND[0]);
        assert_eq!(scene.outputs(), []);
    }
}

#[test]
fn client_that_cannot_be_reached_is_gone_and_its_neighbours_are_asked() {
    let mut scene = behind_another_server();

    scene.contacts.handle_returned(BEHIND[1]);
    assert_eq!(scene.outputs(), [ContactOutput::Unavailable(BEHIND[1].into())]);
    assert_eq!(scene.sent(), [ping(BEHIND[0])]);
    scene.contacts.handle_returned(BEHIND[0]);
    assert_eq!(scene.outputs(), [ContactOutput::Unavailable(BEHIND[0].into())]);

    scene.read(&BEHIND);
    assert_eq!(scene.sent(), BEHIND.map(ping));
    scene.contacts.handle_answered(BEHIND[1]);
    assert_eq!(scene.outputs(), [back(BEHIND[1])]);
    scene.contacts.handle_answered(BEHIND[1]);
    assert_eq!(scene.outputs(), [], "it is told once");
}

#[test]
fn missed_client_whose_pings_do_not_come_back_is_there() {
    let mut scene = behind_another_server();
    scene.contacts.handle_returned(BEHIND[1]);
    scene.outputs();

    for _ in 0..5 {
        assert_eq!(scene.read(&BEHIND), []);
        scene.contacts.handle_returned(BEHIND[1]);
    }
    for _ in 0..3 {
        assert_eq!(scene.read(&BEHIND), [], "asked again");
    }
    assert_eq!(scene.read(&BEHIND), [back(BEHIND[1])]);
}

#[test]
fn readings_for_newcomers_do_not_make_the_silence_longer() {
    let mut scene = behind_another_server();
    scene.contacts.handle_returned(BEHIND[1]);
    scene.outputs();
    scene.sent();

    // They are 1, 2, 4, 8 and 16 s apart.
    for number in 0..5 {
        scene.hear(&format!("<presence from='new-{number}@sat.test/osad'/>"));
        assert_eq!(scene.read(&BEHIND), [], "{number}");
    }
}

#[test]
fn missed_client_is_forgotten_when_its_server_or_it_says_more() {
    let mut scene = behind_another_server();
    let gone = |kind: &str, jid: &str| format!("<presence from='{jid}' type='{kind}'/>");

    scene.contacts.handle_returned(BEHIND[0]);
    scene.contacts.handle_returned(BEHIND[1]);
    scene.hear(&format!("<presence from='{}'/>", BEHIND[0]));
    scene.hear(&gone("unavailable", BEHIND[1]));
    scene.sent();
    scene.read(&BEHIND);
    assert_eq!(scene.sent(), [ping(BEHIND[0])]);
    scene.hear(&gone("unsubscribed", "osad-c@proxy.test"));
    scene.read(&BEHIND);
    assert_eq!(scene.sent(), [presence("subscribe", "osad-c@proxy.test")]);
}

#[test]
fn refused_subscription_of_a_client_makes_it_missed_too() {
    let mut scene = behind_another_server();

    scene.hear("<presence from='osad-c@proxy.test' type='error'/>");

    assert_eq!(scene.sent(), [ping(BEHIND[1])]);
    scene.read(&BEHIND);
    assert_eq!(scene.sent(), [ping(BEHIND[1]), ping(BEHIND[0])]);
}

#[test]
fn clients_of_our_own_server_and_strangers_are_neither_pinged_nor_missed() {
    let mut scene = Scene::with_roster(&[("osad-a@sat.test", Subscription::Both, false)]);
    scene.read(&[A]);
    scene.hear(&format!("<presence from='{A}'/>"));
    scene.sent();

    for jid in [A, "osad-x@proxy.test/osad", "proxy.test", ""] {
        scene.contacts.handle_returned(jid);
        scene.contacts.handle_answered(jid);
    }

    assert_eq!(scene.outputs(), []);
    scene.read(&[A]);
    assert_eq!(scene.sent(), Vec::<String>::new());
}
