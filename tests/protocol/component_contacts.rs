//! A dispatcher's contacts where it is a component, which has no roster and no server that keeps presence for it.

use std::time::{Duration, Instant};

use minidom::Element;
use osa::protocol::codec::write_element;
use osa::protocol::contacts::{ContactOutput, Contacts};

const OWN: &str = "rhn-dispatcher-sat@osa.sat.test/superclient";
const A: &str = "osad-a@sat.test/osad";
const B: &str = "osad-b@sat.test/osad";

struct Scene {
    contacts: Contacts,
    now: Instant,
}

impl Scene {
    /// Logged in, with these registrations read; nothing sent yet.
    fn with(jids: &[&str]) -> Self {
        let now = Instant::now();
        let mut scene = Self {
            contacts: Contacts::of_component(OWN, "sat.test", now),
            now,
        };
        assert_eq!(scene.read(jids), []);
        scene
    }

    fn outputs(&mut self) -> Vec<ContactOutput> {
        std::iter::from_fn(|| self.contacts.poll_output()).collect()
    }

    /// Reads these registrations as soon as that is due.
    fn read(&mut self, jids: &[&str]) -> Vec<ContactOutput> {
        let due = self.contacts.next_deadline().expect("a reading is due");
        self.now = self.now.max(due);
        self.contacts.handle_deadline(self.now);
        assert_eq!(self.outputs(), [ContactOutput::ReadRegistrations]);
        let jids = jids.iter().map(|jid| (*jid).to_owned()).collect();
        self.contacts.registered(Some(jids), self.now);
        self.outputs()
    }

    fn hear(&mut self, from: &str, kind: &str) -> Vec<ContactOutput> {
        let kind = match kind {
            "" => String::new(),
            kind => format!(" type='{kind}'"),
        };
        let presence = format!("<presence xmlns='jabber:client' from='{from}'{kind}/>");
        self.contacts.handle_presence(presence.parse().unwrap(), self.now);
        self.outputs()
    }

    fn sent(&mut self) -> Vec<String> {
        let stanzas: Vec<Element> = std::iter::from_fn(|| self.contacts.next_stanza()).collect();
        stanzas.iter().map(text).collect()
    }
}

fn text(stanza: &Element) -> String {
    let mut text = String::new();
    write_element(stanza, &mut text);
    text
}

fn presence(kind: &str, to: &str) -> String {
    format!("<presence to='{to}' type='{kind}'/>")
}

fn shown(to: &str) -> String {
    format!("<presence to='{to}'/>")
}

fn available(jid: &str) -> ContactOutput {
    let presence = format!("<presence xmlns='jabber:client' from='{jid}'/>");
    ContactOutput::Available {
        jid: jid.to_owned(),
        presence: presence.parse().unwrap(),
    }
}

const NOTHING: [String; 0] = [];

#[test]
fn registered_are_probed_first_and_asked_if_they_did_not_answer() {
    let mut scene = Scene::with(&[A]);
    assert_eq!(
        scene.sent(),
        [
            presence("probe", "osad-a@sat.test"),
            presence("subscribe", "osad-a@sat.test")
        ]
    );

    for _ in 0..3 {
        scene.read(&[A]);
        assert_eq!(scene.sent(), NOTHING);
    }
}

#[test]
fn client_that_answers_is_there_and_shown_once_that_we_are() {
    let mut scene = Scene::with(&[A]);
    assert_eq!(scene.contacts.next_stanza().unwrap().attr("type"), Some("probe"));

    assert_eq!(scene.hear(A, ""), [available(A)]);
    assert_eq!(scene.hear(A, ""), [available(A)]);
    assert_eq!(
        scene.sent(),
        [shown("osad-a@sat.test")],
        "it is seen, so it is not asked"
    );
    assert_eq!(scene.hear(A, ""), [available(A)]);

    scene.read(&[A]);
    assert_eq!(scene.sent(), NOTHING);
}

#[test]
fn client_whose_server_denies_it_is_asked_once_a_reading() {
    let mut scene = Scene::with(&[A]);
    scene.sent();
    let gone = [ContactOutput::Unavailable("osad-a@sat.test".to_owned())];

    for _ in 0..2 {
        assert_eq!(scene.hear("osad-a@sat.test", "unsubscribed"), gone);
        assert_eq!(scene.hear("osad-a@sat.test", "unsubscribed"), gone);
        assert_eq!(scene.sent(), NOTHING);
        scene.read(&[A]);
        assert_eq!(scene.sent(), [presence("subscribe", "osad-a@sat.test")]);
    }
}

