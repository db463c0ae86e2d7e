//! The agent's actors against a dispatcher: enrolment, connection, checks, and crashes among them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use osa::actors::poller::messages::{AcknowledgeReports, SessionEvent};
use osa::actors::router::EndAccountSessions;
use osa::actors::supervision::Crash;
use osa::domain::ids::{RequestNumber, SystemId};
use osa::domain::push::client::{AgentKind, Announcement, ClientEvent, RunReport};

use crate::sessions::push;
use crate::support::agent::Agent;
use crate::support::client::TestClient;
use crate::support::dispatcher::{Dispatcher, settle};

const SYSTEM: SystemId = SystemId(1000);

fn reported(dispatcher: &Dispatcher) -> Vec<ClientEvent> {
    let events = dispatcher.events().into_iter().filter_map(|event| match event {
        SessionEvent::Reported { events, .. } => Some(events),
        _ => None,
    });
    events.flatten().collect()
}

async fn acknowledge(dispatcher: &Dispatcher, report: RunReport) {
    let opened = dispatcher.opened(SYSTEM).expect("it is open");
    let reports = vec![(SYSTEM, opened.connection, report.run)];
    dispatcher
        .router
        .send(AcknowledgeReports(reports))
        .await
        .expect("the router lives");
    settle().await;
}

/// An agent whose run after the start is over and acknowledged.
async fn idle(dispatcher: &Dispatcher) -> Agent {
    let agent = Agent::started(dispatcher, SYSTEM).await;
    let report = agent.launcher.end(0);
    settle().await;
    acknowledge(dispatcher, report).await;
    dispatcher.forget_all_but_openings();
    agent
}

#[actix::test]
async fn agent_enrols_connects_and_announces_its_first_run() {
    let dispatcher = Dispatcher::for_agents().await;

    let agent = Agent::started(&dispatcher, SYSTEM).await;

    let opened = dispatcher.opened(SYSTEM).expect("it is pushable");
    assert_eq!(opened.kind, AgentKind::New);
    let Announcement {
        running,
        pending,
        reports,
    } = opened.announcement.expect("it announced itself");
    let running = running.expect("the run after the start");
    assert_eq!((running.covers, pending, reports), (RequestNumber(0), None, Vec::new()));
    assert_eq!((agent.registrations(), agent.dials()), (1, 1));
}

#[actix::test]
async fn request_is_answered_run_reported_and_forgotten_when_recorded() {
    let dispatcher = Dispatcher::for_agents().await;
    let agent = idle(&dispatcher).await;

    push(&dispatcher, SYSTEM, 1).await;
    let report = agent.launcher.end(3);
    settle().await;
    let before = agent.launcher.unacknowledged();
    acknowledge(&dispatcher, report).await;

    let events = reported(&dispatcher);
    assert!(
        matches!(&events[..], [ClientEvent::Accepted(RequestNumber(1)), ClientEvent::Started(start), ClientEvent::Finished(end)]
            if start.run == report.run && *end == report && report.covers == RequestNumber(1)),
        "{events:?}"
    );
    assert_eq!((before, agent.launcher.unacknowledged()), (1, 0));
}

#[actix::test]
async fn agent_shows_how_its_connection_is_and_why_it_is_not() {
    let dispatcher = Dispatcher::for_agents().await;
    let agent = idle(&dispatcher).await;
    let first = agent.status.take();
    let connecting = first.get(1).cloned().expect("it connected");
    agent.dialer.failures.store(1, Ordering::SeqCst);
    let username = agent.last_jid().expect("registered");
    let username = username.split('@').next().expect("a node").to_owned();

    let router = &dispatcher.router;
    router
        .send(EndAccountSessions { username })
        .await
        .expect("the router lives");
    tokio::time::sleep(Duration::from_secs(60)).await;
    push(&dispatcher, SYSTEM, 1).await;
    agent.launcher.end(3);
    settle().await;

    assert_eq!(first[2..], ["logged in", "linked", "Exited(0)"], "{first:?}");
    assert!(connecting.starts_with("connecting to "), "{connecting}");
    let then = agent.status.take();
    let [down, again, failed, rest @ ..] = then.as_slice() else {
        panic!("{then:?}")
    };
    assert!(down.starts_with("down: ") && failed.starts_with("down: "), "{then:?}");
    let wanted = [connecting.as_str(), "logged in", "linked", "request 1", "Exited(3)"];
    assert_eq!((again.as_str(), rest), (wanted[0], &wanted.map(str::to_owned)[..]));
}

