//! Registration over real TLS, against a server that answers as it is told: what works.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use osa::domain::secret::Secret;
use osa::ports::registrar::Registrar;

use crate::support::http_proxy::{ProxyStandIn, Rule};
use crate::support::httpd::{Answer, CAPABILITY, Httpd, empty_struct, http, osad, osad_body, result, welcome, zlib};
use crate::support::site::{Site, now};

const JID: &str = "osad-0123456789@localhost/osad";

fn systemid() -> Secret {
    Secret::new("<?xml version=\"1.0\"?><params>&amp;</params>\n")
}

#[actix::test]
async fn three_calls_register_over_one_connection() {
    let server = Httpd::answering([welcome(), osad(), empty_struct()]).await;
    let client = server.client();

    let registration = client.register(&systemid()).await.expect("it registers");
    client
        .register_jid(&systemid(), JID)
        .await
        .expect("it registers the JID");

    assert_eq!(registration.client.0, "aabbccddeeff0011");
    assert_eq!(
        registration.key,
        Secret::new("0123456789abcdef0123456789abcdef01234567")
    );
    assert_eq!(registration.dispatchers, ["d@localhost/superclient"]);
    assert_eq!(registration.drift_millis, 100_500);
    let requests = server.requests();
    for (request, wanted) in requests
        .iter()
        .zip(["welcome_message", "register_osad<", "register_osad_jid"])
    {
        assert!(request.contains(wanted), "{request}");
        assert!(
            request.starts_with("POST /XMLRPC HTTP/1.1\r\n") && request.contains("x-client-version: 1\r\n"),
            "{request}"
        );
        assert!(
            request.contains(&format!("host: localhost:{}\r\n", server.port)),
            "{request}"
        );
    }
    assert!(
        requests[1].contains("&lt;params&gt;&amp;amp;&lt;/params&gt;"),
        "verbatim: {}",
        requests[1]
    );
    assert!(requests[2].contains(JID), "{}", requests[2]);
    assert_eq!(server.connections(), 1);
}

#[actix::test]
async fn connection_that_the_server_closes_between_calls_is_made_again() {
    let closing = |answer: Vec<u8>| {
        let text = String::from_utf8_lossy(&answer).replacen("\r\n", "\r\nConnection: close\r\n", 1);
        text.into_bytes()
    };
    let greeting = http("200 OK", CAPABILITY, result("<string>hello</string>").as_bytes());
    let server = Httpd::answering([closing(greeting), closing(osad()), empty_struct()]).await;
    let client = server.client();

    client.register(&systemid()).await.expect("it registers");
    client
        .register_jid(&systemid(), JID)
        .await
        .expect("it registers the JID");

    assert_eq!(server.connections(), 3);
}

/// Compatibility contract, section 2.1: each way in which a Satellite writes its greeting, and what a web server may do
/// to any answer.
#[actix::test]
async fn every_coding_of_an_answer_is_read() {
    let text = result("<string>hello</string>");
    let packed = zlib(text.as_bytes());
    let in_lines = STANDARD
        .encode(&packed)
        .into_bytes()
        .chunks(76)
        .collect::<Vec<_>>()
        .join(&b"\r\n"[..]);
    let coded = |headers: &str, body: &[u8]| http("200 OK", &format!("{CAPABILITY}{headers}"), body);
    let chunked = |body: &[u8]| {
        let mut answer = format!("HTTP/1.1 200 OK\r\n{CAPABILITY}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
        for piece in body.chunks(7) {
            answer.extend(
                format!("{:x}\r\n", piece.len())
                    .bytes()
                    .chain(piece.iter().copied())
                    .chain(*b"\r\n"),
            );
        }
        answer.extend(*b"0\r\n\r\n");
        answer
    };
    for greeting in [
        coded(
            "Content-Encoding: x-zlib\r\nContent-Transfer-Encoding: base64\r\nContent-Type: text/base64\r\n",
            &in_lines,
        ),
        coded(
            "Content-Encoding: deflate\r\nContent-Type: application/binary\r\n",
            &packed,
        ),
        coded("Content-Type: text/html\r\n", text.as_bytes()),
        chunked(text.as_bytes()),
    ] {
        let shown = String::from_utf8_lossy(&greeting).into_owned();
        let server = Httpd::answering([
            Answer::Say(greeting),
            Answer::Pieces(osad().chunks(1).map(<[u8]>::to_vec).collect()),
        ])
        .await;

        let registered = server.client().register(&systemid()).await;

        assert!(registered.is_ok(), "{registered:?} after {shown}");
    }
    let coded_struct = coded("Content-Encoding: x-zlib\r\n", &zlib(osad_body().as_bytes()));
    let server = Httpd::answering([welcome(), coded_struct]).await;
    assert!(server.client().register(&systemid()).await.is_ok());
}

#[actix::test]
async fn redirects_are_followed_five_times_and_remembered() {
    for status in [
        "301 Moved",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let elsewhere = || http(status, "Location: /other/XMLRPC\r\n", b"");
        let five = (0..5).map(|_| elsewhere()).chain([welcome(), osad()]);
        let server = Httpd::answering(five).await;

        server.client().register(&systemid()).await.expect("it registers");

        let requests = server.requests();
        assert!(requests[6].starts_with("POST /other/XMLRPC "), "{status}");
        assert!(requests[5].contains("welcome_message"), "the call goes along: {status}");
    }
}

/// Both hosts are known to the proxy only.
#[actix::test]
async fn redirect_to_another_host_is_followed_and_its_certificate_checked() {
    let there = Site::certified_for("there.example.com");
    let target = Httpd::start([welcome(), osad()], there.beside("there.example.com", now())).await;
    let proxy = ProxyStandIn::start(Rule::Open).await;
    for (named, is_followed) in [("there.example.com", true), ("elsewhere.example.com", false)] {
        let location = format!("Location: https://{named}:{}/XMLRPC\r\n", target.port);
        let here = there.beside("here.example.com", now());
        let server = Httpd::start([http("302 Found", &location, b"")], here).await;
        let client = server.client_trusting(&there, proxy.used_by(None));

        let registered = client.register(&systemid()).await;

        assert_eq!(registered.is_ok(), is_followed, "{registered:?}");
    }
    assert_eq!(target.requests().len(), 2, "the systemid went to nobody else");
    assert!(target.requests()[0].contains(&format!("host: there.example.com:{}\r\n", target.port)));
}
