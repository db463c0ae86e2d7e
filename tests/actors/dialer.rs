//! The agent's connections, over loopback and real TLS.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use osa::net::access::Access;
use osa::net::dialer::{Keepalive, TcpDialer};
use osa::net::listener::listen_on;
use osa::net::tls::client_tls;
use osa::ports::transport::{Connection, DialError, Dialer, Handshake, LinkError};
use osa::settings::names::HostPort;
use tokio::net::TcpListener;

use crate::support::site::{Site, now};

fn dialer(site: &Site, server: &str) -> TcpDialer {
    let trust = client_tls(&site.authority.certificate, now()).expect("the CA loads");
    let keepalive = Keepalive {
        idle: Duration::from_secs(1800),
        count: 3,
    };
    let access = Access {
        tls: trust,
        proxy: None,
    };
    TcpDialer::new(HostPort::parse(server).expect("a server"), Arc::new(access), keepalive)
}

async fn handshake(connection: &mut dyn Connection) -> Result<Handshake, LinkError> {
    poll_fn(|cx| connection.poll_handshake(cx)).await
}

async fn write(connection: &mut dyn Connection, text: &[u8]) {
    let mut rest = text;
    while !rest.is_empty() {
        let count = poll_fn(|cx| connection.poll_write(cx, rest)).await.expect("it writes");
        rest = &rest[count..];
    }
    poll_fn(|cx| connection.poll_flush(cx)).await.expect("it flushes");
}

async fn read(connection: &mut dyn Connection) -> Vec<u8> {
    let mut buffer = [0; 64];
    let count = poll_fn(|cx| connection.poll_read(cx, &mut buffer))
        .await
        .expect("it reads");
    buffer[..count].to_vec()
}

#[actix::test]
async fn plain_words_then_tls_bound_to_the_same_channel() {
    let site = Site::certified_for("localhost");
    let listener = listen_on(([127, 0, 0, 1], 0).into(), &site.tls()).expect("it listens");
    let server = format!("localhost:{}", listener.local_addr().port());

    let dialed = dialer(&site, &server).dial();
    let accepted = poll_fn(|cx| listener.poll_accept(cx));
    let (dialed, accepted) = futures_util::future::join(dialed, accepted).await;
    let (mut client, mut server) = (dialed.expect("it connects"), accepted.expect("it accepts"));
    write(&mut *client, b"starttls?").await;
    let heard = read(&mut *server).await;
    let (here, there) = futures_util::future::join(handshake(&mut *client), handshake(&mut *server)).await;
    write(&mut *server, b"secret").await;

    assert_eq!(heard, b"starttls?");
    let here = here.expect("the server is trusted").channel_binding;
    assert!(here.is_some());
    assert_eq!(here, there.expect("the client agrees").channel_binding);
    assert_eq!(read(&mut *client).await, b"secret");
    drop(server);
    assert_eq!(read(&mut *client).await, b"", "a killed server is an end, not an error");
}

#[actix::test]
async fn server_certified_for_another_name_is_refused() {
    let site = Site::certified_for("sat.example.com");
    let listener = listen_on(([127, 0, 0, 1], 0).into(), &site.tls()).expect("it listens");
    let server = format!("localhost:{}", listener.local_addr().port());

    let (dialed, accepted) =
        futures_util::future::join(dialer(&site, &server).dial(), poll_fn(|cx| listener.poll_accept(cx))).await;
    let (mut client, mut server) = (dialed.expect("it connects"), accepted.expect("it accepts"));
    let (refused, _) = futures_util::future::join(handshake(&mut *client), handshake(&mut *server)).await;

    let error = refused.expect_err("it is refused");
    let wanted = "the server's certificate is for sat.example.com, not for localhost: ";
    assert!(error.to_string().starts_with(wanted), "{error}");
}

#[actix::test]
async fn unresolvable_and_closed_servers_are_named() {
    let site = Site::certified_for("localhost");
    let free = TcpListener::bind("127.0.0.1:0").await.expect("it listens");
    let closed = format!("localhost:{}", free.local_addr().expect("it has an address").port());
    drop(free);

    let unresolvable = dialer(&site, "no-such-host.invalid")
        .dial()
        .await
        .err()
        .expect("it fails");
    let refused = dialer(&site, &closed).dial().await.err().expect("it fails");

    assert!(matches!(unresolvable, DialError::Unresolvable { .. }), "{unresolvable}");
    let said = "cannot resolve no-such-host.invalid (server_url or jabber_server): ";
    assert!(unresolvable.to_string().starts_with(said), "{unresolvable}");
    assert!(matches!(refused, DialError::Refused { .. }), "{refused}");
    assert!(
        refused
            .to_string()
            .starts_with(&format!("cannot connect to {closed}: ")),
        "{refused}"
    );
}
