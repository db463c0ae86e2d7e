//! What strangers try.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use osa::protocol::sasl::ScramHash;
use osa::protocol::stream::server::{Answer, ServerConfig};

use crate::pair::{PASSWORD, USER, server_config, verifiers};
use crate::scripted_client::{At, HEADER, REGISTER, SCRAM, STARTTLS, Scripted, plain};

#[test]
fn bytes_behind_starttls_end_the_connection() {
    for tail in ["x", " ", "\n", HEADER, "<"] {
        let mut server = Scripted::at(At::StartTls);

        let outcome = server.say(&format!("{STARTTLS}{tail}"));

        assert_eq!(outcome, "policy-violation footer end-by-us", "{tail:?}");
    }
}

#[test]
fn bytes_between_proceed_and_the_handshake_end_the_connection() {
    let mut server = Scripted::at(At::Handshake);

    server.say("<auth/>");
    server.stream.tls_established(None, server.now);

    assert_eq!(server.say(HEADER), "");
}

#[test]
fn nested_elements_flood_and_forbidden_markup_end_the_connection_in_every_state() {
    let nested = "<a>".repeat(20_000);
    let attributes: String = (0..40).map(|n| format!(" a{n}=''")).collect();
    let oversized = format!("<a>{}", "x".repeat(70_000));
    for state in [
        At::StartTls,
        At::Login,
        At::InitialResponse,
        At::Response,
        At::Bind,
        At::Open,
    ] {
        for (input, condition) in [
            (nested.as_str(), "policy-violation"),
            (&format!("<a{attributes}/>"), "policy-violation"),
            (&oversized, "policy-violation"),
            ("<!DOCTYPE lolz [<!ENTITY lol 'lol'>]>", "restricted-xml"),
            ("<a>&lol;</a>", "restricted-xml"),
            ("<?php echo 1 ?>", "restricted-xml"),
            ("<!-- -->", "restricted-xml"),
            ("<p:a/>", "bad-namespace-prefix"),
            ("<a></b>", "not-well-formed"),
        ] {
            let outcome = Scripted::at(state).say(input);

            assert_eq!(outcome, format!("{condition} footer end-by-us"), "{state:?}");
        }
    }
}

#[test]
fn other_encodings_are_refused() {
    let mut server = Scripted::at(At::StartTls);

    server.stream.receive(b"<a>\xff</a>", server.now);

    assert_eq!(server.summary(), "unsupported-encoding footer end-by-us");
}

#[test]
fn stranger_gets_ten_thousand_bytes_and_a_client_more() {
    let message = format!(
        "<message to='rhn-dispatcher-sat@sat.test'><b>{}</b></message>",
        "x".repeat(11_000)
    );

    assert_eq!(
        Scripted::at(At::Login).say(&message),
        "policy-violation footer end-by-us"
    );
    assert_eq!(Scripted::at(At::Open).say(&message), "message");
}

#[test]
fn trickle_does_not_move_the_login_deadline() {
    let mut server = Scripted::at(At::Header);
    let deadline = server.stream.next_deadline().unwrap();

    for byte in HEADER.bytes().chain(STARTTLS.bytes()) {
        server.now += Duration::from_millis(50);
        server.stream.receive(&[byte], server.now);
        server.summary();
        assert_eq!(server.stream.next_deadline(), Some(deadline));
    }
}

#[test]
fn input_ahead_of_an_answer_waits_and_is_bounded() {
    let mut server = Scripted::at(At::AwaitAccount);
    assert_eq!(server.say(&plain(PASSWORD)), "");
    assert_eq!(server.answer(Answer::Created), "result ask-verifiers");

    let mut server = Scripted::at(At::AwaitAccount);
    assert_eq!(server.say(&" ".repeat(10_000)), "");
    assert_eq!(server.say(" "), "policy-violation footer end-by-us");
}

