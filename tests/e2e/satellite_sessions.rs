//! Existing agents beside a Satellite: who is at the other end, whether it answers, and what is shown of it.
#![expect(clippy::disallowed_methods, reason = "what is waited for happens in other processes")]

use std::sync::Arc;
use std::time::Duration;

use crate::beside_satellite::{BesideSatellite, online};
use crate::deployment::{Deployment, HURRY};
use crate::existing::{Event, ExistingAgent, Identity};
use crate::existing_agents::{answered, pushable, wait_until};

/// How long nothing must happen to be believed that nothing does; an absent row is read twice in it.
const QUIET: Duration = Duration::from_secs(2);
/// The pauses of the life cycle, divided by so much more where a quarter of an hour is waited for.
const GREAT_HURRY: u32 = 200;

/// A column of a system's row.
pub fn client(beside: &BesideSatellite, system: &str, column: &str) -> String {
    let id = beside.id(system);
    beside
        .database
        .query(&format!("SELECT {column} FROM rhnPushClient WHERE server_id = {id}"))
}

fn set_client(beside: &BesideSatellite, system: &str, columns: &str) {
    let id = beside.id(system);
    beside
        .database
        .sql(&format!("UPDATE rhnPushClient SET {columns} WHERE server_id = {id}"));
}

/// What the web interface does when somebody asks for a ping.
pub fn want_ping(beside: &BesideSatellite, system: &str) {
    set_client(
        beside,
        system,
        "last_ping_time = current_timestamp, next_action_time = NULL",
    );
}

/// How many requests of a system there were.
fn requests(beside: &BesideSatellite, system: &str) -> usize {
    let id = beside.id(system);
    let count = format!("SELECT count(*) FROM osa_request WHERE server_id = {id} AND sent_at IS NOT NULL");
    beside.database.query(&count).parse().unwrap()
}

#[test]
fn unresponsive_agent_is_shown_offline_and_asked_each_quarter_of_an_hour() {
    let mut beside = BesideSatellite::paced(&["migrate"], "poll_interval = \"100ms\"", GREAT_HURRY);
    let (_, mut agent) = online(&mut beside, "client");
    agent.stop(true);
    let action = beside.schedule(&["client"]);
    beside.log().wait_for("step_recorded", "Online(false)");
    wait_until("it is shown as offline", || beside.state("client") == "offline");

    let before = requests(&beside, "client");
    wait_until("it is asked again", || requests(&beside, "client") >= before + 2);
    let apart = beside.database.query(&format!(
        "SELECT max(sent_at) - (SELECT max(sent_at) FROM osa_request \
           WHERE sent_at < (SELECT max(sent_at) FROM osa_request)) FROM osa_request WHERE server_id = {}",
        beside.id("client")
    ));
    let quarter = Duration::from_secs(15 * 60) / GREAT_HURRY;
    assert!(apart.parse::<u128>().unwrap() >= quarter.as_millis(), "{apart} ms");
    agent.stop(false);

    wait_until("it is shown as online", || beside.state("client") == "online");
    wait_until("it is completed", || beside.is_completed(action));
    agent.wait_for(answered);
    assert_eq!(agent.count(|event| matches!(event, Event::Lost(_))), 0);
}

#[test]
fn ping_goes_beside_a_request_that_is_on_its_way() {
    // The dispatcher takes its time: the request is on its way for a minute.
    let mut beside = BesideSatellite::paced(&["migrate"], "poll_interval = \"100ms\"", 1);
    let identity = Identity {
        hurry: HURRY,
        ..beside.add("client")
    };
    let mut agent = pushable(&mut beside, identity);
    wait_until("it is shown as online", || beside.state("client") == "online");
    agent.stop(true);
    let action = beside.schedule(&["client"]);
    beside.log().wait_for("step_recorded", "Sent");

    want_ping(&beside, "client");
    let next = || client(&beside, "client", "next_action_time");
    wait_until("the ping is sent", || !next().is_empty());
    agent.stop(false);

    agent.wait_for(|event| *event == Event::Answered("ping"));
    wait_until("the ping is settled", || {
        client(&beside, "client", "last_ping_time").is_empty() && next().is_empty()
    });
    wait_until("the action is completed", || beside.is_completed(action));
    assert_eq!(beside.state("client"), "online");
}

#[test]
fn unanswered_ping_shows_its_agent_offline_until_it_speaks() {
    let mut beside = BesideSatellite::usual();
    let (_, mut agent) = online(&mut beside, "client");
    wait_until("it is shown as online", || beside.state("client") == "online");
    agent.stop(true);

    let begun = beside.database.query("SELECT current_timestamp - interval '1 second'");
    want_ping(&beside, "client");
    let awaited = format!(
        "next_action_time BETWEEN '{begun}'::timestamptz + interval '60 seconds' \
           AND current_timestamp + interval '60 seconds'"
    );
    wait_until("its answer is awaited", || client(&beside, "client", &awaited) == "t");
    set_client(
        &beside,
        "client",
        "next_action_time = current_timestamp - interval '1 second'",
    );
    wait_until("it is shown as offline", || beside.state("client") == "offline");
    agent.stop(false);

    agent.wait_for(|event| *event == Event::Answered("ping"));
    wait_until("it is shown as online", || beside.state("client") == "online");
    wait_until("the ping is settled", || {
        client(&beside, "client", "last_ping_time").is_empty()
    });
}

