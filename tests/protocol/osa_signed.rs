//! The signed `<x/>`: the vectors of the compatibility contract, section 1.12, and recorded stanzas.

use minidom::Element;
use osa::domain::secret::Secret;
use osa::protocol::osa::action::Action;
use osa::protocol::osa::signed::{Content, Signed, chain};
use proptest::prelude::*;

const KEY_A: &str = "0123456789abcdef0123456789abcdef01234567";
const KEY_B: &str = "5f4dcc3b5aa765d61d8327deb882cf99aabbccdd";
const BASE: &str = "http://jabber.rhn.redhat.com/jabber";
const DISPATCHER: &str = "rhn-dispatcher-sat@sat.example.com/superclient";
const CLIENT: &str = "osad-1a2b3c4d5e@client-proxy.example.com/osad";

fn hex(key: &str, values: &[&str]) -> String {
    String::from_utf8(chain(&Secret::new(key), values.iter().copied()).to_vec()).unwrap()
}

#[test]
fn chain_gives_the_five_published_signatures() {
    let checkin = format!("{BASE}/message/request/checkin");
    let checked_in = format!("{BASE}/message/response/checkin");
    let ping = format!("{BASE}/message/request/ping");
    let pong = format!("{BASE}/message/response/ping");
    let subscribe = format!("{BASE}/presence/subscribe");
    let other = "osad-00ff00ff00@sat.example.com/osad";
    let bare = "rhn-dispatcher-sat@sat.example.com";
    let vectors: [(&str, &[&str], &str); 5] = [
        (
            KEY_A,
            &[CLIENT, "1591178400", "a1b2c3-7", &checkin, DISPATCHER],
            "32d8f4cecc399f1d2150f0b42d4ec2ae8cff6041",
        ),
        (
            KEY_A,
            &[
                DISPATCHER,
                "aabbccddeeff0011",
                "1591178401",
                "d4e5f6-12",
                &checked_in,
                CLIENT,
            ],
            "993e17bb7607d5e3854e881418bf1b9e8bde65fe",
        ),
        (
            KEY_B,
            &[other, "1700000000", "0f1e2d-0", &ping, DISPATCHER],
            "d241bab88cbc58bd4d120cef508483aa9f4f4624",
        ),
        (
            KEY_B,
            &[DISPATCHER, "0123456789abcdef", "1700000002", "9a8b7c-3", &pong, other],
            "82bbb6a8f992c42cadfb1117deef66b96f194dff",
        ),
        (
            KEY_A,
            &[bare, "aabbccddeeff0011", "1591178399", "d4e5f6-11", &subscribe, CLIENT],
            "97acaa20b2fc0951b9b155053824d92ca9b9e3f0",
        ),
    ];

    for (key, values, signature) in vectors {
        assert_eq!(hex(key, values), signature);
    }
}

#[test]
fn chain_goes_through_the_published_intermediate_values() {
    let request = [
        CLIENT,
        "1591178400",
        "a1b2c3-7",
        &format!("{BASE}/message/request/checkin"),
        DISPATCHER,
    ];
    let request_links = [
        "158b484ae1f6f64f89da22397d25fbdafad02252",
        "cebeab8e515701e1a32a14fa9dcf3eae720428e0",
        "103ff539a4a5bd40356af3445aeecdce132dde5b",
        "e2ca39450c1bad7db0862feb9516484e29ea320f",
        "c4d39536f6eb8b8e7251dedcdffd258a48a8fc0b",
    ];
    let response = [
        DISPATCHER,
        "aabbccddeeff0011",
        "1591178401",
        "d4e5f6-12",
        &format!("{BASE}/message/response/checkin"),
        CLIENT,
    ];
    let response_links = [
        "158b484ae1f6f64f89da22397d25fbdafad02252",
        "8d8718ba623aa208a547a3cf4ebd20eaadfbd745",
        "4a83849235ffd45204ecf341d73d87f73cd2cf08",
        "cc5d5b8213e5ecb209a9538721192a79a28375bf",
        "841faa8832506d7ea557dc4a7da329407dff0457",
        "85d1efbd3602afa6c1de5f3cd9b45c3ffc6e40f3",
    ];

    for (count, link) in request_links.iter().enumerate() {
        assert_eq!(hex(KEY_A, &request[..count]), *link, "h{count} of vector 1");
    }
    for (count, link) in response_links.iter().enumerate() {
        assert_eq!(hex(KEY_A, &response[..count]), *link, "h{count} of vector 2");
    }
}