#[test]
fn attempts_are_counted() {
    let config = ServerConfig {
        login_attempts_max: 2,
        ..server_config()
    };
    let get = "<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>";
    let mut server = Scripted::at_with(At::Login, config.clone());
    assert_eq!(server.say(get), "result");
    assert_eq!(
        server.say("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"),
        "aborted"
    );
    assert_eq!(server.say(get), "policy-violation footer end-by-us");

    let mut server = Scripted::at_with(At::Login, config.clone());
    for expected in [
        "not-authorized",
        "not-authorized",
        "not-authorized policy-violation footer end-by-us",
    ] {
        server.say(&plain("wrong"));
        assert_eq!(server.answer(Answer::Verifiers(None)), expected);
    }

    let mut server = Scripted::at_with(At::Bind, config);
    for expected in [
        "service-unavailable:503",
        "service-unavailable:503",
        "policy-violation footer end-by-us",
    ] {
        assert_eq!(server.say("<iq type='get' id='1'/>"), expected);
    }
}

#[test]
fn unknown_account_and_wrong_password_look_alike() {
    let known = || Answer::Verifiers(Some(Box::new(verifiers(PASSWORD))));
    let challenge = |answer: Answer| {
        let mut server = Scripted::at(At::Login);
        server.say(SCRAM);
        server.stream.answer(server.last_token.unwrap(), answer, server.now);
        server.text()
    };
    let unknown = challenge(Answer::Verifiers(None));

    assert_eq!(unknown, challenge(Answer::Verifiers(None)));
    assert_eq!(unknown.len(), challenge(known()).len());
    for answer in [known(), Answer::Verifiers(None)] {
        let mut server = Scripted::at(At::Login);
        server.say(&plain("wrong"));
        assert_eq!(server.answer(answer), "not-authorized");
    }
}

#[test]
fn header_must_ask_for_a_domain_that_is_served() {
    for (from, to) in [
        ("to='sat.test'", "to='other.test'"),
        ("to='sat.test'", "to=''"),
        ("to='sat.test'", ""),
    ] {
        let outcome = Scripted::at(At::Header).say(&HEADER.replace(from, to));

        assert_eq!(outcome, "header host-unknown footer end-by-us", "{to}");
    }
    let upper = HEADER.replace("sat.test", "SAT.Test");
    assert_eq!(Scripted::at(At::Header).say(&upper), "header features");
}

#[test]
fn header_inside_tls_must_ask_for_the_same_domain() {
    let config = ServerConfig {
        domains: vec!["sat.test".into(), "second.test".into()],
        ..server_config()
    };

    let mut server = Scripted::at_with(At::HeaderInsideTls, config);

    let outcome = server.say(&HEADER.replace("sat.test", "second.test"));
    assert_eq!(outcome, "header host-unknown footer end-by-us");
}

#[test]
fn header_of_a_later_version_is_refused_and_one_without_is_taken() {
    let with = |version: &str| Scripted::at(At::Header).say(&HEADER.replace(" version='1.0'>", version));

    assert_eq!(with(" version='2.0'>"), "header unsupported-version footer end-by-us");
    assert_eq!(with(" version='x'>"), "header unsupported-version footer end-by-us");
    assert_eq!(with(" version='1.1'>"), "header features");
    assert_eq!(with(">"), "header features");
}

#[test]
fn stream_ids_are_long_and_never_repeat() {
    let mut ids = std::collections::BTreeSet::new();
    for state in [At::Header, At::HeaderInsideTls, At::HeaderLoggedIn] {
        let mut server = Scripted::at(state);
        server.stream.receive(HEADER.as_bytes(), server.now);
        let text = server.text();
        let id = text
            .split(" id='")
            .nth(1)
            .unwrap()
            .split('\'')
            .next()
            .unwrap()
            .to_owned();
        assert!(id.len() >= 22, "128 bits are 22 characters: {id}");
        assert!(ids.insert(id));
    }
}

#[test]
fn features_before_tls_offer_nothing_but_tls() {
    let mut server = Scripted::at(At::Header);
    server.stream.receive(HEADER.as_bytes(), server.now);

    let text = server.text();

    assert!(text.ends_with(
        "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
    ));
}

