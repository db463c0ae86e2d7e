//! Every state of the server stream against every kind of input.

use osa::protocol::stream::StreamFault;
use osa::protocol::stream::server::Answer;

use crate::pair::{PASSWORD, verifiers};
use crate::scripted_client::{ALL_STATES, At, BIND, HEADER, REGISTER, SCRAM, STARTTLS, Scripted, plain};

const BROKEN: &str = "header not-well-formed footer end-by-us";

/// What the server does in each state, in the order of `ALL_STATES`.
fn assert_row(input: &str, expected: [&str; 13]) {
    for (state, expected) in ALL_STATES.into_iter().zip(expected) {
        assert_eq!(Scripted::at(state).say(input), expected, "{input} in {state:?}");
    }
}

/// Nothing is said to these: input waits for an answer, or the stream is over.
const SILENT: &str = "";
/// Anything but the TLS handshake itself, while it is due.
const IN_HANDSHAKE: &str = "end-by-us";

/// An element where a header is due: outermost, and in no namespace.
const NO_HEADER: &str = "header invalid-namespace footer end-by-us";

fn row(
    header: &'static str,
    starttls: &'static str,
    login: &'static str,
    initial: &'static str,
    response: &'static str,
    bind: &'static str,
    open: &'static str,
) -> [&'static str; 13] {
    [
        header,
        starttls,
        IN_HANDSHAKE,
        header,
        login,
        initial,
        SILENT,
        response,
        SILENT,
        header,
        bind,
        open,
        SILENT,
    ]
}

const TLS_FIRST: &str = "policy-violation footer end-by-us";
const STRANGER: &str = "not-authorized footer end-by-us";
const UNKNOWN: &str = "unsupported-stanza-type footer end-by-us";
const NOT_XML: &str = "bad-format footer end-by-us";

#[test]
fn text_is_refused() {
    assert_row("x", row(BROKEN, NOT_XML, NOT_XML, NOT_XML, NOT_XML, NOT_XML, NOT_XML));
}

#[test]
fn header_is_answered_once_per_stream() {
    let offer = "header features";
    // The XML declaration may not come twice.
    let again = "restricted-xml footer end-by-us";

    let mut expected = row(offer, again, again, again, again, again, again);
    expected[0] = offer;
    assert_row(HEADER, expected);
}

#[test]
fn closing_tag_is_answered_by_ours() {
    let end = "footer end";
    assert_row(
        "</stream:stream>",
        row("header not-well-formed footer end-by-us", end, end, end, end, end, end),
    );
}

#[test]
fn error_of_the_client_ends_the_stream() {
    let end = "footer end-by-client";
    let error = "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
    let header = "header bad-namespace-prefix footer end-by-us";
    assert_row(error, row(header, end, end, end, end, end, end));
}

#[test]
fn starttls_is_accepted_once() {
    let malformed = "malformed-request";
    assert_row(
        STARTTLS,
        row(
            NO_HEADER,
            "proceed tls",
            UNKNOWN,
            malformed,
            malformed,
            UNKNOWN,
            UNKNOWN,
        ),
    );
}

#[test]
fn login_is_offered_inside_tls_only() {
    let malformed = "malformed-request";
    for auth in [plain(PASSWORD), SCRAM.to_owned()] {
        assert_row(
            &auth,
            row(
                NO_HEADER,
                TLS_FIRST,
                "ask-verifiers",
                malformed,
                malformed,
                UNKNOWN,
                UNKNOWN,
            ),
        );
    }
}

