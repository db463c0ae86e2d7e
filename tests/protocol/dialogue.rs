//! Whole dialogues of our client with our server.

use osa::domain::secret::Secret;
use osa::protocol::sasl::SaslFault;
use osa::protocol::stream::StreamFault;
use osa::protocol::stream::client::{ClientEnd, ClientEvent};
use osa::protocol::stream::server::{ServerConfig, ServerEnd, ServerEvent, ServerStream};
use proptest::prelude::*;

use crate::pair::{PASSWORD, Pair, Rewrite, USER, client_config, server_config, verifiers};

pub const JID: &str = "osad-0123456789@sat.test/osad";

fn logged_in(registered: bool) -> ClientEvent {
    ClientEvent::LoggedIn {
        jid: JID.into(),
        registered,
    }
}

fn assert_logged_in(pair: &Pair, registered: bool) {
    assert_eq!(pair.client_events, [logged_in(registered)], "{:?}", pair.client_end);
    assert_eq!(pair.server_events.last(), Some(&ServerEvent::LoggedIn(JID.into())));
    assert!(pair.server.is_open() && pair.client.is_open());
}

fn without(text: String, mechanisms: &[&str]) -> String {
    mechanisms.iter().fold(text, |text, name| {
        text.replace(&format!("<mechanism>{name}</mechanism>"), "")
    })
}

#[test]
fn client_takes_the_strongest_mechanism_and_logs_in() {
    let mut pair = Pair::usual().with_account();

    pair.run();

    assert_logged_in(&pair, false);
    assert!(pair.client_text.contains("mechanism='SCRAM-SHA-256-PLUS'"));
}

#[test]
fn client_logs_in_with_every_mechanism() {
    let unbound: [(&str, Rewrite); 3] = [
        ("'SCRAM-SHA-256'", |text| text),
        ("'SCRAM-SHA-1'", |text| without(text, &["SCRAM-SHA-256"])),
        ("'PLAIN'", |text| without(text, &["SCRAM-SHA-256", "SCRAM-SHA-1"])),
    ];
    for (name, rewrite) in unbound {
        let mut pair = Pair::usual().with_account();
        (pair.server_exporter, pair.client_exporter) = (None, None);
        pair.rewrite = rewrite;

        pair.run();

        assert_logged_in(&pair, false);
        assert!(pair.client_text.contains(name), "{name}");
    }
    let mut pair = Pair::usual().with_account();
    pair.rewrite = |text| without(text, &["SCRAM-SHA-256-PLUS"]);
    pair.run();
    assert_logged_in(&pair, false);
    assert!(pair.client_text.contains("'SCRAM-SHA-1-PLUS'"));
}

#[test]
fn client_without_keying_material_logs_in_unbound() {
    let mut pair = Pair::usual().with_account();
    pair.client_exporter = None;

    pair.run();

    assert_logged_in(&pair, false);
    assert!(pair.client_text.contains("'SCRAM-SHA-256'"));
}

#[test]
fn unknown_account_is_registered_and_logged_in() {
    let mut pair = Pair::usual();

    pair.run();

    assert_logged_in(&pair, true);
    assert!(pair.accounts.contains_key(USER));
}

#[test]
fn wrong_password_ends_with_taken_credentials() {
    let mut pair = Pair::usual();
    pair.accounts.insert(USER.into(), verifiers("another password"));

    pair.run();

    assert_eq!(pair.client_end, Some(ClientEnd::CredentialsTaken));
    assert_eq!(pair.server_end, Some(ServerEnd::ClosedByClient));
    assert!(!pair.server_writes.concat().contains("409"));
}

#[test]
fn client_that_may_not_register_is_refused() {
    let mut config = client_config();
    config.may_register = false;
    let mut pair = Pair::new(server_config(), config);

    pair.run();

    assert_eq!(pair.client_end, Some(ClientEnd::NotAuthorized));
    assert!(pair.accounts.is_empty());
}

#[test]
fn registration_that_is_switched_off_is_not_offered() {
    let config = ServerConfig {
        registration: false,
        ..server_config()
    };
    let mut pair = Pair::new(config, client_config());

    pair.run();

    assert_eq!(pair.client_end, Some(ClientEnd::NotAuthorized));
}

#[test]
fn password_the_server_does_not_accept_ends_registration() {
    let mut config = client_config();
    config.password = Secret::new("short");
    let mut pair = Pair::new(server_config(), config);

    pair.run();

    let said = pair.client_end.expect("it ends").to_string();
    assert_eq!(said, "the server makes no account: not-acceptable");
}

#[test]
fn connection_with_somebody_in_the_middle_is_refused() {
    let mut pair = Pair::usual().with_account();
    pair.client_exporter = Some([7; 32]);

    pair.run();

    assert_eq!(pair.client_events, []);
    assert!(pair.client_end.is_some() && !pair.server.is_open());
}

#[test]
fn taking_channel_binding_out_of_the_offer_is_noticed() {
    let mut pair = Pair::usual().with_account();
    pair.rewrite = |text| without(text, &["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"]);

    pair.run();

    assert_eq!(pair.client_events, []);
    assert!(pair.client_text.contains("'SCRAM-SHA-256'"));
    assert!(pair.server_writes.concat().contains("not-authorized"));
}

