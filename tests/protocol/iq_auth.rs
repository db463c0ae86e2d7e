//! Login without SASL: what existing agents count on (compatibility contract, sections 1.5 and 1.6).

use osa::domain::secret::Secret;
use osa::protocol::iq_auth::digest;
use osa::protocol::sasl::Verifiers;
use osa::protocol::stream::Seed;
use osa::protocol::stream::client::{ClientConfig, ClientEnd, ClientEvent};
use osa::protocol::stream::server::{Answer, ServerConfig, ServerEvent, ServerStream};

use crate::pair::{PASSWORD, Pair, USER, client_config, server_config, verifiers};
use crate::scripted_client::{At, HEADER, REGISTER, STARTTLS, Scripted};

const GET: &str =
    "<iq type='get' id='g'><query xmlns = 'jabber:iq:auth' ><username>osad-0123456789</username></query></iq>";

fn set(proof: &str) -> String {
    format!(
        "<iq type='set' id='s'><query xmlns = 'jabber:iq:auth' ><username>osad-0123456789</username>\
         <resource>osad</resource>{proof}</query></iq>"
    )
}

fn known() -> Answer {
    Answer::Verifiers(Some(Box::new(verifiers(PASSWORD))))
}

/// With the password itself, as the caller of the machine adds it where digests are switched on.
fn known_with_password() -> Answer {
    Answer::Verifiers(Some(Box::new(verifiers(PASSWORD).with_password(Secret::new(PASSWORD)))))
}

/// Says something that asks for the account, and answers; what was written.
fn ask(scripted: &mut Scripted, text: &str, answer: Answer) -> String {
    assert_eq!(scripted.say(text), "ask-verifiers", "{text}");
    scripted
        .stream
        .answer(scripted.last_token.unwrap(), answer, scripted.now);
    scripted.text()
}

#[test]
fn login_without_sasl_is_offered_inside_tls_only() {
    let mut scripted = Scripted::at(At::Header);
    scripted.stream.receive(HEADER.as_bytes(), scripted.now);
    assert!(!scripted.text().contains("iq-auth"));

    let mut scripted = Scripted::at(At::HeaderInsideTls);
    scripted.stream.receive(HEADER.as_bytes(), scripted.now);
    assert!(
        scripted
            .text()
            .contains("<auth xmlns='http://jabber.org/features/iq-auth'/>")
    );
    assert_eq!(Scripted::at(At::StartTls).say(GET), "policy-violation footer end-by-us");
}

#[test]
fn unknown_account_is_told_by_the_number_that_makes_the_agent_register() {
    for request in [GET.to_owned(), set("<password>x</password>")] {
        let mut scripted = Scripted::at(At::Login);

        let answer = ask(&mut scripted, &request, Answer::Verifiers(None));

        assert!(
            answer.contains("type='error'") && answer.contains("code='401'"),
            "{answer}"
        );
        assert_eq!(scripted.say(REGISTER), "ask-account", "the stream goes on");
    }
}

#[test]
fn form_offers_the_password_and_a_digest_only_where_it_can_be_checked() {
    let answer = ask(&mut Scripted::at(At::Login), GET, known());
    assert_eq!(
        answer,
        "<iq type='result' id='g'><query xmlns='jabber:iq:auth'><username>osad-0123456789</username>\
         <password/><resource/></query></iq>"
    );

    let answer = ask(&mut Scripted::at(At::Login), GET, known_with_password());
    assert!(answer.contains("<digest/>"), "{answer}");
}

#[test]
fn password_opens_a_session_at_once_under_the_assumed_jid() {
    let mut scripted = Scripted::at(At::Login);
    scripted.say(&set(&format!("<password>{PASSWORD}</password>")));

    assert_eq!(scripted.answer(known()), "in result");

    assert!(scripted.stream.is_open());
    assert_eq!(scripted.say("<presence />"), "available", "and nothing is reflected");
}

