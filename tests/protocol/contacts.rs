//! A dispatcher's contacts on a site's own server.

use std::time::{Duration, Instant};

use minidom::Element;
use osa::protocol::codec::write_element;
use osa::protocol::contacts::{ContactOutput, Contacts};
use osa::protocol::roster::{RosterItem, Subscription};

const OWN: &str = "rhn-dispatcher-sat@sat.test/superclient";
pub const A: &str = "osad-a@sat.test/osad";
const B: &str = "osad-b@sat.test/osad";

pub struct Scene {
    pub contacts: Contacts,
    now: Instant,
}

impl Scene {
    /// Logged in, with this roster, and nothing read yet.
    pub fn with_roster(roster: &[(&str, Subscription, bool)]) -> Self {
        let mut scene = Self {
            contacts: Contacts::new(OWN),
            now: Instant::now(),
        };
        scene.contacts.handle_roster(items(roster), scene.now);
        scene
    }

    pub fn outputs(&mut self) -> Vec<ContactOutput> {
        std::iter::from_fn(|| self.contacts.poll_output()).collect()
    }

    fn after(&mut self, pause: Duration) -> Vec<ContactOutput> {
        self.now += pause;
        self.contacts.handle_deadline(self.now);
        self.outputs()
    }

    /// Reads these registrations as soon as they are asked for.
    pub fn read(&mut self, jids: &[&str]) -> Vec<ContactOutput> {
        let due = self.contacts.next_deadline().expect("a reading is due");
        self.now = self.now.max(due);
        assert_eq!(self.after(Duration::ZERO), [ContactOutput::ReadRegistrations]);
        let jids = jids.iter().map(|jid| (*jid).to_owned()).collect();
        self.contacts.registered(Some(jids), self.now);
        self.outputs()
    }

    pub fn hear(&mut self, presence: &str) -> Vec<ContactOutput> {
        let presence = parse(presence);
        self.contacts.handle_presence(presence, self.now);
        self.outputs()
    }

    pub fn sent(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.contacts.next_stanza())
            .map(|stanza| text(&stanza))
            .collect()
    }
}

fn items(roster: &[(&str, Subscription, bool)]) -> Vec<RosterItem> {
    let item = |(jid, subscription, is_asked): &(&str, Subscription, bool)| RosterItem {
        jid: (*jid).to_owned(),
        subscription: *subscription,
        is_asked: *is_asked,
    };
    roster.iter().map(item).collect()
}

fn parse(text: &str) -> Element {
    text.replacen(' ', " xmlns='jabber:client' ", 1).parse().unwrap()
}

fn text(stanza: &Element) -> String {
    let mut text = String::new();
    write_element(stanza, &mut text);
    text
}

pub fn presence(kind: &str, to: &str) -> String {
    text(&parse(&format!("<presence to='{to}' type='{kind}'/>")))
}

pub fn own_presence() -> String {
    text(&Element::bare("presence", "jabber:client"))
}

pub fn available(jid: &str) -> ContactOutput {
    ContactOutput::Available {
        jid: jid.to_owned(),
        presence: parse(&format!("<presence from='{jid}'/>")),
    }
}

fn removal(jid: &str) -> String {
    format!(
        "<iq id='remove' type='set'><query xmlns='jabber:iq:roster'><item jid='{jid}' subscription='remove'/></query></iq>"
    )
}

#[test]
fn registered_are_subscribed_to_and_the_gone_removed_once_the_table_is_read() {
    let mut scene = Scene::with_roster(&[
        ("osad-a@sat.test", Subscription::Both, false),
        ("osad-old@sat.test", Subscription::Both, false),
    ]);
    assert_eq!(scene.sent(), Vec::<String>::new());

    let gone = scene.read(&[A, B]);

    assert_eq!(gone, [ContactOutput::Unavailable("osad-old@sat.test".into())]);
    let expected = [
        own_presence(),
        presence("subscribe", "osad-b@sat.test"),
        removal("osad-old@sat.test"),
    ];
    assert_eq!(scene.sent(), expected);
    assert_eq!(scene.sent(), Vec::<String>::new());
}