const RECORDED_KEY: &str = "000000000000000000000000562f57d912ac6111";
const RECORDED_CLIENT: &str = "osad-0123456789@satellite.test/osad";
const RECORDED_DISPATCHER: &str = "rhn-dispatcher-sat@satellite.test/superclient";

/// What original peers sent to each other, as one session recorded it, in both spellings of the element.
const RECORDED_REQUESTS: [(&str, Action); 4] = [
    (
        "<message xmlns='jabber:client' from='rhn-dispatcher-sat@satellite.test/superclient' type='normal' to='osad-0123456789@satellite.test/osad'><x xmlns='http://jabber.rhn.redhat.com/jabber/signed' signature='4b9984832c26662d200d7f12cd3c73c5c7631e4b' jid='rhn-dispatcher-sat@satellite.test/superclient' action='http://jabber.rhn.redhat.com/jabber/message/request/checkin' serial='bdcad7-16' timestamp='1795336527'></x></message>",
        Action::CheckIn,
    ),
    (
        "<message xmlns='jabber:client' to='osad-0123456789@satellite.test/osad' type='normal'><x xmlns = 'http://jabber.rhn.redhat.com/jabber/signed'  timestamp='1795336533' serial='bdcad7-18' action='http://jabber.rhn.redhat.com/jabber/message/request/checkin' jid='rhn-dispatcher-sat@satellite.test/superclient' signature='318363287f1e3a8c75741c6f87491b9f9e12dd12' /></message>",
        Action::CheckIn,
    ),
    (
        "<message xmlns='jabber:client' to='osad-0123456789@satellite.test/osad' type='normal'><x xmlns = 'http://jabber.rhn.redhat.com/jabber/signed'  timestamp='1795336566' serial='bdcad7-23' action='http://jabber.rhn.redhat.com/jabber/message/request/ping' jid='rhn-dispatcher-sat@satellite.test/superclient' signature='e5ce2ae12b5d9cc36db4582995d2989eedaa7eac' /></message>",
        Action::Ping,
    ),
    (
        "<message xmlns='jabber:client' to='osad-0123456789@satellite.test/osad' type='normal'><x xmlns = 'http://jabber.rhn.redhat.com/jabber/signed'  timestamp='1795336630' serial='bdcad7-32' action='http://jabber.rhn.redhat.com/jabber/message/request/checkin' jid='rhn-dispatcher-sat@satellite.test/superclient' signature='d582c17cde6d27d8a375a8271cfb2092b6e829f3' /></message>",
        Action::CheckIn,
    ),
];