#[test]
fn agent_with_a_wrong_clock_is_believed() {
    let mut beside = BesideSatellite::usual();
    let identity = Identity {
        clock_ahead: -86_400,
        ..beside.add("client")
    };
    let mut agent = pushable(&mut beside, identity);

    let action = beside.schedule(&["client"]);
    agent.wait_for(answered);

    wait_until("it is completed", || beside.is_completed(action));
    let counted = "SELECT count(*) > 0 FROM osa_request WHERE state = 'received'";
    wait_until("its answer counts", || beside.database.query(counted) == "t");
}

#[test]
fn agent_with_a_wrong_clock_is_not_believed_where_clocks_must_be_right() {
    let push = "poll_interval = \"100ms\"\nexisting_drift_max = \"60s\"";
    let mut beside = BesideSatellite::start(&["migrate"], push);
    let [_right, wrong] = [("right", 30), ("wrong", -86_400)].map(|(name, clock_ahead)| {
        let identity = Identity {
            clock_ahead,
            check: Arc::new(|| 0),
            ..beside.add(name)
        };
        pushable(&mut beside, identity)
    });

    beside.schedule(&["right", "wrong"]);
    beside.log().wait_for("step_recorded", "Unanswered");

    let states = |name: &str| {
        let id = beside.id(name);
        beside.database.query(&format!(
            "SELECT DISTINCT state FROM osa_request WHERE server_id = {id} AND state = 'received'"
        ))
    };
    wait_until("the right one's answer counts", || states("right") == "received");
    assert_eq!(states("wrong"), "");
    assert_eq!(wrong.count(|event| matches!(event, Event::Lost(_))), 0);
}

/// As when somebody registered osad by hand: the session goes on with the old name and key.
#[test]
fn answer_under_a_name_that_is_gone_is_ignored() {
    let mut beside = BesideSatellite::usual();
    let (_, mut agent) = online(&mut beside, "client");
    let [name, key] = ["name", "shared_key"].map(|column| client(&beside, "client", column));
    agent.stop(true);
    let action = beside.schedule(&["client"]);
    beside.log().wait_for("step_recorded", "Sent");
    set_client(
        &beside,
        "client",
        "name = 'feedfeedfeedfeed', shared_key = 'another key'",
    );
    let since = beside
        .database
        .query("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint");
    let signed = format!("SELECT count(*) > 0 FROM osa_request WHERE claimed_at > {since} AND sent_at IS NOT NULL");
    wait_until("a request is signed with the new key", || {
        beside.database.query(&signed) == "t"
    });
    agent.stop(false);

    agent.wait_for(answered);
    beside.log().wait_for("stanza_ignored", "");
    assert_eq!(
        beside
            .database
            .query("SELECT count(*) FROM osa_request WHERE state = 'received'"),
        "0"
    );
    set_client(&beside, "client", &format!("name = '{name}', shared_key = '{key}'"));

    let again = beside.schedule(&["client"]);
    wait_until("pushes go on", || {
        beside.is_completed(again)
            && beside.is_completed(action)
            && beside
                .database
                .query("SELECT count(*) > 0 FROM osa_request WHERE state = 'received'")
                == "t"
    });
    assert_eq!(agent.count(|event| matches!(event, Event::Lost(_))), 0);
}

#[test]
fn connection_that_is_replaced_hands_over_its_system() {
    let mut beside = BesideSatellite::usual();
    let (identity, old) = online(&mut beside, "client");
    old.stop(true);
    let before = beside.schedule(&["client"]);
    beside.log().wait_for("step_recorded", "Sent");

    // The check of its start may fetch what was due before.
    let new = pushable(&mut beside, identity);
    let after = beside.schedule(&["client"]);

    wait_until("everything is completed", || {
        beside.is_completed(before) && beside.is_completed(after)
    });
    wait_until("the new connection was asked", || new.count(answered) > 0);
    wait_until("it is shown as online", || beside.state("client") == "online");
    old.kill();
    let last = beside.schedule(&["client"]);
    wait_until("pushes go on", || beside.is_completed(last));
    assert_eq!(
        beside.state("client"),
        "online",
        "the old connection's end changes nothing"
    );
    assert_eq!(new.count(|event| matches!(event, Event::Lost(_))), 0);
}