#[test]
fn our_question_is_repeated_at_a_login_and_not_at_each_reading() {
    let mut scene = Scene::with_roster(&[("osad-a@sat.test", Subscription::None, true)]);

    scene.read(&[A]);
    assert_eq!(scene.sent(), [own_presence(), presence("subscribe", "osad-a@sat.test")]);
    scene.read(&[A]);

    assert_eq!(scene.sent(), Vec::<String>::new());
}

#[test]
fn client_is_there_from_its_presence_to_its_end() {
    let mut scene = Scene::with_roster(&[]);
    scene.read(&[A]);

    assert_eq!(scene.hear(&format!("<presence from='{A}'/>")), [available(A)]);
    let gone = [ContactOutput::Unavailable(A.into())];
    assert_eq!(scene.hear(&format!("<presence from='{A}' type='unavailable'/>")), gone);
    assert_eq!(scene.hear(&format!("<presence from='{A}' type='error'/>")), gone);
    let all = [ContactOutput::Unavailable("osad-a@sat.test".into())];
    assert_eq!(
        scene.hear("<presence from='osad-a@sat.test' type='unsubscribed'/>"),
        all
    );
}

#[test]
fn other_resources_ourselves_and_odd_presences_have_no_effect() {
    let mut scene = Scene::with_roster(&[]);
    scene.read(&[A]);
    scene.sent();

    for presence in [
        "<presence from='osad-a@sat.test/psi'/>",
        "<presence from='stranger@sat.test' type='unsubscribed'/>",
        "<presence from='osad-a@sat.test/osad' type='probe'/>",
        "<presence from='osad-a@sat.test/osad' type='subscribed'/>",
        "<presence from='rhn-dispatcher-sat@sat.test/superclient'/>",
        "<presence from='rhn-dispatcher-sat@sat.test' type='subscribe'/>",
        "<presence to='x'/>",
    ] {
        assert_eq!(scene.hear(presence), [], "{presence}");
    }
    assert_eq!(scene.sent(), Vec::<String>::new());
}

#[test]
fn registered_client_that_asks_is_approved_and_asked_back_whatever_was_asked_before() {
    let mut scene = Scene::with_roster(&[("osad-a@sat.test", Subscription::From, true)]);
    scene.read(&[A]);
    scene.sent();

    for _ in 0..3 {
        scene.hear("<presence from='osad-a@sat.test' type='subscribe'/>");
    }

    let once = [
        presence("subscribed", "osad-a@sat.test"),
        presence("subscribe", "osad-a@sat.test"),
    ];
    assert_eq!(scene.sent(), once);
    scene
        .contacts
        .handle_roster_change(items(&[("osad-a@sat.test", Subscription::Both, false)]));
    scene.hear("<presence from='osad-a@sat.test' type='subscribe'/>");
    assert_eq!(scene.sent(), [presence("subscribed", "osad-a@sat.test")]);
}

#[test]
fn client_that_registers_late_is_known_a_second_later() {
    let mut scene = Scene::with_roster(&[]);
    scene.read(&[A]);
    scene.sent();
    assert_eq!(scene.hear(&format!("<presence from='{B}' type='subscribe'/>")), []);
    assert_eq!(scene.hear(&format!("<presence from='{B}'/>")), []);

    assert_eq!(scene.after(Duration::from_millis(999)), []);
    let known = scene.read(&[A, B]);

    assert_eq!(known, [available(B)]);
    let asked_back = [
        presence("subscribed", "osad-b@sat.test"),
        presence("subscribe", "osad-b@sat.test"),
    ];
    assert_eq!(scene.sent(), asked_back);
}