#[test]
fn digest_is_checked_against_the_id_of_the_stream_inside_tls() {
    let log_in = |stream_id: &str, answer: Answer| {
        let mut scripted = Scripted::new(server_config());
        let seed = Seed::new([4; 32]).replaying(&["before-tls", "inside-tls"]);
        scripted.stream = ServerStream::new(server_config().into(), seed, scripted.now);
        scripted.say(HEADER);
        scripted.say(STARTTLS);
        scripted.stream.tls_established(None, scripted.now);
        scripted.say(HEADER);
        let proof = digest(stream_id, &Secret::new(PASSWORD));
        scripted.say(&set(&format!("<digest>{proof}</digest>")));
        scripted.answer(answer)
    };

    assert_eq!(log_in("inside-tls", known_with_password()), "in result");
    assert_eq!(log_in("before-tls", known_with_password()), "forbidden:403");
    assert_eq!(log_in("inside-tls", known()), "forbidden:403", "no password is kept");
}

#[test]
fn wrong_password_has_neither_the_number_of_an_unknown_account_nor_of_a_taken_one() {
    let mut scripted = Scripted::at(At::Login);
    scripted.say(&set("<password>wrong</password>"));

    assert_eq!(scripted.answer(known()), "forbidden:403");

    scripted.say(&set(&format!("<password>{PASSWORD}</password>")));
    assert_eq!(scripted.answer(known()), "in result", "the stream goes on");
}

#[test]
fn taken_account_never_has_the_number_that_ends_the_agent() {
    let mut scripted = Scripted::at(At::Login);
    scripted.say(REGISTER);

    assert_eq!(scripted.answer(Answer::Taken), "conflict:503");
}

#[test]
fn registration_takes_the_whole_form_back() {
    let mut scripted = Scripted::at(At::Login);
    let get = "<iq to='sat.test' type='get' id='1'><query xmlns = 'jabber:iq:register'  /></iq>";
    scripted.stream.receive(get.as_bytes(), scripted.now);
    let form = scripted.text();
    let form: minidom::Element = form.replacen("<iq ", "<iq xmlns='jabber:client' ", 1).parse().unwrap();
    let mut back = form.children().next().unwrap().clone();
    for child in back.children_mut() {
        match child.name() {
            "username" => child.append_text_node(USER),
            "password" => child.append_text_node(PASSWORD),
            _ => {}
        }
    }
    assert!(back.get_child("instructions", "jabber:iq:register").is_some());

    let set = format!("<iq to='sat.test' type='set' id='2'>{}</iq>", String::from(&back));
    assert_eq!(scripted.say(&set), "ask-account");
}

#[test]
fn incomplete_and_foreign_requests_are_refused() {
    for (request, refusal) in [
        (
            "<iq type='get' id='g'><query xmlns='jabber:iq:auth'/></iq>",
            "not-acceptable:406",
        ),
        (
            "<iq type='get' id='g' to='other.test'><query xmlns='jabber:iq:auth'><username>u</username></query></iq>",
            "service-unavailable:503",
        ),
        (
            "<iq type='get' id='g'><query xmlns='jabber:iq:auth'><username>a b</username></query></iq>",
            "not-authorized:401",
        ),
        (
            "<iq type='set' id='g'><query xmlns='jabber:iq:auth'><username>u</username><resource>osad</resource>\
             </query></iq>",
            "not-acceptable:406",
        ),
        (
            "<iq type='set' id='g'><query xmlns='jabber:iq:auth'><username>u</username><password>x</password>\
             </query></iq>",
            "not-acceptable:406",
        ),
        (
            "<iq type='set' id='g'><query xmlns='jabber:iq:auth'><username>u</username><resource/>\
             <password>x</password></query></iq>",
            "not-acceptable:406",
        ),
        (
            "<iq id='g'><query xmlns='jabber:iq:auth'><username>u</username></query></iq>",
            "bad-request:400",
        ),
    ] {
        assert_eq!(Scripted::at(At::Login).say(request), refusal, "{request}");
    }
    assert_eq!(Scripted::at(At::Open).say(GET), "not-allowed:405", "after login");
}

#[test]
fn failure_of_the_store_is_a_reason_to_try_again() {
    let mut scripted = Scripted::at(At::Login);
    scripted.say(GET);

    assert_eq!(scripted.answer(Answer::Unavailable), "internal-server-error:500");
}

