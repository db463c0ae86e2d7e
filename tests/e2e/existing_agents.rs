//! Existing agents, unmodified, on a real dispatcher: every rule of the push life cycle that concerns them.
#![expect(clippy::disallowed_methods, reason = "what is waited for happens in other processes")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::deployment::{Deployment, HURRY, LOST_SOON, Settings, Standalone};
use crate::existing::{Event, ExistingAgent, Identity};
use crate::site::PATIENCE;

/// A time of the life cycle, as it is kept here.
pub fn shortened(seconds: u64) -> Duration {
    Duration::from_secs(seconds) / HURRY
}

pub fn answered(event: &Event) -> bool {
    *event == Event::Answered("checkin")
}

/// Starts an agent; returns when the dispatcher may push it and the check of its start is over.
pub fn pushable(deployment: &mut impl Deployment, identity: Identity) -> ExistingAgent {
    let mut agent = ExistingAgent::start(identity);
    agent.wait_for(|event| *event == Event::Available);
    deployment.log().wait_for("step_recorded", "Online(true)");
    agent.wait_for(|event| matches!(event, Event::CheckEnded(_)));
    agent
}

pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub fn completed(deployment: &impl Deployment, action: i64) -> bool {
    deployment.states(action).iter().all(|state| state == "completed")
}

/// Two answers, far enough apart, must do for a result.
fn two_answers_complete_an_action(mut deployment: impl Deployment) {
    let identity = deployment.add("client");
    let mut agent = pushable(&mut deployment, identity);

    let action = deployment.schedule(&["client"]);
    agent.wait_for(answered);
    wait_until("it is completed", || completed(&deployment, action));

    let requests = deployment.requests("client");
    let answers: Vec<_> = requests.iter().filter_map(|request| request.answered).collect();
    let [first, .., last] = answers[..] else {
        panic!("two answers are needed: {requests:?}")
    };
    assert!(last.saturating_since(first) >= shortened(60), "{requests:?}");
    std::thread::sleep(shortened(180));
    assert_eq!(deployment.requests("client"), requests, "nothing is left to ask for");
}

#[test]
fn two_answers_complete_an_action_of_a_standalone_deployment() {
    two_answers_complete_an_action(Standalone::usual());
}

/// A request that comes while the check runs is answered and forgotten, and made again.
pub fn request_forgotten_in_a_check_is_made_again(mut deployment: impl Deployment) {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap();
    let identity = deployment.add("client");
    let identity = Identity {
        check: {
            let (gate, check) = (Arc::clone(&gate), Arc::clone(&identity.check));
            Arc::new(move || {
                if gate.try_lock().is_ok() {
                    return check();
                }
                // It asked for work before there was any.
                drop(gate.lock());
                0
            })
        },
        ..identity
    };
    let mut agent = ExistingAgent::start(identity);
    agent.wait_for(|event| *event == Event::CheckStarted);
    deployment.log().wait_for("step_recorded", "Online(true)");

    let action = deployment.schedule(&["client"]);
    agent.wait_for(|event| *event == Event::Forgotten);
    drop(closed);

    agent.wait_for(|event| matches!(event, Event::CheckEnded(0)));
    agent.wait_for(answered);
    agent.wait_for(|event| *event == Event::CheckStarted);
    wait_until("it is completed", || completed(&deployment, action));
}

#[test]
fn request_forgotten_in_a_check_of_a_standalone_deployment_is_made_again() {
    request_forgotten_in_a_check_is_made_again(Standalone::usual());
}

/// Three requests and a ping without an answer: unresponsive, but the connection stays, and any word ends it.
pub fn silent_agent_becomes_unresponsive_and_comes_back(mut deployment: impl Deployment) {
    let identity = deployment.add("client");
    let mut agent = pushable(&mut deployment, identity);
    agent.stop(true);

    let action = deployment.schedule(&["client"]);
    for _ in 0..3 {
        deployment.log().wait_for("step_recorded", "Unanswered");
    }
    deployment.log().wait_for("step_recorded", "Online(false)");
    agent.stop(false);

    deployment.log().wait_for("step_recorded", "Online(true)");
    agent.wait_for(|event| *event == Event::Answered("ping"));
    wait_until("it is completed", || completed(&deployment, action));
    let lost = agent.count(|event| matches!(event, Event::Lost(_)));
    assert_eq!(lost, 0, "the connection was kept");
}

#[test]
fn silent_agent_of_a_standalone_deployment_becomes_unresponsive_and_comes_back() {
    silent_agent_becomes_unresponsive_and_comes_back(Standalone::usual());
}