#[test]
fn server_that_does_not_prove_itself_is_left() {
    for rewrite in [
        (|text: String| {
            let success = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>";
            match text.find(success) {
                // `v=AAAA`
                Some(_) => format!("{success}dj1BQUFB</success>"),
                None => text,
            }
        }) as Rewrite,
        |text| match text.find("<success") {
            Some(_) => "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".into(),
            None => text,
        },
        |text| match text.find("<challenge") {
            Some(_) => "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".into(),
            None => text,
        },
    ] {
        let mut pair = Pair::usual().with_account();
        pair.rewrite = rewrite;

        pair.run();

        assert_eq!(pair.client_events, []);
        assert!(
            matches!(pair.client_end, Some(ClientEnd::Impostor(_) | ClientEnd::Unexpected(_))),
            "{:?}",
            pair.client_end
        );
    }
}

#[test]
fn client_never_goes_on_without_tls() {
    for rewrite in [
        (|text: String| text.replace("starttls", "stoptls")) as Rewrite,
        |text| text.replace("<proceed", "<failure"),
        |text| text.replace(" version='1.0'>", ">"),
    ] {
        let mut pair = Pair::usual().with_account();
        pair.rewrite = rewrite;

        pair.run();

        assert_eq!(pair.client_end, Some(ClientEnd::NoTls));
        assert!(!pair.client_text.contains("<auth"));
    }
}

#[test]
fn bytes_behind_proceed_end_the_connection() {
    let mut pair = Pair::usual().with_account();
    pair.rewrite = |text| {
        if text.contains("<proceed") {
            format!("{text}<stream:stream>")
        } else {
            text
        }
    };

    pair.run();

    assert_eq!(pair.client_end, Some(ClientEnd::Fault(StreamFault::InjectedBeforeTls)));
}

#[test]
fn client_leaves_a_server_without_known_mechanisms() {
    let mut pair = Pair::usual().with_account();
    pair.rewrite = |text| {
        let text = text.replace("<mechanism>", "<mechanism>X-");
        text.replace("http://jabber.org/features/iq-auth", "urn:x")
    };

    pair.run();

    assert_eq!(pair.client_end, Some(ClientEnd::NoMechanism));
}

#[test]
fn client_that_cannot_bind_as_the_server_wants_says_so() {
    let mut pair = Pair::usual().with_account();
    // Foreign servers bind with tls-server-end-point only; ours then sees a client that cannot bind.
    pair.rewrite = |text| text.replace("type='tls-exporter'", "type='tls-server-end-point'");

    pair.run();

    assert_logged_in(&pair, false);
    assert!(pair.client_text.contains("'SCRAM-SHA-256'"));
}

#[test]
fn other_failures_are_reported_as_they_are() {
    let mut pair = Pair::usual().with_account();
    pair.rewrite = |text| {
        text.replace("<challenge", "<failure")
            .replace("</challenge>", "<temporary-auth-failure/></failure>")
    };

    pair.run();

    assert_eq!(
        pair.client_end,
        Some(ClientEnd::LoginRefused(Some(SaslFault::TemporaryAuthFailure)))
    );
}

#[test]
fn numeric_code_of_old_servers_means_conflict_too() {
    let mut pair = Pair::usual();
    pair.accounts.insert(USER.into(), verifiers("another password"));
    pair.rewrite = |text| match text.find("<error") {
        Some(_) => "<iq type='error' id='register-set'><error code='409'/></iq>".into(),
        None => text,
    };

    pair.run();

    assert_eq!(pair.client_end, Some(ClientEnd::CredentialsTaken));
}

#[test]
fn passwords_never_cross_the_wire_in_scram() {
    let mut pair = Pair::usual().with_account();

    pair.run();

    assert!(!pair.client_text.contains(PASSWORD));
}

#[test]
fn session_is_small() {
    assert!(size_of::<ServerStream>() <= 1_024, "{}", size_of::<ServerStream>());
}

/// What happened, without the order in which the two sides noticed.
fn story(pieces: Vec<usize>, account: Option<&str>, exporter: bool) -> impl PartialEq + std::fmt::Debug {
    let mut pair = Pair::usual();
    pair.pieces = pieces;
    if let Some(password) = account {
        pair.accounts.insert(USER.into(), verifiers(password));
    }
    if !exporter {
        (pair.server_exporter, pair.client_exporter) = (None, None);
        pair.rewrite = |text| without(text, &["SCRAM-SHA-256", "SCRAM-SHA-1"]);
    }
    pair.run();
    pair.client.announce(None);
    pair.run();
    pair.client.close();
    pair.run();
    (
        (pair.server_events, pair.client_events),
        (pair.server_end, pair.client_end),
        (pair.server_writes.concat(), pair.client_text),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn dialogue_does_not_depend_on_how_bytes_are_cut(
        pieces in prop::collection::vec(1_usize..120, 1..6),
        case in 0_usize..4
    ) {
        let (account, exporter) = [
            (Some(PASSWORD), true), (Some(PASSWORD), false), (Some("another password"), true), (None, true),
        ][case];

        prop_assert_eq!(story(pieces, account, exporter), story(vec![usize::MAX], account, exporter));
    }
}