#[test]
fn unknown_and_malformed_logins_are_failures() {
    for (mechanism, message, failure) in [
        ("DIGEST-MD5", "AAAA", "invalid-mechanism"),
        ("EXTERNAL", "=", "invalid-mechanism"),
        ("plain", "AAAA", "invalid-mechanism"),
        ("PLAIN", "!", "incorrect-encoding"),
        ("PLAIN", "AAAA", "malformed-request"),
        ("PLAIN", "=", "malformed-request"),
        ("SCRAM-SHA-256", "AAAA", "malformed-request"),
        // `y,,n=u,r=x`: believes that there is no channel binding here
        ("SCRAM-SHA-256", "eSwsbj11LHI9eA==", "not-authorized"),
        // `p=tls-exporter,,n=u,r=x` in a mechanism without binding
        ("SCRAM-SHA-256", "cD10bHMtZXhwb3J0ZXIsLG49dSxyPXg=", "malformed-request"),
        // `n,,n=u,r=x` in a mechanism with binding
        ("SCRAM-SHA-256-PLUS", "biwsbj11LHI9eA==", "malformed-request"),
        // `n,a=other@sat.test,n=u,r=x`
        (
            "SCRAM-SHA-256",
            "bixhPW90aGVyQHNhdC50ZXN0LG49dSxyPXg=",
            "invalid-authzid",
        ),
        // `n,,n=\u{e9}`: no account can have that name
        ("SCRAM-SHA-256", "biwsbj3DqSxyPXg=", "not-authorized"),
    ] {
        let auth = format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{message}</auth>");

        assert_eq!(Scripted::at(At::Login).say(&auth), failure, "{mechanism} {message}");
    }
}

#[test]
fn own_bare_jid_is_a_welcome_authorization_identity() {
    // `n,a=osad-0123456789@sat.test,n=osad-0123456789,r=x`
    let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256'>\
                bixhPW9zYWQtMDEyMzQ1Njc4OUBzYXQudGVzdCxuPW9zYWQtMDEyMzQ1Njc4OSxyPXg=</auth>";

    assert_eq!(Scripted::at(At::Login).say(auth), "ask-verifiers");
}

#[test]
fn login_without_first_message_is_asked_for_it() {
    let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>";

    assert_eq!(Scripted::at(At::Login).say(auth), "challenge");
}

#[test]
fn response_counts_inside_an_exchange_only() {
    let response = "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AAAA</response>";
    let malformed = "malformed-request";
    assert_row(
        response,
        row(NO_HEADER, TLS_FIRST, UNKNOWN, malformed, malformed, UNKNOWN, UNKNOWN),
    );
}

#[test]
fn client_may_give_up() {
    let abort = "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
    assert_row(
        abort,
        row(NO_HEADER, TLS_FIRST, "aborted", "aborted", "aborted", UNKNOWN, UNKNOWN),
    );
}

#[test]
fn registration_is_offered_before_login_only() {
    let malformed = "malformed-request";
    let no = "service-unavailable:503";
    assert_row(
        REGISTER,
        row(NO_HEADER, TLS_FIRST, "ask-account", malformed, malformed, no, no),
    );
    let get = "<iq to='sat.test' type='get' id='1'><query xmlns = 'jabber:iq:register'  /></iq>";
    assert_row(get, row(NO_HEADER, TLS_FIRST, "result", malformed, malformed, no, no));
}

#[test]
fn binding_has_its_place_behind_login() {
    let no = "service-unavailable:503";
    let malformed = "malformed-request";
    assert_row(
        BIND,
        row(NO_HEADER, TLS_FIRST, no, malformed, malformed, "in result", no),
    );
}

#[test]
fn stanzas_wait_for_the_login() {
    let malformed = "malformed-request";
    for (stanza, open) in [
        ("<message to='rhn-dispatcher-sat@sat.test/superclient'/>", "message"),
        ("<presence/>", "available"),
        ("<presence type='unavailable'/>", "unavailable"),
    ] {
        assert_row(
            stanza,
            row(NO_HEADER, TLS_FIRST, STRANGER, malformed, malformed, STRANGER, open),
        );
    }
}