#[test]
fn guessing_passwords_ends_the_stream() {
    let mut scripted = Scripted::at(At::Login);
    let said: Vec<String> = (0..9)
        .map(|_| {
            let said = scripted.say(&set("<password>wrong</password>"));
            match said.as_str() {
                "ask-verifiers" => scripted.answer(known()),
                _ => said,
            }
        })
        .collect();

    assert_eq!(said[7], "forbidden:403");
    assert_eq!(said[8], "policy-violation footer end-by-us");
}

#[test]
fn what_an_existing_agent_asks_for_is_there_once_it_is_logged_in() {
    let mut scripted = Scripted::at(At::Login);
    scripted.say(&set(&format!("<password>{PASSWORD}</password>")));
    scripted.answer(known());

    let request = "<iq type='get' id='r'><query xmlns = 'jabber:iq:roster'  /></iq>";
    scripted.stream.receive(request.as_bytes(), scripted.now);
    assert!(
        scripted
            .text()
            .contains("<item jid='rhn-dispatcher-sat@sat.test' subscription='both'/>")
    );

    let remove = "<iq type='set' id='d'><query xmlns = 'jabber:iq:roster'  ><item jid='a@sat.test' \
                  subscription='remove' /><item jid='b@sat.test' subscription='remove' /></query></iq>";
    assert_eq!(scripted.say(remove), "result");
}

fn without_sasl() -> ClientConfig {
    ClientConfig {
        sasl: false,
        ..client_config()
    }
}

fn logged_in(pair: &Pair) -> bool {
    let event = ServerEvent::LoggedIn("osad-0123456789@sat.test/osad".into());
    let agreed = matches!(pair.client_events.as_slice(),
        [ClientEvent::LoggedIn { jid, .. }] if ServerEvent::LoggedIn(jid.clone()) == event);
    agreed && pair.server_events.last() == Some(&event) && pair.client.is_open() && pair.server.is_open()
}

#[test]
fn our_client_logs_in_where_only_that_is_offered() {
    let mut pair = Pair::usual().with_account();
    pair.rewrite = |text| {
        let begin = text.find("<mechanisms");
        let end = text.find("</mechanisms>");
        match (begin, end) {
            (Some(begin), Some(end)) => format!("{}{}", &text[..begin], &text[end + "</mechanisms>".len()..]),
            _ => text,
        }
    };

    pair.run();

    assert!(logged_in(&pair), "{:?}", pair.client_end);
    assert!(pair.client_text.contains("<password>"));
}

#[test]
fn our_client_sends_a_digest_where_it_is_offered_and_not_the_password() {
    let mut pair = Pair::new(server_config(), without_sasl());
    let kept: Verifiers = verifiers(PASSWORD).with_password(Secret::new(PASSWORD));
    pair.accounts.insert(USER.into(), kept);

    pair.run();

    assert!(logged_in(&pair), "{:?}", pair.client_end);
    assert!(pair.client_text.contains("<digest>") && !pair.client_text.contains(PASSWORD));
}

#[test]
fn our_client_registers_an_unknown_account_and_finds_a_taken_one() {
    let mut pair = Pair::new(server_config(), without_sasl());
    pair.run();
    assert!(logged_in(&pair), "{:?}", pair.client_end);

    let mut pair = Pair::new(server_config(), without_sasl());
    pair.accounts.insert(USER.into(), verifiers("another password"));
    pair.run();
    assert_eq!(pair.client_end, Some(ClientEnd::CredentialsTaken));

    let closed = ServerConfig {
        registration: false,
        ..server_config()
    };
    let mut pair = Pair::new(closed, without_sasl());
    pair.run();
    assert_eq!(pair.client_end, Some(ClientEnd::NotAuthorized));
}

#[test]
fn dispatchers_own_name_is_nobodys_to_log_in_with() {
    for request in [GET.to_owned(), set("<password>x</password>")] {
        let mut scripted = Scripted::at(At::Login);

        let outcome = scripted.say(&request.replace("osad-0123456789", "rhn-dispatcher-SAT"));

        assert_eq!(outcome, "not-authorized:401", "{request}");
    }
}