/// A new session is asked at once, however long the pause of the old one was; its name and key are new. Of a dispatcher
/// as in [`LOST_SOON`], with agents in a hurry.
pub fn reconnect_voids_the_pause_and_rotates_the_key(mut deployment: impl Deployment) {
    let added = deployment.add("client");
    let identity = Identity {
        // The check of the agent's start could fetch the action before it is asked for.
        check: Arc::new(|| 0),
        ..added
    };
    let mut agent = pushable(&mut deployment, identity.clone());
    let enrolled = |event: &Event| matches!(event, Event::Enrolled(_));
    let first = agent.events().into_iter().find(enrolled).unwrap();
    agent.stop(true);
    deployment.schedule(&["client"]);
    deployment.log().wait_for("step_recorded", "Unanswered");
    let begun = Instant::now();
    agent.kill();

    agent = ExistingAgent::start(identity);
    let (_, second) = agent.wait_for(enrolled);
    let (at, _) = agent.wait_for(answered);

    assert_ne!(first, second, "each registration has a name and a key of its own");
    let took = at - begun;
    assert!(took < Duration::from_secs(55), "not after the old pause: {took:?}");
}

#[test]
fn reconnect_of_a_standalone_deployment_voids_the_pause_and_rotates_the_key() {
    let deployment = Standalone::start(&Settings {
        hurry: 1,
        push: LOST_SOON,
        ..Settings::default()
    });
    reconnect_voids_the_pause_and_rotates_the_key(deployment.with_quick_agents());
}

/// With one slot, the second system is asked when the first one's answer is 30 s old.
pub fn slot_is_held_for_30_s_after_an_answer(mut deployment: impl Deployment) {
    let identities = ["one", "two"].map(|name| deployment.add(name));
    let mut agents = identities.map(|identity| pushable(&mut deployment, identity));

    let action = deployment.schedule(&["one", "two"]);
    agents.iter_mut().for_each(|agent| drop(agent.wait_for(answered)));
    wait_until("it is completed", || completed(&deployment, action));

    let [one, two] = ["one", "two"].map(|system| deployment.requests(system));
    for (held, other) in [(&one, &two), (&two, &one)] {
        let slots = held
            .iter()
            .filter_map(|request| Some((request.claimed, request.answered?)));
        let slots: Vec<_> = slots.map(|(from, answered)| from..answered + shortened(30)).collect();
        let early = other
            .iter()
            .find(|request| slots.iter().any(|slot| slot.contains(&request.claimed)));
        assert_eq!(early, None, "within {slots:?}");
        assert!(!slots.is_empty());
    }
}

#[test]
fn slot_of_a_standalone_deployment_is_held_for_30_s_after_an_answer() {
    slot_is_held_for_30_s_after_an_answer(Standalone::start(&Settings {
        push: "poll_interval = \"100ms\"\nnotify_threshold = 1",
        ..Settings::default()
    }));
}

/// Two machines with one account: the older session is told, and makes up an account of its own.
pub fn clone_takes_an_account_of_its_own(mut deployment: impl Deployment) {
    let original = deployment.add("original");
    let account = original.credentials.lock().unwrap().clone();
    let clone = Identity {
        credentials: Arc::new(Mutex::new(account.clone())),
        ..deployment.add("clone")
    };
    let mut first = pushable(&mut deployment, original.clone());
    let mut second = pushable(&mut deployment, clone);

    first.wait_for(|event| *event == Event::Lost("conflict".into()));
    first.wait_for(|event| *event == Event::Available);
    let action = deployment.schedule(&["original", "clone"]);

    wait_until("both are completed", || completed(&deployment, action));
    assert_ne!(*original.credentials.lock().unwrap(), account);
    second.wait_for(answered);
    assert_eq!(second.count(|event| matches!(event, Event::Lost(_))), 0);
}

#[test]
fn clone_in_a_standalone_deployment_takes_an_account_of_its_own() {
    clone_takes_an_account_of_its_own(Standalone::usual());
}

pub fn agent_whose_account_was_reset_registers_it_again(mut deployment: impl Deployment) {
    let identity = deployment.add("client");
    let name = identity.credentials.lock().unwrap().username.clone();
    let mut agent = pushable(&mut deployment, identity);
    assert_eq!(agent.count(|event| matches!(event, Event::Registered(_))), 1);

    let ended = deployment.site().run(["accounts", "reset", &name]);
    assert_eq!(ended.code, Some(0), "{ended:?}");

    agent.wait_for(|event| matches!(event, Event::Lost(_)));
    agent.wait_for(|event| *event == Event::Registered(name.clone()));
    agent.wait_for(|event| *event == Event::Available);
}

pub fn agent_with_a_wrong_password_tries_again_and_never_ends(mut deployment: impl Deployment) {
    let identity = deployment.add("client");
    let right = identity.credentials.lock().unwrap().clone();
    pushable(&mut deployment, identity.clone()).kill();
    identity.credentials.lock().unwrap().password = "another password 123".into();

    let mut agent = ExistingAgent::start(identity.clone());
    for _ in 0..2 {
        let (_, lost) = agent.wait_for(|event| matches!(event, Event::Lost(_)));
        assert_eq!(lost, Event::Lost("error 403".into()));
    }
    assert_eq!(agent.count(|event| matches!(event, Event::Exited(_))), 0);

    *identity.credentials.lock().unwrap() = right;
    agent.wait_for(|event| *event == Event::Available);
}