#[test]
fn requests_nobody_knows_are_refused_with_a_code() {
    let no = "service-unavailable:503";
    let malformed = "malformed-request";
    for payload in ["<query xmlns='jabber:iq:version'/>", "<x xmlns='urn:x'/>", ""] {
        let iq = format!("<iq type='get' id='1'>{payload}</iq>");
        assert_row(&iq, row(NO_HEADER, TLS_FIRST, no, malformed, malformed, no, no));
    }
}

#[test]
fn unknown_elements_end_the_stream() {
    let malformed = "malformed-request";
    for element in ["<x xmlns='urn:x'/>", "<bogus/>", "<enable xmlns='urn:xmpp:sm:3'/>"] {
        assert_row(
            element,
            row(NO_HEADER, TLS_FIRST, UNKNOWN, malformed, malformed, UNKNOWN, UNKNOWN),
        );
    }
}

#[test]
fn login_deadline_ends_every_state_before_open() {
    for state in ALL_STATES {
        let mut server = Scripted::at(state);
        server.now += server_timeout();
        server.stream.handle_deadline(server.now);

        let expected = match state {
            At::Header | At::HeaderInsideTls | At::HeaderLoggedIn => "header connection-timeout footer end-by-us",
            At::Handshake => "end-by-us",
            At::Open | At::Closed => "",
            At::StartTls
            | At::Login
            | At::InitialResponse
            | At::AwaitVerifiers
            | At::Response
            | At::AwaitAccount
            | At::Bind => "connection-timeout footer end-by-us",
        };
        assert_eq!(server.summary(), expected, "{state:?}");
    }
}

fn server_timeout() -> std::time::Duration {
    std::time::Duration::from_secs(30)
}

#[test]
fn every_state_can_be_ended_by_us_once() {
    for state in ALL_STATES {
        let mut server = Scripted::at(state);
        server.stream.close(StreamFault::SystemShutdown);
        if state == At::Handshake {
            assert_eq!(server.summary(), "", "the handshake goes on");
            server.stream.close(StreamFault::Conflict);
            server.stream.tls_established(None, server.now);
            assert_eq!(server.summary(), "header system-shutdown footer end-by-us");
            continue;
        }

        let ended = server.summary();
        server.stream.close(StreamFault::Conflict);

        assert_eq!(ended.contains("end-by-us"), state != At::Closed, "{state:?}");
        assert_eq!(server.summary(), "", "{state:?}");
        assert_eq!(server.stream.next_deadline(), None);
    }
}

#[test]
fn answers_are_taken_where_they_were_asked_for() {
    let known = || Answer::Verifiers(Some(Box::new(verifiers(PASSWORD))));
    for (state, answer, expected) in [
        (At::AwaitVerifiers, known(), "challenge"),
        (At::AwaitVerifiers, Answer::Verifiers(None), "challenge"),
        (At::AwaitVerifiers, Answer::Unavailable, "temporary-auth-failure"),
        (At::AwaitVerifiers, Answer::Created, "temporary-auth-failure"),
        (At::AwaitAccount, Answer::Created, "result"),
        (At::AwaitAccount, Answer::Taken, "conflict:503"),
        (At::AwaitAccount, Answer::Refused, "not-allowed:405"),
        (At::AwaitAccount, Answer::Unavailable, "internal-server-error:500"),
        (At::AwaitAccount, known(), "internal-server-error footer end-by-us"),
    ] {
        assert_eq!(
            Scripted::at(state).answer(answer.clone()),
            expected,
            "{state:?} {answer:?}"
        );
    }
}

#[test]
fn late_answers_are_ignored() {
    let mut server = Scripted::at(At::AwaitVerifiers);
    let stale = server.last_token.unwrap();
    server.answer(Answer::Unavailable);
    server.say(SCRAM);

    server.stream.answer(stale, Answer::Verifiers(None), server.now);

    assert_eq!(server.summary(), "");
    assert_eq!(server.answer(Answer::Verifiers(None)), "challenge");
}
