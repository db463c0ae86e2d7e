//! The XMPP servers that sites have.

use std::net::SocketAddr;
use std::sync::Arc;

use minidom::Element;

use crate::cluster::Database;
use crate::existing::{Credentials, Event, ExistingAgent, ExistingDispatcher, Identity, answers_to_login};
use crate::existing_agents::{answered, wait_until};
use crate::foreign_site::{ForeignSite, dispatcher_account, dispatcher_row, identity};
use crate::servers::{Ejabberd, Jabberd2, Prosody, XmppServer, features};

const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'";
const REGISTER: &str = "<register xmlns='http://jabber.org/features/iq-register'/>";

fn serves_again_after_it_was_stopped_killed_and_lost_its_store(mut server: impl XmppServer) {
    let first = features(server.address(), "localhost").unwrap();
    server.stop();
    features(server.address(), "localhost").unwrap_err();
    server.delete_store();
    server.launch();
    server.kill();
    features(server.address(), "localhost").unwrap_err();
    server.launch();

    let last = features(server.address(), "localhost").unwrap();
    for offered in [first, last] {
        assert!(offered.contains(STARTTLS), "{offered}");
        assert!(offered.contains(REGISTER), "{offered}");
        assert!(!offered.contains("<required"), "{offered}");
    }
}

#[test]
fn jabberd2_serves_again_after_it_was_stopped_killed_and_lost_its_store() {
    serves_again_after_it_was_stopped_killed_and_lost_its_store(Jabberd2::start("localhost"));
}

#[test]
fn ejabberd_serves_again_after_it_was_stopped_killed_and_lost_its_store() {
    serves_again_after_it_was_stopped_killed_and_lost_its_store(Ejabberd::start("localhost"));
}

#[test]
fn prosody_serves_again_after_it_was_stopped_killed_and_lost_its_store() {
    serves_again_after_it_was_stopped_killed_and_lost_its_store(Prosody::start("localhost"));
}

/// From the first login of both to a check that was asked for, and to the end of the agent.
fn existing_peers_work_over(mut site: ForeignSite<impl XmppServer>, agent: Identity) {
    let jid = full_jid(&agent);
    let mut agent = ExistingAgent::start(agent);
    site.dispatcher.wait_for(heard(&jid, true));
    agent.wait_for(|event| matches!(event, Event::CheckEnded(_)));

    let action = site.schedule("client");
    agent.wait_for(answered);
    site.dispatcher.wait_for(|event| *event == Event::Verified(jid.clone()));
    wait_until("it is completed", || site.is_completed(action));
    assert_eq!(site.state("client"), "online");

    agent.interrupt();
    site.dispatcher.wait_for(heard(&jid, false));
    assert_eq!(site.state("client"), "offline");
    assert_eq!(site.dispatcher.count(|event| matches!(event, Event::Lost(_))), 0);
}

fn full_jid(agent: &Identity) -> String {
    format!("{}@{}/osad", agent.credentials.lock().unwrap().username, agent.host)
}

fn heard(jid: &str, available: bool) -> impl Fn(&Event) -> bool + use<> {
    let jid = jid.to_owned();
    let expected = Event::Heard { jid, available };
    move |event| *event == expected
}

