//! The same cases from the other side: what the existing agent said there, into our server.
//!
//! Its stanzas are recorded as they were parsed, without the login that came before; that is written here as the other
//! recordings have it, with the accounts of these.

use proptest::prelude::*;

use super::reactions::{HOST, PEER, case, is_message, signed_anew, signed_in, stanza};
use super::*;

/// What an agent says before its presence.
fn login(name: &str, password: &str) -> Vec<String> {
    let user = format!("<query xmlns = 'jabber:iq:auth' ><username>{name}</username>");
    vec![
        format!("<iq type='get' id='auth-get-1-0'>{user}</query></iq>"),
        format!(
            "<iq type='set' id='auth-set-1-1'>{user}<resource>osad</resource><password>{password}</password></query></iq>"
        ),
        "<iq type='get' id='iq-request-1-2'><query xmlns = 'jabber:iq:roster'  /></iq>".to_owned(),
    ]
}

/// Our server with an agent of the recording, inside TLS.
fn served(accounts: &[(&str, &str)], said: Vec<String>, cut: &Cut) -> Replay {
    let header = format!(
        "<?xml version='1.0' encoding='UTF-8'?><stream:stream to='{HOST}' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
    );
    let config = Arc::new(ServerConfig::new(HOST, [9; 32]));
    let mut replay = Replay {
        server: ServerStream::new(config, Seed::new([4; 32]), Instant::now()),
        accounts: BTreeMap::new(),
        trace: Vec::new(),
        messages: Vec::new(),
        text: String::new(),
        wants_tls: false,
    };
    for (name, password) in accounts {
        replay.create(name, password);
    }
    let starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls' />".to_owned();
    replay.feed(cut, &[header.clone(), starttls]);
    assert!(replay.wants_tls);
    replay.server.tls_established(None, Instant::now());
    let said: Vec<String> = std::iter::once(header).chain(said).collect();
    replay.feed(cut, &said);
    replay
}

/// What our dispatcher hears of these answers to as many requests, or to pings.
fn heard(jid: &str, messages: &[Element]) -> Vec<ClientEvent> {
    let row = Client {
        system: SystemId(1_000_010_000),
        name: ClientName(signed_in(&messages[0]).client_id.unwrap()),
        shared_key: Secret::new(SHARED_KEY),
        jid: jid.to_owned(),
        announced: false,
    };
    let now = Timestamp::from_secs(1_795_336_465);
    let mut talk = DispatcherTalk::new(Arc::from(PEER), jid, 1);
    talk.handle_presence(now, &Element::bare("presence", "jabber:client"));
    talk.handle_client(now, &RowQuestion::ClientByJid(jid.to_owned()), Some(row.clone()));
    for number in (1..).take(messages.len()) {
        talk.request(now, RequestNumber(number), &row).unwrap();
    }
    messages.iter().for_each(|message| talk.handle_message(now, message));
    let outputs = std::iter::from_fn(|| talk.poll_output());
    outputs
        .filter_map(|output| match output {
            dispatcher_talk::Output::Event(_, event) => Some(event),
            dispatcher_talk::Output::Ignored(why) => panic!("{why}"),
            _ => None,
        })
        .collect()
}

/// Answers that came late, twice or for a repeated request included.
fn our_server_takes_what_the_existing_agent_answered(cut: &Cut) {
    let check_ins = |count| {
        (1..=count)
            .map(|number| ClientEvent::Accepted(RequestNumber(number)))
            .collect()
    };
    let pings = |count| vec![ClientEvent::Ponged; count];
    let cases: [(&str, &str, Vec<ClientEvent>); 10] = [
        ("Valid checkin request one second", "base", check_ins(1)),
        ("correctly signed, timestamp one day old", "old", check_ins(1)),
        ("the very same stanza sent twice", "replay", check_ins(2)),
        ("request that carries the newer mark", "delay203", check_ins(1)),
        ("ping request; a second one", "ping", pings(2)),
        ("four ping requests", "queue", pings(4)),
        ("three checkin requests in one", "burst", check_ins(3)),
        ("checkin request, and a second one", "busy", check_ins(2)),
        ("XMPP ping (XEP-0199)", "xmppping", check_ins(1)),
        ("server offers <digest/>", "digest", check_ins(1)),
    ];
    for (heading, name, expected) in cases {
        let (username, password) = (format!("osad-{name}"), format!("pw-{name}"));
        let answers: Vec<String> = case(heading, 'C')
            .into_iter()
            .filter(is_message)
            .map(signed_anew)
            .collect();
        let presence = std::iter::once("<presence />".to_owned());
        let said = login(&username, &password).into_iter().chain(presence);
        let said = said.chain(answers.iter().cloned()).collect();
        let replay = served(&[(&username, &password)], said, cut);

        let jid = format!("{username}@{HOST}/osad");
        let looked_up = format!("looked up {username}");
        let trace = [
            looked_up.clone(),
            looked_up,
            format!("logged in {jid}"),
            "available".to_owned(),
        ];
        assert_eq!(replay.trace[..4], trace, "{heading}");
        let as_sent: Vec<Element> = answers.iter().map(|text| stanza(text)).collect();
        let said = |messages: &[Element]| messages.iter().map(signed_in).collect::<Vec<_>>();
        assert_eq!(said(&replay.messages), said(&as_sent), "{heading}");
        assert_eq!(heard(&jid, &replay.messages), expected, "{heading}");
    }
}

