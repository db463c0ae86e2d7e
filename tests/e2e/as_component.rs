//! The dispatcher as a component of the site's own XMPP server.

use std::fs;
use std::path::Path;

use crate::agents::Logged;
use crate::beside_satellite::BesideSatellite;
use crate::deployment::{Deployment, HURRY};
use crate::existing_agents::{pushable, wait_until};
use crate::over_servers::{Over, existing_agent_is_seen_and_cannot_be_pushed, new_agent_is_pushed};
use crate::servers::{COMPONENT, COMPONENT_SECRET, ComponentServer, Ejabberd, Prosody};
use crate::site::Site;

fn upstream(server: &impl ComponentServer, secret: &str) -> String {
    format!(
        "server = [\"{}\"]\ncomponent = \"{COMPONENT}\"\nsecret = \"{secret}\"\n",
        server.component()
    )
}

/// With this secret, which may be wrong.
fn with_secret<S: ComponentServer>(start: impl FnOnce(Option<&Path>, &str) -> S, secret: &str) -> Over<S> {
    let site = Site::initialised();
    let server = start(Some(&site.path("data/tls")), "localhost");
    let upstream = upstream(&server, secret);
    let beside = BesideSatellite::over_by(site, &server, ("component", &upstream), HURRY);
    Over { beside, server }
}

fn logged_in<S: ComponentServer>(start: impl FnOnce(Option<&Path>, &str) -> S) -> Over<S> {
    let mut over = with_secret(start, COMPONENT_SECRET);
    over.is_logged_in();
    over
}

#[test]
fn new_agent_is_pushed_by_a_component_of_ejabberd() {
    new_agent_is_pushed(logged_in(Ejabberd::start_under));
}

#[test]
fn new_agent_at_one_node_of_a_cluster_is_pushed_by_a_component_of_another() {
    let site = Site::initialised();
    let [server, other] = Ejabberd::start_cluster(&site.path("data/tls"), "localhost");
    let upstream = upstream(&other, COMPONENT_SECRET);
    let beside = BesideSatellite::over_by(site, &server, ("component", &upstream), HURRY);
    let mut over = Over { beside, server };
    over.is_logged_in();

    new_agent_is_pushed(over);
    drop(other);
}

#[test]
fn new_agent_is_pushed_by_a_component_of_prosody() {
    new_agent_is_pushed(logged_in(Prosody::start_under));
}

#[test]
fn existing_agent_with_an_account_is_pushed_by_a_component_of_prosody() {
    let mut over = logged_in(Prosody::start_under);

    over.pushes(true);

    let shown = over.beside.site.run(["status"]);
    let line = format!("localhost, as rhn-dispatcher-sat@{COMPONENT}/superclient; 0 of 1 registered");
    assert!(shown.out.contains(&line), "{shown:?}");
    let told = over.beside.database.query("SELECT jabber_id FROM rhnPushDispatcher");
    assert_eq!(told, format!("rhn-dispatcher-sat@{COMPONENT}/superclient"));
}

#[test]
fn existing_agent_is_seen_by_a_component_of_ejabberd_and_cannot_be_pushed() {
    existing_agent_is_seen_and_cannot_be_pushed(logged_in(Ejabberd::start_under));
}

fn wrong_secret_is_named_until_it_is_right(mut over: Over<impl ComponentServer>) {
    over.is_lost_because(&format!("refuses the secret of the component {COMPONENT}"));

    over.beside.log.process.kill();
    let config = fs::read_to_string(over.beside.site.config()).unwrap();
    fs::write(over.beside.site.config(), config.replace("wrong", COMPONENT_SECRET)).unwrap();
    over.beside.log = Logged::start(&over.beside.site);

    over.is_logged_in();
}

#[test]
fn wrong_secret_is_named_until_it_is_right_at_ejabberd() {
    wrong_secret_is_named_until_it_is_right(with_secret(Ejabberd::start_under, "wrong"));
}

#[test]
fn wrong_secret_is_named_until_it_is_right_at_prosody() {
    wrong_secret_is_named_until_it_is_right(with_secret(Prosody::start_under, "wrong"));
}

/// What is due meanwhile is carried out once, when both are back.
fn server_that_is_killed_and_comes_back_costs_nothing(mut over: Over<impl ComponentServer>) {
    let home = over.beside.new_home("client");
    let _agent = home.start();
    let runs = |what: &str| home.runs().matches(what).count();
    over.shown("online");
    wait_until("the check of its start has ended", || runs("finished") == 1);

    over.server.kill();
    over.is_lost_because("");
    over.shown("offline");
    let meanwhile = over.beside.schedule(&["client"]);
    home.close_gate();
    over.server.launch();
    over.is_logged_in();
    wait_until("it runs its check", || runs("started") == 2);
    over.beside.database.sql(&format!(
        "UPDATE rhnServerAction SET status = 2 WHERE action_id = {meanwhile}"
    ));
    home.open_gate();

    wait_until("its check has ended", || runs("finished") == 2);
    over.beside.becomes_quiet(&["client"]);
    over.shown("online");
    assert_eq!(runs("finished"), 2, "{}", home.runs());
}

#[test]
fn ejabberd_that_is_killed_and_comes_back_costs_its_component_nothing() {
    server_that_is_killed_and_comes_back_costs_nothing(logged_in(Ejabberd::start_under));
}

#[test]
fn prosody_that_is_killed_and_comes_back_costs_its_component_nothing() {
    server_that_is_killed_and_comes_back_costs_nothing(logged_in(Prosody::start_under));
}

/// Its server does not tell agents that a component is gone, and back.
#[test]
fn component_that_is_killed_and_comes_back_is_found_by_agents_that_stayed() {
    let mut over = logged_in(Prosody::start_under);
    let identity = over.add("client", true);
    let mut agent = pushable(&mut over.beside, identity);
    over.shown("online");

    over.beside.log.process.kill();
    let meanwhile = over.beside.schedule(&["client"]);
    over.beside.log = Logged::start(&over.beside.site);
    over.is_logged_in();

    wait_until("it is completed", || over.beside.is_completed(meanwhile));
    over.is_pushed(&mut agent);
}

/// The dispatcher is started anew with this configuration; an action that came between is due.
fn restarted(over: &mut Over<Prosody>, config: &str) -> i64 {
    over.beside.log.process.kill();
    let meanwhile = over.beside.schedule(&["client"]);
    fs::write(over.beside.site.config(), config).unwrap();
    over.beside.log = Logged::start(&over.beside.site);
    over.is_logged_in();
    meanwhile
}

/// From a client to a component: the same but for the transport.
fn configs(over: &Over<Prosody>) -> [String; 2] {
    let client = fs::read_to_string(over.beside.site.config()).unwrap();
    let component = client.replace("\"client\"", "\"component\"");
    let (before, rest) = component.split_once("[upstream]\n").unwrap();
    let (_, after) = rest.split_once("[push]").unwrap();
    let upstream = upstream(&over.server, COMPONENT_SECRET);
    let component = format!("{before}[upstream]\n{upstream}[push]{after}");
    [client, component]
}

/// docs/site-server.md: an existing agent obeys whoever has its key, whatever dispatchers it was told of.
#[test]
fn transport_changes_under_an_existing_agent_that_stays() {
    let mut over = Over::start(Prosody::start_under);
    let [client, component] = configs(&over);
    let identity = over.add("client", true);
    let mut agent = pushable(&mut over.beside, identity);

    for config in [component, client] {
        let meanwhile = restarted(&mut over, &config);
        wait_until("it is completed", || over.beside.is_completed(meanwhile));
        over.is_pushed(&mut agent);
    }
}
