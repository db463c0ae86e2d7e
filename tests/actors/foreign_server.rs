//! The agent's actors over a site's own XMPP server.

use std::time::Duration;

use osa::domain::ids::SystemId;
use osa::protocol::osa::action::Action;

use crate::support::agent::Agent;
use crate::support::dispatcher::{Dispatcher, settle};
use crate::support::foreign::{DISPATCHER, ForeignServer, original_ping, original_request, pass};

const SYSTEM: SystemId = SystemId(1000);
const BARE: &str = "rhn-dispatcher-sat@sat.example.com";
const BOTH: &str = "<item jid='rhn-dispatcher-sat@sat.example.com' subscription='both'/>";
const HOUR: Duration = Duration::from_secs(3600);

/// A server, and an agent that is to connect to it. The dispatcher is there for its store.
async fn site() -> (ForeignServer, Agent) {
    let dispatcher = Dispatcher::for_agents().await;
    let (server, dialer) = ForeignServer::new();
    let mut agent = Agent::new(&dispatcher, SYSTEM).through([dialer]);
    agent.start().await;
    (server, agent)
}

fn presence(attributes: &str) -> String {
    format!("<presence from='{DISPATCHER}' {attributes}/>")
}

#[actix::test]
async fn agent_subscribes_approves_and_keeps_silent_to_strangers() {
    let (server, _agent) = site().await;

    let (mut agent, mut said) = server.accept("").await;
    agent
        .say("<presence from='someone@sat.example.com' type='subscribe' id='1'/>")
        .await;
    agent
        .say("<presence from='someone@sat.example.com/x' type='probe'/>")
        .await;
    agent
        .say(&format!("<presence from='{BARE}' type='subscribe' id='2'/>"))
        .await;
    agent.say(&presence("")).await;
    settle().await;
    said += &agent.hear("type='subscribed'").await;
    said += &pass(&mut agent, Duration::from_secs(10)).await;

    let asked = said.matches("type='subscribe'").count();
    assert_eq!(said.matches("type='subscribed'").count(), 1, "{said}");
    assert!(
        (1..=2).contains(&asked) && said.contains(&format!("to='{BARE}'")),
        "{said}"
    );
    assert!(!said.contains("someone"), "{said}");
}

#[actix::test]
async fn agent_waits_for_a_dispatcher_that_is_away_and_greets_it() {
    let (server, osad) = site().await;
    let (mut agent, _) = server.accept(BOTH).await;

    let said = pass(&mut agent, 3 * HOUR).await;
    assert!(!said.contains("<agent"), "nobody is there to hear it: {said}");
    agent.say(&presence("")).await;
    agent.hear("<agent").await;
    agent.say(&presence("type='unavailable'")).await;
    pass(&mut agent, 3 * HOUR).await;
    agent.say(&presence("")).await;
    agent.hear("<agent").await;

    assert!(server.is_left_alone().await);
    assert_eq!(osad.registrations(), 1);
}

#[actix::test]
async fn dispatcher_that_does_not_come_back_makes_the_agent_register_again_after_hours() {
    let (server, osad) = site().await;
    let (mut agent, _) = server.accept(BOTH).await;
    agent.say(&presence("")).await;
    agent.say(&presence("type='unavailable'")).await;

    let rest = pass(&mut agent, 6 * HOUR).await;
    assert!(rest.ends_with("</stream:stream>"), "{rest}");
    server.accept(BOTH).await;

    assert_eq!(osad.registrations(), 2);
}

#[actix::test]
async fn dispatcher_that_is_there_and_never_speaks_makes_the_agent_register_again_after_hours() {
    let (server, osad) = site().await;
    let (mut agent, _) = server.accept(BOTH).await;
    agent.say(&presence("")).await;

    pass(&mut agent, HOUR * 39 / 10).await;
    assert_eq!(osad.registrations(), 1);
    let rest = pass(&mut agent, 2 * HOUR).await;
    assert!(rest.ends_with("</stream:stream>"), "{rest}");

    server.accept(BOTH).await;
    assert_eq!(osad.registrations(), 2);
}

#[actix::test]
async fn link_is_shown_as_it_is_while_the_dispatcher_comes_and_goes() {
    let (server, osad) = site().await;
    let (mut agent, _) = server.accept(BOTH).await;
    let jid = osad.last_jid().expect("registered");
    let now = || osa::ports::clock::Clock::now(&*osad.clock).as_secs();
    osad.status.take();

    agent.say(&presence("")).await;
    agent.say(&original_ping(&jid, "1", now())).await;
    agent.hear("response/ping").await;
    agent.say(&presence("type='unavailable'")).await;
    settle().await;
    agent.say(&presence("")).await;
    agent.say(&original_ping(&jid, "2", now())).await;
    agent.hear("response/ping").await;

    assert_eq!(osad.status.take(), ["linked", "logged in", "linked"]);
    assert!(server.is_left_alone().await);
}

/// Such a dispatcher learns of no failure.
#[actix::test]
async fn agent_under_an_original_dispatcher_retries_by_itself_and_takes_each_request_once() {
    let (server, osad) = site().await;
    let (mut agent, _) = server.accept(BOTH).await;
    let jid = osad.last_jid().expect("registered");
    let now = || osa::ports::clock::Clock::now(&*osad.clock).as_secs();
    let started = || osad.launcher.starts().len();
    agent.say(&presence("")).await;
    osad.launcher.end(0);
    let request = original_request(Action::CheckIn, &jid, "1", now());
    agent.say(&request).await;
    agent.hear("response/checkin").await;

    agent.say(&request).await;
    let answered = pass(&mut agent, Duration::from_secs(10)).await;
    assert!(!answered.contains("response"), "{answered}");

    for wait in [15, 30, 60, 120, 240, 300, 300] {
        let before = started();
        osad.launcher.end(1);
        pass(&mut agent, Duration::from_secs(wait - 1)).await;
        assert_eq!(started(), before, "not before {wait} s");
        pass(&mut agent, Duration::from_secs(2)).await;
        assert_eq!(started(), before + 1, "after {wait} s");
    }
    let last = started();
    osad.launcher.end(0);
    pass(&mut agent, HOUR).await;
    assert_eq!(started(), last);
}

#[actix::test]
async fn unknown_dispatcher_makes_the_agent_register_again_but_not_often() {
    let (server, osad) = site().await;
    let asks = "<presence from='rhn-dispatcher-sat-1@sat.example.com' type='subscribe'/>";
    let (mut agent, _) = server.accept(BOTH).await;

    agent.say(asks).await;
    let said = agent.hear("</stream:stream>").await;
    assert!(!said.contains("subscribed"), "{said}");
    drop(agent);
    let (mut agent, _) = server.accept(BOTH).await;
    agent.say(asks).await;
    agent.say(asks).await;
    pass(&mut agent, Duration::from_secs(550)).await;
    assert_eq!(osad.registrations(), 2);
    let rest = pass(&mut agent, Duration::from_secs(200)).await;
    assert!(rest.ends_with("</stream:stream>"), "it is not forgotten: {rest}");
    server.accept(BOTH).await;

    assert_eq!(osad.registrations(), 3);
}