#[test]
fn client_that_asks_is_approved_shown_and_asked_back_before_all_others() {
    let mut scene = Scene::with(&[A, B]);

    for _ in 0..3 {
        assert_eq!(scene.hear("osad-b@sat.test", "subscribe"), []);
    }

    let sent = scene.sent();
    let first = [
        presence("subscribed", "osad-b@sat.test"),
        shown("osad-b@sat.test"),
        presence("subscribe", "osad-b@sat.test"),
    ];
    assert_eq!(sent[..3], first);
    let twice = [
        presence("probe", "osad-a@sat.test"),
        presence("subscribe", "osad-a@sat.test"),
    ];
    assert!(twice.iter().all(|stanza| sent.contains(stanza)), "{sent:?}");
    assert_eq!(sent.len(), 6, "each once: {sent:?}");
}

#[test]
fn probe_of_a_registered_client_is_answered_and_asked_back_if_it_denied_us() {
    let mut scene = Scene::with(&[A]);
    scene.sent();

    scene.hear(A, "probe");
    assert_eq!(scene.sent(), [shown("osad-a@sat.test")]);
    scene.hear("osad-a@sat.test", "unsubscribed");
    scene.hear(A, "probe");
    assert_eq!(
        scene.sent(),
        [shown("osad-a@sat.test"), presence("subscribe", "osad-a@sat.test")]
    );
    scene.hear(A, "");
    scene.hear(A, "probe");

    assert_eq!(scene.sent(), [shown("osad-a@sat.test")]);
}

#[test]
fn strangers_get_no_answer_and_grow_nothing() {
    let mut scene = Scene::with(&[A]);
    scene.sent();

    for number in 0..2_000 {
        let stranger = format!("s{number}@sat.test/x");
        for kind in [
            "",
            "probe",
            "subscribe",
            "subscribed",
            "unsubscribe",
            "unsubscribed",
            "error",
        ] {
            scene.hear(&stranger, kind);
        }
    }
    scene.read(&[A]);

    assert_eq!(scene.sent(), NOTHING);
    assert_eq!(scene.contacts.registrations(), 1);
}

#[test]
fn client_that_registers_late_is_known_a_second_after_it_shows_itself() {
    let mut scene = Scene::with(&[A]);
    scene.sent();
    assert_eq!(scene.hear("osad-b@sat.test", "subscribe"), []);
    assert_eq!(scene.hear(B, ""), []);
    let due = scene.contacts.next_deadline().unwrap();
    assert_eq!(due - scene.now, Duration::from_secs(1));

    assert_eq!(scene.read(&[A, B]), [available(B)]);

    let sent = scene.sent();
    assert_eq!(
        sent[..2],
        [presence("subscribed", "osad-b@sat.test"), shown("osad-b@sat.test")]
    );
}

#[test]
fn client_whose_registration_is_gone_ends_and_is_a_stranger_until_it_is_back() {
    let mut scene = Scene::with(&[A]);
    scene.hear(A, "");
    scene.sent();
    let gone = [ContactOutput::Unavailable("osad-a@sat.test".to_owned())];
    assert_eq!(scene.read(&[]), gone);
    scene.hear(A, "probe");
    assert_eq!(scene.sent(), NOTHING);

    scene.read(&[A]);

    assert_eq!(scene.sent()[..1], [presence("probe", "osad-a@sat.test")]);
}

#[test]
fn farewell_goes_to_those_who_were_shown_that_we_are_there() {
    let mut scene = Scene::with(&[A, B]);
    scene.hear(A, "");
    scene.sent();

    let farewells: Vec<String> = scene.contacts.farewells().map(|stanza| text(&stanza)).collect();

    assert_eq!(farewells, [presence("unavailable", "osad-a@sat.test")]);
}

#[test]
fn clients_of_our_server_are_not_pinged_and_those_behind_others_are() {
    let behind = "osad-c@proxy.test/osad";
    let mut scene = Scene::with(&[A, behind]);
    scene.hear(A, "");
    scene.hear(behind, "");
    scene.sent();

    scene.read(&[A, behind]);

    let ping = format!("<iq id='contact' to='{behind}' type='get'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert_eq!(scene.sent(), [ping]);
}