/// Satellites before the remedy of bug 590608 left the JID in the rows of profiles that are dead.
#[test]
fn of_several_rows_with_one_jid_the_living_one_is_pushed() {
    let mut beside = BesideSatellite::usual();
    beside.database.sql(
        "CREATE FUNCTION keep_jid() RETURNS trigger LANGUAGE plpgsql AS \
           $$ BEGIN NEW.jabber_id := OLD.jabber_id; RETURN NEW; END $$; \
         CREATE TRIGGER keep_jid BEFORE UPDATE ON rhnPushClient FOR EACH ROW \
           WHEN (NEW.jabber_id IS NULL AND OLD.jabber_id IS NOT NULL) EXECUTE PROCEDURE keep_jid()",
    );
    let [_, living, _] = ["older", "client", "newer"].map(|profile| beside.add(profile));
    let account = living.credentials.lock().unwrap().username.clone();
    let bury = |beside: &BesideSatellite, profile: &str| {
        let id = beside.id(profile);
        beside.database.sql(&format!(
            "INSERT INTO rhnPushClient (id, name, shared_key, server_id, jabber_id, state_id) \
             SELECT nextval('rhn_pclient_id_seq'), 'dead-{profile}', 'dead', {id}, '{account}@localhost/osad', id \
             FROM rhnPushClientState WHERE label = 'offline'"
        ));
    };
    let is_done = |beside: &BesideSatellite, action: i64| {
        let id = beside.id("client");
        let status = format!("SELECT status FROM rhnServerAction WHERE action_id = {action} AND server_id = {id}");
        beside.database.query(&status) == "2"
    };

    bury(&beside, "older");
    // Nobody was heard yet: the newest row may be alive.
    let mut agent = pushable(&mut beside, living.clone());
    let action = beside.schedule(&["older", "client"]);
    agent.wait_for(answered);
    wait_until("it is completed", || is_done(&beside, action));
    agent.kill();
    bury(&beside, "newer");
    // Now one was.
    let mut agent = pushable(&mut beside, living);
    let action = beside.schedule(&["client", "newer"]);
    agent.wait_for(answered);
    wait_until("it is completed", || is_done(&beside, action));

    let states = ["older", "client", "newer"].map(|profile| beside.state(profile));
    assert_eq!(states, ["offline", "online", "offline"]);
    assert_eq!((requests(&beside, "older"), requests(&beside, "newer")), (0, 0));
}

/// A Satellite may commit what an agent registered after the agent's presence has come.
#[test]
fn agent_whose_jid_appears_after_its_presence_is_pushed_from_then_on() {
    let beside = BesideSatellite::usual();
    beside.database.sql(
        "CREATE FUNCTION withhold_jid() RETURNS trigger LANGUAGE plpgsql AS \
           $$ BEGIN NEW.jabber_id := NULL; RETURN NEW; END $$; \
         CREATE TRIGGER withhold_jid BEFORE INSERT OR UPDATE ON rhnPushClient \
           FOR EACH ROW EXECUTE PROCEDURE withhold_jid()",
    );
    let mut agent = ExistingAgent::start(beside.add("client"));
    agent.wait_for(|event| *event == Event::Available);
    agent.wait_for(|event| matches!(event, Event::CheckEnded(_)));
    let action = beside.schedule(&["client"]);
    std::thread::sleep(QUIET);
    assert_eq!(beside.state("client"), "offline");
    assert_eq!(requests(&beside, "client"), 0);

    let events = agent.events();
    let login = events.iter().find_map(|event| match event {
        Event::LoggedIn { jid, .. } => Some(jid),
        _ => None,
    });
    beside.database.sql("DROP TRIGGER withhold_jid ON rhnPushClient");
    set_client(&beside, "client", &format!("jabber_id = '{}'", login.unwrap()));

    agent.wait_for(answered);
    wait_until("it is completed", || beside.is_completed(action));
    wait_until("it is shown as online", || beside.state("client") == "online");
    assert_eq!(agent.count(|event| matches!(event, Event::Lost(_))), 0);
}

/// An existing agent's answers carry no number: each is for the oldest request that it was sent, though another may be on
/// its way by then.
#[test]
fn late_answer_is_credited_to_the_request_that_was_given_up() {
    let mut beside = BesideSatellite::usual();
    let identity = Identity {
        check: Arc::new(|| 0),
        ..beside.add("client")
    };
    let agent = pushable(&mut beside, identity);
    agent.stop(true);
    beside.schedule(&["client"]);
    beside.log().wait_for("step_recorded", "Unanswered");
    beside.log().wait_for("step_recorded", "Sent");

    agent.answer_one();
    beside.log().wait_for("step_recorded", "Heard");
    beside.log().wait_for("step_recorded", "Unanswered");

    let requests = beside.requests("client");
    assert!(requests.len() > 1, "{requests:?}");
    assert!(
        requests.iter().all(|request| request.answered.is_none()),
        "{requests:?}"
    );
    agent.stop(false);
    wait_until("a later answer counts", || {
        let requests = beside.requests("client");
        requests.iter().any(|request| request.answered.is_some())
    });
    assert_eq!(agent.count(|event| matches!(event, Event::Lost(_))), 0);
}