#[actix::test]
async fn requests_during_a_run_lead_to_one_more() {
    let dispatcher = Dispatcher::for_agents().await;
    let agent = idle(&dispatcher).await;

    for number in 1..=3 {
        push(&dispatcher, SYSTEM, number).await;
    }
    agent.launcher.end(0);
    settle().await;
    agent.launcher.end(0);
    settle().await;

    assert_eq!(agent.launcher.starts(), [0, 1, 3]);
}

#[actix::test]
async fn lost_connection_comes_back_without_a_new_registration() {
    let dispatcher = Dispatcher::for_agents().await;
    let agent = idle(&dispatcher).await;
    let username = agent
        .last_jid()
        .expect("registered")
        .split('@')
        .next()
        .expect("a node")
        .to_owned();
    agent.dialer.failures.store(4, Ordering::SeqCst);

    dispatcher
        .router
        .send(EndAccountSessions { username })
        .await
        .expect("the router lives");
    tokio::time::sleep(Duration::from_secs(60)).await;

    assert_eq!((agent.registrations(), agent.dials()), (1, 6));
    push(&dispatcher, SYSTEM, 1).await;
    assert_eq!(agent.launcher.starts(), [0, 1]);
}

#[actix::test]
async fn clone_that_takes_the_account_makes_the_agent_take_another() {
    let dispatcher = Dispatcher::for_agents().await;
    let agent = idle(&dispatcher).await;
    let before = agent.last_jid().expect("registered");
    let username = before.split('@').next().expect("a node");

    let mut rival = TestClient::new(dispatcher.network.connect().await);
    rival.start_tls().await;
    rival.log_in_with(username, "password000000000001").await;
    settle().await;

    let after = agent.last_jid().expect("registered");
    assert_ne!(after, before);
    assert_eq!(agent.registrations(), 1, "name and key stay");
    push(&dispatcher, SYSTEM, 1).await;
    assert_eq!(agent.launcher.starts(), [0, 1]);
}

#[actix::test]
async fn account_name_that_is_taken_is_given_up() {
    let dispatcher = Dispatcher::for_agents().await;
    let mut other = dispatcher.log_in("osad-0000000001").await;

    let agent = Agent::started(&dispatcher, SYSTEM).await;

    assert_eq!(
        agent.last_jid().as_deref(),
        Some("osad-0000000002@sat.example.com/osad")
    );
    assert!(dispatcher.opened(SYSTEM).is_some());
    other.say(" ").await;
}

#[actix::test]
async fn replaced_systemid_is_noticed_while_running() {
    let dispatcher = Dispatcher::for_agents().await;
    let agent = idle(&dispatcher).await;
    push(&dispatcher, SYSTEM, 500).await;
    push(&dispatcher, SYSTEM, 501).await;

    *agent.systemid.0.lock().expect("not poisoned") = Some(SystemId(2000));
    settle().await;

    let opened = dispatcher.opened(SystemId(2000)).expect("it is another system now");
    let announcement = opened.announcement.expect("it announced itself");
    assert_eq!(announcement.running.map(|run| run.covers), Some(RequestNumber(0)));
    assert_eq!(announcement.pending, None, "numbers of the other system mean nothing");
    assert_eq!(agent.registrations(), 2);
}

#[actix::test]
async fn systemid_that_is_gone_for_a_while_ends_nothing() {
    let dispatcher = Dispatcher::for_agents().await;
    let agent = idle(&dispatcher).await;

    *agent.systemid.0.lock().expect("not poisoned") = None;
    settle().await;
    push(&dispatcher, SYSTEM, 1).await;
    *agent.systemid.0.lock().expect("not poisoned") = Some(SYSTEM);
    settle().await;

    assert_eq!(agent.launcher.starts(), [0, 1]);
    assert_eq!((agent.registrations(), agent.dials()), (1, 1));
}

#[actix::test]
async fn missing_systemid_and_failing_registration_are_tried_again() {
    let dispatcher = Dispatcher::for_agents().await;
    let mut agent = Agent::new(&dispatcher, SYSTEM);
    *agent.systemid.0.lock().expect("not poisoned") = None;
    agent.registrar.failures.store(3, Ordering::SeqCst);

    agent.start().await;
    assert_eq!((agent.registrations(), agent.dials()), (0, 0));
    *agent.systemid.0.lock().expect("not poisoned") = Some(SYSTEM);
    tokio::time::sleep(Duration::from_secs(60)).await;

    assert!(dispatcher.opened(SYSTEM).is_some());
    assert_eq!((agent.registrations(), agent.dials()), (1, 1));
}