const RECORDED_RESPONSES: [(&str, Action); 4] = [
    (
        "<message xmlns='jabber:client' from='osad-0123456789@satellite.test/osad' type='normal' to='rhn-dispatcher-sat@satellite.test/superclient'><x xmlns='http://jabber.rhn.redhat.com/jabber/signed' signature='4235566a80eafb0550615f6823d26381b5de059a' jid='osad-0123456789@satellite.test/osad' action='http://jabber.rhn.redhat.com/jabber/message/response/checkin' serial='5451e0-6' timestamp='1795336537' client-id='000000003b9af111'></x></message>",
        Action::CheckIn,
    ),
    (
        "<message xmlns='jabber:client' to='rhn-dispatcher-sat@satellite.test/superclient' type='normal'><x xmlns = 'http://jabber.rhn.redhat.com/jabber/signed'  client-id='000000003b9af111' timestamp='1795336546' serial='5451e0-7' action='http://jabber.rhn.redhat.com/jabber/message/response/checkin' jid='osad-0123456789@satellite.test/osad' signature='8522ad318a5f2cc27f313c7399e340e10a59ff20' /></message>",
        Action::CheckIn,
    ),
    (
        "<message xmlns='jabber:client' to='rhn-dispatcher-sat@satellite.test/superclient' type='normal'><x xmlns = 'http://jabber.rhn.redhat.com/jabber/signed'  client-id='000000003b9af111' timestamp='1795336566' serial='5451e0-8' action='http://jabber.rhn.redhat.com/jabber/message/response/ping' jid='osad-0123456789@satellite.test/osad' signature='81326fbc1781f3537a0836a879940a5d4e7c5a97' /></message>",
        Action::Ping,
    ),
    (
        "<message xmlns='jabber:client' to='rhn-dispatcher-sat@satellite.test/superclient' type='normal'><x xmlns = 'http://jabber.rhn.redhat.com/jabber/signed'  client-id='000000003b9af111' timestamp='1795336630' serial='7927b9-3' action='http://jabber.rhn.redhat.com/jabber/message/response/checkin' jid='osad-0123456789@satellite.test/osad' signature='ec4b78bef290839d4de5a082fbdb13f667647867' /></message>",
        Action::CheckIn,
    ),
];

fn signed(stanza: &str) -> Signed {
    Signed::in_message(&stanza.parse::<Element>().unwrap()).expect("a message with a signed element")
}

#[test]
fn recorded_requests_are_valid_for_their_client_only() {
    for (stanza, action) in RECORDED_REQUESTS {
        let signed = signed(stanza);

        assert!(
            signed.is_valid_request(&Secret::new(RECORDED_KEY), RECORDED_CLIENT),
            "{stanza}"
        );
        assert_eq!(signed.requested(), Some(action));
        assert_eq!(signed.responded(), None);
        assert!(!signed.is_valid_request(&Secret::new(RECORDED_KEY), CLIENT));
        assert!(!signed.is_valid_request(&Secret::new(KEY_A), RECORDED_CLIENT));
    }
}

#[test]
fn recorded_responses_are_valid_for_their_sender_only() {
    for (stanza, action) in RECORDED_RESPONSES {
        let signed = signed(stanza);
        let key = Secret::new(RECORDED_KEY);

        assert!(
            signed.is_valid_response(&key, RECORDED_DISPATCHER, RECORDED_CLIENT),
            "{stanza}"
        );
        assert_eq!(signed.responded(), Some(action));
        assert_eq!(signed.requested(), None);
        assert!(!signed.is_valid_response(&key, RECORDED_DISPATCHER, CLIENT));
        assert!(!signed.is_valid_response(&key, RECORDED_CLIENT, RECORDED_DISPATCHER));
    }
}

#[test]
fn every_changed_attribute_breaks_the_signature() {
    let genuine = signed(RECORDED_RESPONSES[0].0);
    let key = Secret::new(RECORDED_KEY);
    let forged = [
        Signed {
            client_id: Some("000000003b9af112".into()),
            ..genuine.clone()
        },
        Signed {
            timestamp: Some("01795336537".into()),
            ..genuine.clone()
        },
        Signed {
            serial: Some("5451e0-7".into()),
            ..genuine.clone()
        },
        Signed {
            action: Some(Action::Ping.response().into()),
            ..genuine.clone()
        },
        Signed {
            signature: Some("4235566A80EAFB0550615F6823D26381B5DE059A".into()),
            ..genuine.clone()
        },
        Signed {
            signature: Some(String::new()),
            ..genuine.clone()
        },
        Signed {
            signature: None,
            ..genuine.clone()
        },
        Signed {
            serial: None,
            ..genuine.clone()
        },
    ];

    for forged in forged {
        assert!(
            !forged.is_valid_response(&key, RECORDED_DISPATCHER, RECORDED_CLIENT),
            "{forged:?}"
        );
    }
    let other_jid = Signed {
        jid: Some("else".into()),
        ..genuine
    };
    assert!(
        other_jid.is_valid_response(&key, RECORDED_DISPATCHER, RECORDED_CLIENT),
        "the attribute jid is ignored"
    );
}

