//! Registration over real TLS, against a server that answers as it is told: what goes wrong, and what is said about it.

use osa::domain::secret::Secret;
use osa::domain::time::Timestamp;
use osa::net::ca::{AuthorityFiles, create_authority};
use osa::ports::registrar::{Registrar, RegistrarError};
use tokio::net::TcpListener;

use crate::support::httpd::{
    Answer, CAPABILITY, Httpd, empty_struct, fault, http, osad, osad_body, result, welcome, zlib,
};
use crate::support::site::{Site, now};

fn systemid() -> Secret {
    Secret::new("<params><param><value><string>a systemid</string></value></param></params>")
}

async fn refused_by(server: &Httpd) -> RegistrarError {
    let error = server.client().register(&systemid()).await.expect_err("it fails");
    assert!(!error.to_string().contains('\n'), "one line: {error}");
    assert!(
        error.to_string().contains(&server.port.to_string()),
        "it names the server: {error}"
    );
    error
}

async fn refusal<A: Into<Answer>>(answers: impl IntoIterator<Item = A>) -> String {
    refused_by(&Httpd::answering(answers).await).await.to_string()
}

#[actix::test]
async fn server_without_push_is_told_apart() {
    let no_capability = http("200 OK", "", result("<string>hello</string>").as_bytes());

    for answers in [vec![no_capability], vec![welcome(), empty_struct()]] {
        let said = refusal(answers).await;
        assert!(said.contains("offers no push: set server.jabber_server"), "{said}");
    }
}

/// All faults of compatibility contract, section 2.4, in the form that a Satellite gives them.
#[actix::test]
async fn each_fault_is_one_line_with_the_way_out() {
    let anew = "register the machine anew";
    for (code, remedy) in [
        (-9, anew),
        (-28, anew),
        (-160, "name the server as it calls itself"),
        (-1, "takes no calls now"),
        (-31, "see its log"),
        (1, "see its log"),
    ] {
        let text = format!(
            "\nError Message:\n    Something &lt;is&gt; wrong.\nError Class Code: {}\n",
            -code
        );
        let said = refusal([welcome(), fault(code, &text)]).await;

        let words = format!(
            "refused registration.register_osad: Error Message: Something <is> wrong. Error Class Code: {} (fault {code})",
            -code
        );
        assert!(said.contains(&words) && said.contains(remedy), "{said}");
    }
    let long = refusal([fault(-1, &"a message to all \u{85}\u{2028}".repeat(1_000))]).await;
    assert!(long.len() < 500 && !long.contains(['\u{85}', '\u{2028}']), "{long}");
}

#[actix::test]
async fn fault_of_the_last_call_is_told_as_well() {
    let server = Httpd::answering([welcome(), osad(), fault(-9, "Invalid System Credentials")]).await;
    let client = server.client();
    client.register(&systemid()).await.expect("it registers");

    let error = client.register_jid(&systemid(), "a@b/c").await.expect_err("it fails");

    let said = error.to_string();
    assert!(
        said.contains("refused registration.register_osad_jid: Invalid System"),
        "{said}"
    );
    // What comes next begins with a connection of its own.
    drop(server);
    assert!(client.register(&systemid()).await.is_err());
}

#[actix::test]
async fn statuses_say_who_has_to_do_something() {
    for (status, remedy) in [
        ("404 Not Found", "correct the path in serverURL"),
        ("403 Forbidden", "let this machine use it"),
        ("500 Internal Server Error", "see the log of its web server"),
        ("503 Service Unavailable", "see the log of its web server"),
        ("204 No Content", "see what answers there"),
    ] {
        let said = refusal([http(status, "Content-Type: text/html\r\n", b"<html>sorry</html>")]).await;
        assert!(said.contains(&format!("HTTP status {}: ", &status[..3])), "{said}");
        assert!(said.contains(remedy), "{said}");
    }
}

#[actix::test]
async fn answers_that_are_no_xml_rpc_are_told_by_their_kind() {
    let page = refusal([http(
        "200 OK",
        "Content-Type: text/html; charset=utf-8\r\n",
        b"<!DOCTYPE html><html>Log in to the network</html>",
    )])
    .await;
    assert!(
        page.contains("\"text/html; charset=utf-8\" instead of XML-RPC"),
        "{page}"
    );

    for (what, body) in [
        ("another document", "<html>busy</html>"),
        ("not XML", "busy"),
        ("cut off", "<?xml version='1.0'?><methodResponse><params>"),
        ("an entity", "<!DOCTYPE a [<!ENTITY b 'c'>]><methodResponse/>"),
        ("nothing", ""),
    ] {
        let said = refusal([http("200 OK", "Content-Type: text/xml\r\n", body.as_bytes())]).await;
        assert!(said.contains("sent an unreadable answer: "), "{what}: {said}");
    }
    let not_osad = result("<string>no struct</string>");
    let said = refusal([welcome(), http("200 OK", "", not_osad.as_bytes())]).await;
    assert!(said.contains("answer of register_osad is not a struct"), "{said}");
    let nameless = osad_body().replace("client-name", "name");
    let said = refusal([welcome(), http("200 OK", "", nameless.as_bytes())]).await;
    assert!(said.contains("no usable \"client-name\""), "{said}");
}