/// On a conflict the agent comes back under an account that it made up.
fn both_sessions_of_the_agent_that_met_a_conflict_are_served(cut: &Cut) {
    let said: Vec<&str> = case("stream error \"conflict\"", 'C');
    let logins: Vec<&&str> = said
        .iter()
        .filter(|line| line.starts_with("(jabber:iq:auth set)"))
        .collect();
    let field = |line: &str, name: &str| between(line, &format!("'{name}': '"), "'").to_owned();
    let sessions = [&said[2..4], &said[6..]];
    for (line, session) in logins.iter().zip(sessions) {
        let (username, password) = (field(line, "username"), field(line, "password"));
        let stanzas = session.iter().map(|text| match is_message(text) {
            true => signed_anew(text),
            false => (*text).to_owned(),
        });
        let said = login(&username, &password).into_iter().chain(stanzas).collect();
        let replay = served(&[(&username, &password)], said, cut);

        let jid = format!("{username}@{HOST}/osad");
        assert_eq!(replay.trace[2..4], [format!("logged in {jid}"), "available".to_owned()]);
        assert!(replay.text.contains("<presence type='subscribed'"), "{}", replay.text);
        if !replay.messages.is_empty() {
            assert_eq!(heard(&jid, &replay.messages), [ClientEvent::Accepted(RequestNumber(1))]);
        }
    }
    assert_eq!(logins.len(), 2);
}

/// The recording's passwords are made up, and shorter than those of agents: 20 digits. Our server lets nobody register
/// with such a one, since what it keeps of a password is safe for random ones only; who has an account can log in with it.
fn recorded_registration_is_refused_for_its_short_password_only(cut: &Cut) {
    let heading = "unknown account: error with code='401'";
    let said = case(heading, 'C');
    let form = said.iter().find(|line| line.contains("'instructions'")).unwrap();
    for (password, trace) in [
        (between(form, "'password': '", "'"), "looked up osad-errmodern"),
        ("pw-errmodern-as-long-as-agents-make-them", "created osad-errmodern"),
    ] {
        let get = "<iq type='get' id='auth-get-1-0'><query xmlns = 'jabber:iq:auth' ><username>osad-errmodern</username>\
                   </query></iq>";
        let said = vec![
            get.to_owned(),
            format!("<iq to='{HOST}' type='get' id='1'><query xmlns = 'jabber:iq:register'  /></iq>"),
            format!(
                "<iq to='{HOST}' type='set' id='2'><query xmlns = 'jabber:iq:register' ><instructions>hi</instructions>\
                 <username>osad-errmodern</username><password>{password}</password></query></iq>"
            ),
        ];
        let replay = served(&[], said, cut);

        assert!(replay.text.contains("<error code='401'"), "{}", replay.text);
        assert_eq!(replay.trace.last().map(String::as_str), Some(trace));
        assert_eq!(
            replay.text.contains("not-acceptable"),
            trace.starts_with("looked up"),
            "{}",
            replay.text
        );
    }
}

#[test]
fn our_server_takes_what_the_existing_agent_answered_however_it_is_cut() {
    CUTS.iter().for_each(our_server_takes_what_the_existing_agent_answered);
}

#[test]
fn both_sessions_of_the_agent_that_met_a_conflict_are_served_however_they_are_cut() {
    CUTS.iter()
        .for_each(both_sessions_of_the_agent_that_met_a_conflict_are_served);
}

#[test]
fn recorded_registration_is_refused_for_its_short_password_only_however_it_is_cut() {
    CUTS.iter()
        .for_each(recorded_registration_is_refused_for_its_short_password_only);
}

proptest! {
    #![proptest_config(cuts::few_cases())]

    #[test]
    fn our_server_takes_what_the_existing_agent_said_at_random_splits(cut in cuts::any()) {
        our_server_takes_what_the_existing_agent_answered(&cut);
        both_sessions_of_the_agent_that_met_a_conflict_are_served(&cut);
        recorded_registration_is_refused_for_its_short_password_only(&cut);
    }
}
