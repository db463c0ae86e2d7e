//! `osad` at a site's own XMPP server, whose dispatcher is an existing one.

use crate::agents::Home;
use crate::existing::{Credentials, Event};
use crate::existing_agents::wait_until;
use crate::foreign_site::ForeignSite;
use crate::servers::{Jabberd2, Prosody, XmppServer};

/// A home of an agent of ours for a new system.
fn home(site: &ForeignSite<impl XmppServer>, name: &str) -> Home {
    let identity = site.add(name);
    let bundle = identity.ca.parent().unwrap().join(name);
    Home::of(&identity, bundle, name)
}

fn checks(home: &Home) -> usize {
    home.runs().matches("finished").count()
}

/// It makes its own account, is seen, is pushed to, and is pushed to again after its server was away.
fn agent_works_under_an_existing_dispatcher_over(mut site: ForeignSite<impl XmppServer>) {
    let home = home(&site, "client");
    let mut agent = home.start();
    wait_until("it is seen", || site.state("client") == "online");
    wait_until("it has checked after its start", || checks(&home) == 1);
    let jid = site
        .database
        .query("SELECT jabber_id FROM rhnPushClient WHERE name <> 'dispatcher'");

    site.schedule("client");
    site.dispatcher.wait_for(|event| *event == Event::Verified(jid.clone()));
    wait_until("it checks", || checks(&home) >= 2);
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
    let before = checks(&home);
    site.schedule("client");
    wait_until("it checks again", || checks(&home) > before);
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
    let account = Credentials {
        username: "rhn-dispatcher-sat".to_owned(),
        password: "DispatcherTestPassword0123456789".to_owned(),
    };
    agent_works_under_an_existing_dispatcher_over(ForeignSite::with_account(Prosody::start("localhost"), &account));
}
