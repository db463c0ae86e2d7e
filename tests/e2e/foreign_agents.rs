//! `osad` at a site's own XMPP server, whose dispatcher is an existing one.

use crate::agents::{Home, Process};
use crate::existing::Event;
use crate::existing_agents::wait_until;
use crate::foreign_site::{ForeignSite, dispatcher_account};
use crate::servers::{Ejabberd, Jabberd2, Prosody, XmppServer};

/// A home of an agent of ours for a new system.
fn home(site: &ForeignSite<impl XmppServer>, name: &str) -> Home {
    let identity = site.add(name);
    let bundle = identity.ca.parent().unwrap().join(name);
    Home::of(&identity, bundle, name)
}

/// The agent of this home, when it is seen and has checked after its start; and its full JID.
fn started(site: &ForeignSite<impl XmppServer>, home: &Home) -> (Process, String) {
    let agent = home.start();
    wait_until("it is seen", || site.state("client") == "online");
    wait_until("it has checked after its start", || home.checks() == 1);
    let jid = "SELECT jabber_id FROM rhnPushClient WHERE name <> 'dispatcher'";
    (agent, site.database.query(jid))
}

/// It makes its own account, is seen, is pushed to, and is pushed to again after its server was away.
fn agent_works_under_an_existing_dispatcher_over(mut site: ForeignSite<impl XmppServer>) {
    let home = home(&site, "client");
    let (mut agent, jid) = started(&site, &home);

    site.schedule("client");
    site.dispatcher.wait_for(|event| *event == Event::Verified(jid.clone()));
    wait_until("it checks", || home.checks() >= 2);
    site.database.sql("UPDATE rhnServerAction SET status = 2");
    assert_eq!(home.status()["link"]["state"], "linked", "{}", home.status());

    site.server.kill();
    site.server.launch();
    site.dispatcher.wait_for(|event| *event == Event::Available);
    let heard = Event::Heard {
        jid: jid.clone(),
        available: true,
    };
    site.dispatcher.wait_for(|event| *event == heard);
    let before = home.checks();
    site.schedule("client");
    wait_until("it checks again", || home.checks() > before);
    site.database.sql("UPDATE rhnServerAction SET status = 2");

    agent.kill();
    wait_until("it is seen no more", || site.state("client") == "offline");
}

#[test]
fn agent_works_under_an_existing_dispatcher_over_jabberd2() {
    agent_works_under_an_existing_dispatcher_over(ForeignSite::start(Jabberd2::start("localhost")));
}

#[test]
fn agent_works_under_an_existing_dispatcher_over_prosody() {
    let server = Prosody::start("localhost");
    agent_works_under_an_existing_dispatcher_over(ForeignSite::with_account(server, &dispatcher_account()));
}

/// ejabberd leaves the type `normal` out of the messages that it hands on: `osad` does without the word, and an existing dispatcher
/// does not.
#[test]
fn agent_under_an_existing_dispatcher_over_ejabberd_is_pushed_and_its_answer_is_not_heard() {
    let mut site = ForeignSite::with_account(Ejabberd::start("localhost"), &dispatcher_account());
    let home = home(&site, "client");
    let (mut agent, jid) = started(&site, &home);

    site.schedule("client");
    site.dispatcher.wait_for(|event| *event == Event::Asked(jid.clone()));
    wait_until("it checks", || home.checks() >= 2);
    site.database.sql("UPDATE rhnServerAction SET status = 2");

    // What it said before has been handed on by then.
    agent.kill();
    wait_until("it is seen no more", || site.state("client") == "offline");
    assert_eq!(site.dispatcher.count(|event| matches!(event, Event::Verified(_))), 0);
}