#[test]
fn absent_attribute_is_hashed_as_none() {
    let key = Secret::new(KEY_A);
    let action = Action::CheckIn.request();
    let signature = hex(KEY_A, &[CLIENT, "1591178400", "None", action, DISPATCHER]);
    let signed = Signed {
        timestamp: Some("1591178400".into()),
        action: Some(action.into()),
        jid: Some(DISPATCHER.into()),
        signature: Some(signature),
        ..Signed::default()
    };

    assert!(signed.is_valid_request(&key, CLIENT));
}

#[test]
fn only_a_live_message_of_type_normal_is_looked_at() {
    let x = "<x xmlns='http://jabber.rhn.redhat.com/jabber/signed' serial='1'/>";
    let message = |attributes: &str, children: &str| {
        let text = format!("<message xmlns='jabber:client' {attributes}>{children}</message>");
        Signed::in_message(&text.parse::<Element>().unwrap())
    };

    assert!(message("type='normal'", x).is_some());
    assert!(message("", x).is_some(), "as ejabberd passes it on");
    assert!(message("type='normal'", &format!("<delay xmlns='urn:xmpp:delay'/>{x}")).is_some());
    for kind in ["type='chat'", "type='error'", "type='headline'", "type=''"] {
        assert!(message(kind, x).is_none(), "{kind}");
    }
    assert!(message("type='normal'", &format!("<x xmlns='jabber:x:delay'/>{x}")).is_none());
    assert!(message("type='normal'", &format!("{x}<x xmlns='jabber:x:delay'/>")).is_none());
    assert!(
        message("type='normal'", &format!("<body>{x}</body>")).is_none(),
        "direct children only"
    );
    assert!(message("type='normal'", "<x xmlns='jabber:x:data'/>").is_none());
    let first = message(
        "type='normal'",
        &format!("<x xmlns='jabber:x:data'/>{x}<x xmlns='http://jabber.rhn.redhat.com/jabber/signed' serial='2'/>"),
    );
    assert_eq!(
        first.unwrap().serial.as_deref(),
        Some("1"),
        "the first in the namespace counts"
    );
}

proptest! {
    #[test]
    fn what_is_signed_survives_the_wire_and_verifies(
        key in "[0-9a-f]{40}", client in ".{0,16}", serial in "[!-~]{1,20}", timestamp: i64,
    ) {
        let key = Secret::new(key);
        let client: String = client.chars().filter(|c| !c.is_control() && !matches!(*c as u32, 0xfffe | 0xffff)).collect();
        let content = Content { timestamp, serial: &serial, action: Action::Ping.response() };
        let response = Signed::response(&key, DISPATCHER, &client, CLIENT, content);
        let request = Signed::request(&key, CLIENT, DISPATCHER, Content { action: Action::Ping.request(), ..content });

        let response_read = Signed::from_element(&String::from(&response.to_element()).parse::<Element>().unwrap());
        let request_read = Signed::from_element(&String::from(&request.to_element()).parse::<Element>().unwrap());

        prop_assert_eq!(&response_read, &response);
        prop_assert!(response_read.is_valid_response(&key, DISPATCHER, CLIENT));
        prop_assert!(!response_read.is_valid_request(&key, DISPATCHER));
        prop_assert_eq!(&request_read, &request);
        prop_assert!(request_read.is_valid_request(&key, CLIENT));
        prop_assert_eq!(request_read.unix_seconds(), Some(timestamp));
    }
}