#[test]
fn client_that_asks_goes_before_those_who_may_not_be_there() {
    let mut scene = Scene::with_roster(&[]);
    scene.read(&[A, B, "osad-c@sat.test/osad"]);

    scene.hear("<presence from='osad-b@sat.test' type='subscribe'/>");

    let sent = scene.sent();
    let first = [
        own_presence(),
        presence("subscribed", "osad-b@sat.test"),
        presence("subscribe", "osad-b@sat.test"),
    ];
    assert_eq!(sent[..3], first);
    assert_eq!(sent.len(), 5, "each once: {sent:?}");
}

#[test]
fn strangers_cause_ever_fewer_readings_and_no_answer() {
    let mut scene = Scene::with_roster(&[]);
    scene.read(&[A]);
    scene.sent();
    let mut pauses = Vec::new();

    for _ in 0..8 {
        scene.hear("<presence from='stranger@sat.test/x' type='subscribe'/>");
        let due = scene.contacts.next_deadline().unwrap();
        pauses.push((due - scene.now).as_secs());
        assert_eq!(scene.read(&[A]), []);
    }

    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(scene.sent(), Vec::<String>::new());
}

#[test]
fn crowd_of_strangers_takes_no_more_than_its_room() {
    let mut scene = Scene::with_roster(&[]);
    scene.read(&[]);
    let content = "x".repeat(20_000);
    let elements = "<a/>".repeat(128);

    scene.hear(&format!("<presence from='{A}'/>"));
    for number in 0..1_100 {
        scene.hear(&format!(
            "<presence from='s{number}@sat.test/x'><status>{content}</status></presence>"
        ));
    }
    scene.hear(&format!("<presence from='s@sat.test/x'>{elements}</presence>"));
    let known = scene.read(&[A, "s1099@sat.test/x", "s@sat.test/x"]);

    // The first had to go; the content of the last two was too much.
    let presence = parse("<presence />");
    let bare = |jid: &str| ContactOutput::Available {
        jid: jid.to_owned(),
        presence: presence.clone(),
    };
    assert_eq!(known, [bare("s1099@sat.test/x"), bare("s@sat.test/x")]);
}

#[test]
fn contact_that_came_while_the_table_was_read_is_not_removed() {
    let mut scene = Scene::with_roster(&[]);
    scene.read(&[A]);
    scene.sent();
    scene.now = scene.contacts.next_deadline().unwrap();
    assert_eq!(scene.after(Duration::ZERO), [ContactOutput::ReadRegistrations]);

    scene
        .contacts
        .handle_roster_change(items(&[("osad-b@sat.test", Subscription::From, false)]));
    scene.contacts.registered(Some(vec![A.into()]), scene.now);
    assert_eq!(scene.sent(), Vec::<String>::new());

    scene.read(&[A]);
    assert_eq!(scene.sent(), [removal("osad-b@sat.test")]);
}

#[test]
fn table_that_cannot_be_read_is_read_again_and_removes_nobody() {
    let mut scene = Scene::with_roster(&[("osad-a@sat.test", Subscription::Both, false)]);
    assert_eq!(scene.after(Duration::ZERO), [ContactOutput::ReadRegistrations]);
    scene.contacts.registered(None, scene.now);
    assert_eq!(scene.sent(), Vec::<String>::new());

    assert_eq!(scene.after(Duration::from_secs(4)), []);
    assert_eq!(scene.after(Duration::from_secs(1)), [ContactOutput::ReadRegistrations]);
    scene.contacts.registered(Some(vec![A.into()]), scene.now);

    assert_eq!(scene.sent(), [own_presence()]);
}

#[test]
fn account_that_the_server_lost_is_asked_again() {
    let mut scene = Scene::with_roster(&[("osad-a@sat.test", Subscription::Both, false)]);
    scene.read(&[A]);
    scene.sent();

    scene.hear("<presence from='osad-a@sat.test' type='unsubscribed'/>");
    scene.read(&[A]);

    assert_eq!(scene.sent(), [presence("subscribe", "osad-a@sat.test")]);
}