#[test]
fn registration_has_limits_and_ignores_extra_fields() {
    for (from, to, expected) in [
        ("0123456789abcdef0123", "0123456789abcde", "not-acceptable:406"),
        ("0123456789abcdef0123", "0123456789abcdef", "ask-account"),
        ("0123456789abcdef0123", "0123456789 abcdef0123", "not-acceptable:406"),
        ("osad-0123456789", "OSAD-x", "ask-account"),
        ("osad-0123456789", "", "not-acceptable:406"),
        ("osad-0123456789", "a@b", "not-acceptable:406"),
        ("osad-0123456789", "RHN-dispatcher-sat", "not-acceptable:406"),
        ("osad-0123456789", "\u{e9}", "not-acceptable:406"),
        ("<username>osad-0123456789</username>", "", "bad-request:400"),
        ("<password>0123456789abcdef0123</password>", "", "bad-request:400"),
        ("<instructions>", "<email>a@b</email><instructions>", "ask-account"),
        ("<instructions>", "<remove/><instructions>", "not-allowed:405"),
        ("type='set'", "type='result'", ""),
        ("type='set'", "type='bogus'", "bad-request:400"),
        ("<iq ", "<iq to='sat.test' ", "ask-account"),
        ("<iq ", "<iq to='other.test' ", "service-unavailable:503"),
    ] {
        let outcome = Scripted::at(At::Login).say(&REGISTER.replace(from, to));

        assert_eq!(outcome, expected, "{from} -> {to}");
    }
    let long = |length: usize| REGISTER.replace("osad-0123456789", &"a".repeat(length));
    assert_eq!(Scripted::at(At::Login).say(&long(64)), "ask-account");
    assert_eq!(Scripted::at(At::Login).say(&long(65)), "not-acceptable:406");
}

#[test]
fn registration_can_be_switched_off() {
    let config = ServerConfig {
        registration: false,
        ..server_config()
    };

    let outcome = Scripted::at_with(At::Login, config).say(REGISTER);

    assert_eq!(outcome, "not-allowed:405");
}

#[test]
fn form_is_what_existing_agents_need() {
    let mut server = Scripted::at(At::Login);
    let get = "<iq to='sat.test' type='get' id='1'><query xmlns = 'jabber:iq:register'  /></iq>";
    server.stream.receive(get.as_bytes(), server.now);

    let text = server.text();

    assert!(text.starts_with("<iq type='result' id='1' from='sat.test'>"), "{text}");
    assert!(text.contains("<username/><password/>"), "{text}");
}

#[test]
fn resource_must_be_one_a_jid_can_have() {
    let bind = |resource: &str| {
        format!(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <resource>{resource}</resource></bind></iq>"
        )
    };

    assert_eq!(Scripted::at(At::Bind).say(&bind(&"x".repeat(103))), "in result");
    assert_eq!(Scripted::at(At::Bind).say(&bind(&"x".repeat(104))), "bad-request:400");
    assert_eq!(Scripted::at(At::Bind).say(&bind("a&#9;b")), "bad-request:400");
    assert_eq!(Scripted::at(At::Bind).say(&bind("")), "in result");
}

#[test]
fn channel_binding_is_neither_offered_nor_taken_without_keying_material() {
    let mut server = Scripted::at(At::Handshake);
    server.stream.tls_established(None, server.now);
    server.stream.receive(HEADER.as_bytes(), server.now);
    assert!(!server.text().contains("PLUS"));

    // `p=tls-exporter,,n=u,r=x`
    let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256-PLUS'>\
                cD10bHMtZXhwb3J0ZXIsLG49dSxyPXg=</auth>";
    assert_eq!(server.say(auth), "invalid-mechanism");
}

#[test]
fn not_even_the_servers_secret_opens_an_account_that_does_not_exist() {
    let hash = ScramHash::Sha256;
    let purpose_key = hash.hmac(&server_config().decoy_secret, b"decoy stored key");
    let client_key = hash.hmac(&purpose_key, USER.as_bytes());
    let mut server = Scripted::at(At::AwaitVerifiers);
    let token = server.last_token.unwrap();
    server.stream.answer(token, Answer::Verifiers(None), server.now);
    let challenge = server.text();
    let challenge = challenge.split(['<', '>']).nth(2).unwrap();
    let server_first = String::from_utf8(STANDARD.decode(challenge).unwrap()).unwrap();

    let nonce = server_first.split(',').next().unwrap();
    let auth_message = format!("n={USER},r=abc,{server_first},c=biws,{nonce}");
    let signature = hash.hmac(&hash.digest(&client_key), auth_message.as_bytes());
    let proof = STANDARD.encode(&*client_key.xor(&signature));
    let client_final = STANDARD.encode(format!("c=biws,{nonce},p={proof}"));
    let outcome = server.say(&format!(
        "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{client_final}</response>"
    ));

    assert_eq!(outcome, "not-authorized");
}
