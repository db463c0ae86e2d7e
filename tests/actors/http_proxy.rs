//! The agent behind an HTTP proxy. Its servers' name means nothing on this machine: only the proxy knows it.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use osa::domain::secret::Secret;
use osa::net::access::{Access, HttpProxy};
use osa::net::dialer::{Keepalive, TcpDialer};
use osa::net::listener::listen_on;
use osa::net::tls::client_tls;
use osa::ports::registrar::Registrar;
use osa::ports::transport::{DialError, Dialer};
use osa::settings::names::HostPort;
use tokio::net::TcpListener;

use crate::support::http_proxy::{ProxyStandIn, Rule, proxy_at};
use crate::support::httpd::{Httpd, empty_struct, osad, welcome};
use crate::support::site::{HOST, Site, now};

/// "Aladdin:open sesame", RFC 7617, section 2.
const LOGIN: &str = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";

fn dialer(site: &Site, port: u16, proxy: Option<HttpProxy>) -> TcpDialer {
    let tls = client_tls(&site.authority.certificate, now()).expect("the CA loads");
    let keepalive = Keepalive {
        idle: Duration::from_secs(1_800),
        count: 3,
    };
    let server = HostPort::parse(&format!("{HOST}:{port}")).expect("a server");
    TcpDialer::new(server, Arc::new(Access { tls, proxy }), keepalive)
}

async fn refusal(proxy: Option<HttpProxy>) -> String {
    let dialed = dialer(&Site::new(), 5_222, proxy).dial().await;
    let error = dialed.err().expect("it fails");
    assert!(matches!(error, DialError::Proxy(_)), "{error}");
    let said = error.to_string();
    assert!(!said.contains('\n') && !said.contains("sesame"), "{said}");
    said
}

#[actix::test]
async fn registration_goes_through_a_proxy_with_and_without_login() {
    for (rule, login) in [
        (Rule::Open, None),
        (Rule::Open, Some(("Aladdin", "open sesame"))),
        (Rule::Login(LOGIN), Some(("Aladdin", "open sesame"))),
    ] {
        let server = Httpd::start([welcome(), osad(), empty_struct()], Site::new()).await;
        let proxy = ProxyStandIn::start(rule).await;
        let client = server.client_trusting(&server.site, proxy.used_by(login));
        let systemid = Secret::new("a systemid");

        client.register(&systemid).await.expect("it registers");
        client
            .register_jid(&systemid, "a@b/c")
            .await
            .expect("it registers the JID");

        let [asked] = &proxy.asked()[..] else {
            panic!("{:?}", proxy.asked())
        };
        let wanted = format!(
            "CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}:{port}\r\n",
            port = server.port
        );
        assert!(asked.starts_with(&wanted), "{asked}");
        assert_eq!(asked.contains("Proxy-Authorization"), login.is_some(), "{asked}");
        assert_eq!(server.requests().len(), 3);
        let told = server.requests().concat().to_ascii_lowercase();
        assert!(
            !told.contains("proxy-authorization"),
            "the server learns no password: {told}"
        );
    }
}

#[actix::test]
async fn connection_goes_through_a_proxy_and_is_as_secure_as_without() {
    let site = Site::new();
    let listener = listen_on(([127, 0, 0, 1], 0).into(), &site.tls()).expect("it listens");
    let proxy = ProxyStandIn::start(Rule::Login(LOGIN)).await;
    let port = listener.local_addr().port();
    let dialer = dialer(&site, port, proxy.used_by(Some(("Aladdin", "open sesame"))));

    let accepted = poll_fn(|cx| listener.poll_accept(cx));
    let dialed = async { dialer.dial().await.expect("it connects") };
    let (mut client, accepted) = futures_util::future::join(dialed, accepted).await;
    let mut server = accepted.expect("it accepts");
    let (here, there) = futures_util::future::join(
        poll_fn(|cx| client.poll_handshake(cx)),
        poll_fn(|cx| server.poll_handshake(cx)),
    )
    .await;

    let here = here.expect("the server is trusted").channel_binding;
    assert_eq!(here, there.expect("the client agrees").channel_binding);
    assert!(here.is_some(), "nobody in between can pose as the server");
    assert_eq!(client.peer_addr(), proxy.address);
}

#[actix::test]
async fn proxy_that_wants_another_login_is_told_without_the_password() {
    let proxy = ProxyStandIn::start(Rule::Login(LOGIN)).await;

    let without = refusal(proxy.used_by(None)).await;
    let wrong = refusal(proxy.used_by(Some(("Aladdin", "close sesame")))).await;

    let start = format!("the HTTP proxy {} ", proxy.address);
    assert!(
        without.starts_with(&format!("{start}wants a user name and password (status 407)")),
        "{without}"
    );
    assert!(
        without.contains("enableProxyAuth=1, proxyUser and proxyPassword"),
        "{without}"
    );
    assert!(
        wrong.starts_with(&format!("{start}refuses the user \"Aladdin\" or the password")),
        "{wrong}"
    );
    assert!(wrong.contains("correct proxyUser and proxyPassword"), "{wrong}");
}

#[actix::test]
async fn proxy_that_does_not_connect_says_why() {
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "X-Header: on and on\r\n".repeat(10_000));
    for (words, said_of_it) in [
        (
            "HTTP/1.1 403 Forbidden\r\n\r\n<html>",
            "does not connect to sat.example.com:5222 (status 403): let it CONNECT",
        ),
        (
            "HTTP/1.0 405 No\r\n\r\n",
            "(status 405): let it CONNECT to this host and port",
        ),
        (
            "HTTP/1.1 503 Unavailable\r\n\r\n",
            "cannot reach sat.example.com:5222 (status 503)",
        ),
        (
            "SSH-2.0-OpenSSH_9\r\n\r\n",
            "does not answer as an HTTP proxy (not HTTP): correct httpProxy",
        ),
        ("HTTP/1.1 200 OK\r\n\r\n<html>welcome</html>", "(more than a header)"),
        ("HTTP/1.1 200", "(it hung up)"),
        ("", "(it hung up)"),
        (endless.as_str(), "(endless header)"),
    ] {
        let proxy = ProxyStandIn::start(Rule::Says(words.to_owned())).await;
        let said = refusal(proxy.used_by(None)).await;
        assert!(said.contains(said_of_it), "{said}");
        assert!(said.contains(&proxy.address.to_string()), "{said}");
    }
}

#[actix::test]
async fn proxy_that_is_not_there_is_told_from_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("it listens");
    let address = listener.local_addr().expect("it has an address");
    drop(listener);

    let said = refusal(proxy_at(address, None)).await;

    assert!(
        said.starts_with(&format!("cannot connect to the HTTP proxy {address}: ")),
        "{said}"
    );
    assert!(said.ends_with("correct httpProxy (proxy.server)"), "{said}");
}

/// It takes the connection and says nothing, as a port forwarded to nowhere does.
#[actix::test]
async fn silent_proxy_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("it listens");
    let address = listener.local_addr().expect("it has an address");
    let refused = actix::spawn(refusal(proxy_at(address, None)));
    let held = listener.accept().await.expect("it accepts");

    tokio::time::pause();
    let said = refused.await.expect("no panic");

    assert!(said.contains(": timed out; "), "{said}");
    drop(held);
}