#[actix::test]
async fn dispatcher_that_does_not_know_the_agent_makes_it_register_again() {
    let dispatcher = Dispatcher::for_agents().await;
    let agent = idle(&dispatcher).await;
    let username = agent
        .last_jid()
        .expect("registered")
        .split('@')
        .next()
        .expect("a node")
        .to_owned();
    dispatcher.store.forget_clients();
    dispatcher.forget_events();

    dispatcher
        .router
        .send(EndAccountSessions { username })
        .await
        .expect("the router lives");
    tokio::time::sleep(Duration::from_secs(90)).await;

    assert_eq!(agent.registrations(), 2);
    assert!(dispatcher.opened(SYSTEM).is_some());
}

#[actix::test]
async fn clock_that_is_set_makes_the_agent_measure_its_drift_again() {
    let dispatcher = Dispatcher::for_agents().await;
    let agent = idle(&dispatcher).await;

    agent.clock.slow_by.store(3600, Ordering::SeqCst);
    push(&dispatcher, SYSTEM, 1).await;
    settle().await;
    assert_eq!(agent.registrations(), 2);
    push(&dispatcher, SYSTEM, 2).await;

    assert_eq!(agent.launcher.starts(), [0, 2]);
}

#[actix::test]
async fn crashed_check_runner_adopts_the_run_and_keeps_the_connection() {
    let dispatcher = Dispatcher::for_agents().await;
    let agent = idle(&dispatcher).await;
    push(&dispatcher, SYSTEM, 1).await;
    push(&dispatcher, SYSTEM, 2).await;

    agent.actors.check_runner.send(Crash).await.ok();
    settle().await;
    let report = agent.launcher.end(0);
    settle().await;

    let events = reported(&dispatcher);
    assert!(events.contains(&ClientEvent::Finished(report)), "{events:?}");
    assert_eq!(agent.launcher.starts(), [0, 1, 2], "the promise is kept");
    assert_eq!((agent.registrations(), agent.dials()), (1, 1));
}

#[actix::test]
async fn crashed_enroller_registers_nothing_and_keeps_the_connection() {
    let dispatcher = Dispatcher::for_agents().await;
    let agent = idle(&dispatcher).await;

    agent.actors.enroller.send(Crash).await.ok();
    settle().await;
    push(&dispatcher, SYSTEM, 1).await;

    assert_eq!(agent.launcher.starts(), [0, 1]);
    assert_eq!((agent.registrations(), agent.dials()), (1, 1));
    *agent.systemid.0.lock().expect("not poisoned") = Some(SystemId(2000));
    settle().await;
    assert!(dispatcher.opened(SystemId(2000)).is_some(), "it still watches");
}

#[actix::test]
async fn crashed_connector_loses_the_connection_and_gets_a_new_key() {
    let dispatcher = Dispatcher::for_agents().await;
    let agent = idle(&dispatcher).await;
    push(&dispatcher, SYSTEM, 1).await;

    agent.actors.connector.send(Crash).await.ok();
    let report = agent.launcher.end(0);
    settle().await;

    let opened = dispatcher.opened(SYSTEM).expect("it is back");
    assert_eq!(opened.announcement.expect("it announced itself").reports, [report]);
    push(&dispatcher, SYSTEM, 2).await;
    assert_eq!(agent.launcher.starts(), [0, 1, 2]);
    assert_eq!((agent.registrations(), agent.dials()), (2, 2));
}

#[actix::test]
async fn unreadable_records_delay_runs_and_connection_but_heal() {
    let dispatcher = Dispatcher::for_agents().await;
    let mut agent = Agent::new(&dispatcher, SYSTEM);
    agent.launcher.unreadable.store(3, Ordering::SeqCst);

    agent.start().await;
    tokio::time::sleep(Duration::from_secs(30)).await;

    assert_eq!(agent.launcher.starts(), [0]);
    assert!(dispatcher.opened(SYSTEM).is_some());
}

#[actix::test]
async fn stopped_agent_says_goodbye() {
    let dispatcher = Dispatcher::for_agents().await;
    let agent = idle(&dispatcher).await;

    agent.stop().await;
    settle().await;

    let closed = dispatcher
        .events()
        .into_iter()
        .any(|event| matches!(event, SessionEvent::Closed(_)));
    assert!(closed);
    assert_eq!(dispatcher.roster.counts().0, 0);
}
