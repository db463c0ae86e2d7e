//! A site whose clients are spread over the nodes of an ejabberd cluster.

use crate::beside_satellite::BesideSatellite;
use crate::deployment::{Deployment, HURRY};
use crate::existing_agents::wait_until;
use crate::servers::{Ejabberd, XmppServer};
use crate::site::Site;

/// An action for the agent has been carried out by a check.
fn is_pushed(beside: &mut BesideSatellite, runs: &dyn Fn() -> usize) {
    let before = runs();
    beside.schedule(&["client"]);
    wait_until("a check has run", || runs() > before);
    wait_until("it is online", || beside.state("client") == "online");
}

/// The dispatcher's next login is at this node.
fn is_logged_in_at(beside: &mut BesideSatellite, node: &Ejabberd) {
    let address = node.address().to_string();
    let login = beside.log.wait_for("upstream_logged_in", "");
    assert!(login.to_string().contains(&address), "{login} is not at {address}");
}

/// The agent stays at its node, and the dispatcher goes to another when its own is lost.
#[test]
fn agent_at_one_node_is_pushed_by_a_dispatcher_at_another() {
    let site = Site::initialised();
    let [mut first, mut second] = Ejabberd::start_cluster(&site.path("data/tls"), "localhost");
    let nodes = [first.address(), second.address()];
    let mut beside = BesideSatellite::over_one_of(site, &second, &nodes, HURRY);
    is_logged_in_at(&mut beside, &first);
    let home = beside.new_home("client");
    let _agent = home.start();
    let runs = || home.runs().matches("finished").count();
    beside.log.wait_for("step_recorded", "Online(true)");
    wait_until("the check of its start has run", || runs() > 0);
    is_pushed(&mut beside, &runs);

    first.kill();
    is_logged_in_at(&mut beside, &second);
    is_pushed(&mut beside, &runs);

    first.launch();
    second.kill();
    is_logged_in_at(&mut beside, &first);
    wait_until("it is offline", || beside.state("client") == "offline");
    let before = runs();
    beside.schedule(&["client"]);
    second.launch();
    wait_until("it came back and ran its check", || runs() > before);
}