pub fn agent_that_says_goodbye_is_offline_at_once_and_one_that_dies_soon(mut deployment: impl Deployment) {
    let identity = deployment.add("client");

    let agent = pushable(&mut deployment, identity.clone());
    agent.interrupt();
    deployment.log().wait_for("step_recorded", "Online(false)");

    let agent = pushable(&mut deployment, identity);
    agent.kill();
    deployment.log().wait_for("step_recorded", "Online(false)");
}

#[test]
fn agent_with_a_new_systemid_is_another_system() {
    let mut deployment = Standalone::usual();
    let identity = deployment.add("client");
    let other = deployment.add("other").systemid.lock().unwrap().clone();
    let mut agent = pushable(&mut deployment, identity.clone());

    *identity.systemid.lock().unwrap() = other;
    agent.wait_for(|event| *event == Event::Available);
    let action = deployment.schedule(&["other"]);

    wait_until("it is completed", || completed(&deployment, action));
}

pub fn failing_check_is_started_again_by_the_agent_itself(mut deployment: impl Deployment) {
    let left = Arc::new(Mutex::new(3));
    let identity = Identity {
        check: {
            let left = Arc::clone(&left);
            Arc::new(move || {
                let mut left = left.lock().unwrap();
                *left -= 1;
                i32::from(*left > 0)
            })
        },
        ..deployment.add("client")
    };

    let mut agent = pushable(&mut deployment, identity);
    agent.wait_for(|event| *event == Event::CheckEnded(0));

    assert_eq!(agent.count(|event| *event == Event::CheckStarted), 3);
}

#[test]
fn ping_is_answered_by_an_existing_agent() {
    let mut deployment = Standalone::usual();
    let identity = deployment.add("client");
    let mut agent = pushable(&mut deployment, identity);
    let checks = agent.count(|event| *event == Event::CheckStarted);

    let ended = deployment.site.run(["ping", "client"]);

    assert_eq!(ended.code, Some(0), "{ended:?}");
    agent.wait_for(|event| *event == Event::Answered("ping"));
    assert_eq!(agent.count(|event| *event == Event::CheckStarted), checks);
}

/// It reads one record per pause: what is sent without need makes it late.
pub fn idle_agent_is_sent_nothing_and_a_request_is_one_record(mut deployment: impl Deployment) {
    let identity = deployment.add("client");
    let mut agent = pushable(&mut deployment, identity);
    // Nothing but white space comes in a record without a stanza.
    let is_record = |event: &Event| matches!(event, Event::Record(1..));
    assert_eq!(
        agent.count(|event| matches!(event, Event::Subscribed(_))),
        0,
        "the roster says both"
    );
    std::thread::sleep(shortened(60));
    assert_eq!(agent.count(is_record), 0, "{:?}", agent.events());

    deployment.schedule(&["client"]);
    agent.wait_for(answered);

    // Before the first answer nothing else was read, however much may wait.
    let mut events = agent.events();
    events.truncate(events.iter().position(answered).unwrap());
    events.retain(is_record);
    assert_eq!(events, [Event::Record(1)]);
}

/// Approval and the dispatcher's presence come in one record, and nothing else follows.
pub fn answer_to_a_subscription_is_one_record(mut deployment: impl Deployment) {
    let identity = Identity {
        subscribes: true,
        ..deployment.add("client")
    };
    let agent = pushable(&mut deployment, identity);
    let is_record = |event: &Event| matches!(event, Event::Record(1..));
    wait_until("it is answered", || agent.count(is_record) > 0);
    std::thread::sleep(shortened(60));

    let mut records = agent.events();
    records.retain(is_record);
    assert_eq!(records, [Event::Record(2)]);
}

#[test]
fn agent_of_a_standalone_deployment_whose_account_was_reset_registers_it_again() {
    agent_whose_account_was_reset_registers_it_again(Standalone::usual());
}

#[test]
fn agent_of_a_standalone_deployment_with_a_wrong_password_tries_again_and_never_ends() {
    agent_with_a_wrong_password_tries_again_and_never_ends(Standalone::usual());
}

#[test]
fn agent_of_a_standalone_deployment_that_says_goodbye_is_offline_at_once_and_one_that_dies_soon() {
    agent_that_says_goodbye_is_offline_at_once_and_one_that_dies_soon(Standalone::usual());
}

#[test]
fn failing_check_in_a_standalone_deployment_is_started_again_by_the_agent_itself() {
    failing_check_is_started_again_by_the_agent_itself(Standalone::usual());
}

#[test]
fn idle_agent_of_a_standalone_deployment_is_sent_nothing_and_a_request_is_one_record() {
    idle_agent_is_sent_nothing_and_a_request_is_one_record(Standalone::usual());
}

#[test]
fn answer_to_a_subscription_in_a_standalone_deployment_is_one_record() {
    answer_to_a_subscription_is_one_record(Standalone::usual());
}