#[actix::test]
async fn answers_that_are_too_large_are_not_taken() {
    let bomb = zlib(&vec![b' '; 64 * 1024 * 1024]);
    assert!(bomb.len() < 128 * 1024);
    let bomb = http("200 OK", "Content-Encoding: x-zlib\r\n", &bomb);
    let endless = [
        format!("HTTP/1.1 200 OK\r\n{CAPABILITY}Transfer-Encoding: chunked\r\n\r\n").into_bytes(),
        [b"100000\r\n".as_slice(), &vec![b' '; 0x10_0000], b"\r\n"]
            .concat()
            .repeat(2),
    ]
    .concat();
    for (huge, said_of_it) in [
        (bomb, "more than 1048576 bytes once unpacked"),
        (
            http("200 OK", "", &vec![b' '; 2 * 1024 * 1024]),
            "length limit exceeded",
        ),
        (endless, "length limit exceeded"),
    ] {
        let said = refusal([huge]).await;
        assert!(said.contains(said_of_it), "{said}");
    }
}

#[actix::test]
async fn answers_that_end_too_early_are_not_taken() {
    let whole = osad();
    let body = osad_body().len();
    let packed = zlib(osad_body().as_bytes());
    let cut_zlib = http("200 OK", "Content-Encoding: x-zlib\r\n", &packed[..packed.len() - 8]);
    let chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n<?xml version='1".to_vec();
    for (what, answer) in [
        ("at once", Answer::Cut(Vec::new())),
        ("in the header", Answer::Cut(whole[..whole.len() - body - 10].to_vec())),
        ("in the body", Answer::Cut(whole[..whole.len() - 10].to_vec())),
        ("in a chunk", Answer::Cut(chunk)),
        ("in the compressed data", Answer::Say(cut_zlib)),
    ] {
        let said = refusal([Answer::Say(welcome()), answer]).await;
        let known = said.contains("unreadable answer: ") || said.contains("broke the HTTP exchange ");
        assert!(known, "{what}: {said}");
    }
}

#[actix::test]
async fn server_that_never_answers_is_given_up() {
    let server = Httpd::answering([Answer::Nothing]).await;
    let client = server.client();
    let registering = async move { client.register(&systemid()).await };
    let registering = actix::spawn(registering);
    server.is_asked().await;

    // From here on nobody works, so that time passes at once.
    tokio::time::pause();
    let error = registering.await.expect("no panic").expect_err("it fails");

    let said = format!("localhost:{} did not answer in time: ", server.port);
    assert!(error.to_string().starts_with(&said), "{error}");
}

#[actix::test]
async fn redirects_in_a_circle_or_into_the_clear_are_refused() {
    let circle = refusal((0..6).map(|_| http("302 Found", "Location: /XMLRPC\r\n", b""))).await;
    assert!(circle.contains("redirects more than five times"), "{circle}");

    for location in [
        "http://localhost/XMLRPC",
        "https://127.0.0.1/XMLRPC",
        "ftp://localhost/",
        "//localhost/x",
        "",
    ] {
        let header = format!("Location: {location}\r\n");
        let server = Httpd::answering([http("301 Moved Permanently", &header, b"")]).await;
        let said = refused_by(&server).await.to_string();
        assert!(
            said.contains(&format!("redirects to {location:?}, which is no https URL")),
            "{said}"
        );
        assert_eq!(server.requests().len(), 1, "{location}");
    }
}

#[actix::test]
async fn certificates_that_do_not_convince_are_told_with_the_file_and_the_way_out() {
    let year = 365 * 24 * 3_600;
    let at = |years: i64| Timestamp::from_secs(now().as_secs() + years * year);
    let site = Site::certified_for("localhost");
    let stranger = Site::certified_for("localhost");
    let mut unheard_of = Site::certified_for("localhost");
    unheard_of.authority = AuthorityFiles {
        certificate: unheard_of.dir.path().join("other.crt"),
        key: unheard_of.dir.path().join("other.key"),
    };
    create_authority(&unheard_of.authority, "An authority of another name", now()).expect("it is made");
    let ca = site.authority.certificate.display().to_string();
    for (served, parts) in [
        (
            stranger,
            vec!["is not signed by an authority in", ca.as_str(), "sslCACert"],
        ),
        (
            unheard_of.beside("localhost", now()),
            vec!["is not signed by an authority in", ca.as_str()],
        ),
        (
            site.beside("sat.example.com", now()),
            vec!["is for sat.example.com, not for localhost", "serverURL"],
        ),
        (
            site.beside("localhost", at(-9)),
            vec!["has expired", "renew it on the server"],
        ),
        (site.beside("localhost", at(9)), vec!["is not valid yet", "clock"]),
    ] {
        let mut server = Httpd::start([welcome()], served).await;
        server.site.server.hostname = "localhost".to_owned();
        let client = server.client_trusting(&site, None);

        let said = client.register(&systemid()).await.expect_err("it fails").to_string();

        assert!(
            said.starts_with(&format!("localhost:{}: the server's certificate ", server.port)),
            "{said}"
        );
        assert!(!said.contains('\n'), "{said}");
        for part in parts {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(server.requests().is_empty(), "no word is said to it");
    }
}

#[actix::test]
async fn nobody_listening_is_unreachable() {
    let mut gone = Httpd::answering([welcome()]).await;
    let listener = TcpListener::bind("localhost:0").await.expect("it listens");
    gone.port = listener.local_addr().expect("it has an address").port();
    drop(listener);

    let said = refused_by(&gone).await.to_string();

    assert!(
        said.starts_with(&format!("cannot connect to localhost:{}: ", gone.port)),
        "{said}"
    );
    assert!(said.ends_with("start the server, or open the port"), "{said}");
}