/// A site with accounts for its dispatcher and one agent.
fn with_accounts<S: XmppServer>(server: S) -> (ForeignSite<S>, Identity) {
    let site = ForeignSite::with_account(server, &dispatcher_account());
    let agent = site.add("client");
    let Credentials { username, password } = agent.credentials.lock().unwrap().clone();
    site.server.add_account(&username, &password);
    (site, agent)
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[test]
fn existing_peers_register_and_work_over_jabberd2() {
    let site = ForeignSite::start(Jabberd2::start("localhost"));
    let agent = site.add("client");
    existing_peers_work_over(site, agent);
}

#[test]
fn existing_peers_work_from_a_proxys_jabberd2_to_the_one_of_its_satellite() {
    let authority = tempfile::tempdir().unwrap();
    let domains = ["satellite.example.com", "proxy.example.com"];
    let [satellite, proxy] = Jabberd2::start_joined(authority.path(), domains);
    let site = ForeignSite::start(satellite);
    let agent = site.add_behind(&proxy, "client");
    existing_peers_work_over(site, agent);
}

#[test]
fn existing_peers_work_over_prosody_with_accounts_made_for_them() {
    let (site, agent) = with_accounts(Prosody::start("localhost"));
    existing_peers_work_over(site, agent);
}

/// Its messages lose what the existing peers look for: compatibility contract, section 1.11.
#[test]
fn existing_peers_over_ejabberd_hear_of_each_other_but_not_from_each_other() {
    let (mut site, agent) = with_accounts(Ejabberd::start("localhost"));
    let jid = full_jid(&agent);
    let mut agent = ExistingAgent::start(agent);
    site.dispatcher.wait_for(heard(&jid, true));

    site.schedule("client");
    site.dispatcher.wait_for(|event| *event == Event::Asked(jid.clone()));

    agent.wait_for(|event| *event == Event::Ignored);
    assert_eq!(agent.count(answered), 0);
}

/// Where the server tells it its own presence, and it is not among its clients: compatibility contract, section 1.10.
fn existing_dispatcher_loses_its_connection_to_its_own_presence(server: impl XmppServer) {
    let database = Arc::new(Database::satellite());
    dispatcher_row(&server, &database, &dispatcher_account());

    let mut dispatcher = ExistingDispatcher::start(&identity(&server, nowhere()), &database);

    let lost = Event::Lost("invalid client rhn-dispatcher-sat@localhost/osad".to_owned());
    dispatcher.wait_for(|event| *event == lost);
    dispatcher.wait_for(|event| *event == lost);
}

#[test]
fn existing_dispatcher_loses_its_connection_to_its_own_presence_at_ejabberd() {
    existing_dispatcher_loses_its_connection_to_its_own_presence(Ejabberd::start("localhost"));
}

#[test]
fn existing_dispatcher_loses_its_connection_to_its_own_presence_at_prosody() {
    existing_dispatcher_loses_its_connection_to_its_own_presence(Prosody::start("localhost"));
}

#[test]
fn existing_agent_without_an_account_takes_the_refusal_of_ejabberd_for_a_login() {
    let server = Ejabberd::start("localhost");

    let mut agent = ExistingAgent::start(identity(&server, nowhere()));

    agent.wait_for(|event| matches!(event, Event::LoggedIn { .. }));
    let (_, end) = agent.wait_for(|event| matches!(event, Event::Lost(_)));
    assert!(
        matches!(&end, Event::Lost(why) if why.contains("<not-authorized")),
        "{end:?}"
    );
    assert_eq!(agent.count(|event| matches!(event, Event::Registered(_))), 0);
}

#[test]
fn existing_agent_without_an_account_is_told_so_by_jabberd2_with_a_number() {
    let server = Jabberd2::start("localhost");

    let answers = answers_to_login(&identity(&server, nowhere())).unwrap();

    assert!(
        String::from(&answers[0]).contains("<error code='401'/>"),
        "{:?}",
        answers[0]
    );
}

#[test]
fn existing_agent_without_an_account_gets_no_answer_from_prosody() {
    let server = Prosody::start("localhost");

    let answers = answers_to_login(&identity(&server, nowhere())).unwrap();

    let ids: Vec<Option<&str>> = answers.iter().map(|answer| answer.attr("id")).collect();
    assert_eq!(ids, [Some("form"), Some("last")], "{answers:?}");
    assert_eq!(answers[0].attr("type"), Some("result"), "{answers:?}");
}

/// Only as long as an administrator wants it.
fn account_is_accepted_until_it_is_removed(server: impl XmppServer) {
    let agent = identity(&server, nowhere());
    let Credentials { username, password } = agent.credentials.lock().unwrap().clone();
    let is_accepted = || {
        let is_result = |answer: &Element| answer.attr("id") == Some("proof") && answer.attr("type") == Some("result");
        answers_to_login(&agent).is_ok_and(|answers| answers.iter().any(is_result))
    };

    server.add_account(&username, &password);
    assert!(is_accepted(), "{}", server.log());

    server.remove_account(&username);
    assert!(!is_accepted(), "{}", server.log());
}

#[test]
fn account_at_jabberd2_is_accepted_until_it_is_removed() {
    let server = Jabberd2::start("localhost");
    let agent = identity(&server, nowhere());
    let Credentials { username, password } = agent.credentials.lock().unwrap().clone();

    server.add_account(&username, &password);
    let mut first = ExistingAgent::start(agent.clone());
    first.wait_for(|event| matches!(event, Event::LoggedIn { .. }));
    assert_eq!(first.count(|event| matches!(event, Event::Registered(_))), 0);
    first.kill();

    server.remove_account(&username);
    let mut second = ExistingAgent::start(agent);
    second.wait_for(|event| matches!(event, Event::Registered(_)));
    second.wait_for(|event| matches!(event, Event::LoggedIn { .. }));
}

#[test]
fn account_at_ejabberd_is_accepted_until_it_is_removed() {
    account_is_accepted_until_it_is_removed(Ejabberd::start("localhost"));
}

#[test]
fn account_at_prosody_is_accepted_until_it_is_removed() {
    account_is_accepted_until_it_is_removed(Prosody::start("localhost"));
}

#[test]
fn existing_dispatcher_removes_all_contacts_that_are_gone_with_one_request() {
    let server = Jabberd2::start("localhost");
    let account = "rhn-dispatcher-sat";
    let gone = ["osad-a@localhost", "osad-b@localhost", "osad-c@proxy.example.com"].map(str::to_owned);
    server.add_contacts(account, &gone);

    let site = ForeignSite::start(server);

    assert_eq!(site.dispatcher.count(|event| *event == Event::Removed(3)), 1);
    wait_until("they are gone", || site.server.contacts(account).is_empty());
}
