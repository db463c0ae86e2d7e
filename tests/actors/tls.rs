//! Certificates, their errors, and TLS over loopback.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;

use osa::net::ca::issue_server;
use osa::net::listener::{ListenError, listen_everywhere, listen_on};
use osa::ports::tls::Certificates;
use osa::ports::transport::{Connection, Handshake, LinkError, Listener, TlsFailure};
use rustls::{CipherSuite, ClientConnection, HandshakeKind, ProtocolVersion};

use crate::support::site::{Site, now};

/// Accepts one connection and drives its handshake.
async fn shake_hands(listener: &Arc<dyn Listener>) -> (Box<dyn Connection>, Result<Handshake, LinkError>) {
    let mut connection = std::future::poll_fn(|cx| listener.poll_accept(cx))
        .await
        .expect("accepts");
    let handshake = std::future::poll_fn(|cx| connection.poll_handshake(cx)).await;
    (connection, handshake)
}

/// What a client knows of its connection.
#[derive(Debug, PartialEq)]
struct Known {
    version: Option<ProtocolVersion>,
    resumed: bool,
    exporter: Option<[u8; 32]>,
}

fn hello(stream: &mut rustls::StreamOwned<ClientConnection, TcpStream>) -> Known {
    stream.write_all(b"hello").expect("written");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).expect("read");
    let tls = &stream.conn;
    Known {
        version: tls.protocol_version(),
        resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
        exporter: tls
            .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", None)
            .ok(),
    }
}

/// Greets over TLS from a thread.
fn greet(site: &Site, address: SocketAddr) -> std::thread::JoinHandle<Known> {
    let mut stream = site.client(address);
    std::thread::spawn(move || hello(&mut stream))
}

async fn echo_once(connection: &mut Box<dyn Connection>) {
    let mut buffer = [0; 16];
    let count = std::future::poll_fn(|cx| connection.poll_read(cx, &mut buffer))
        .await
        .expect("read");
    let text = buffer.get(..count).expect("within").to_vec();
    std::future::poll_fn(|cx| connection.poll_write(cx, &text))
        .await
        .expect("written");
    std::future::poll_fn(|cx| connection.poll_flush(cx))
        .await
        .expect("flushed");
}

#[actix::test]
async fn both_ends_of_tls_1_3_know_the_same_channel_binding() {
    let site = Site::new();
    let listener = listen_on(SocketAddr::from(([127, 0, 0, 1], 0)), &site.tls()).expect("listens");
    let client = greet(&site, listener.local_addr());

    let (mut connection, handshake) = shake_hands(&listener).await;
    echo_once(&mut connection).await;

    let known = client.join().expect("client");
    assert_eq!(known.version, Some(ProtocolVersion::TLSv1_3));
    let binding = handshake.expect("TLS").channel_binding;
    assert!(binding.is_some());
    assert_eq!(binding, known.exporter);
}

/// Connects twice with one configuration, of this version and these cipher suites.
async fn connect_twice(
    version: &'static rustls::SupportedProtocolVersion,
    suite: Option<CipherSuite>,
) -> Vec<(Handshake, Known)> {
    let site = Site::new();
    let listener = listen_on(SocketAddr::from(([127, 0, 0, 1], 0)), &site.tls()).expect("listens");
    let config = site.client_config(version, suite);
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let mut stream = site.client_with(Arc::clone(&config), listener.local_addr());
        let client = std::thread::spawn(move || hello(&mut stream));
        let (mut connection, handshake) = shake_hands(&listener).await;
        echo_once(&mut connection).await;
        outcomes.push((handshake.expect("TLS"), client.join().expect("client")));
    }
    outcomes
}

#[actix::test]
async fn channel_binding_is_right_for_every_hash_of_tls_1_3() {
    for suite in [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ] {
        for (handshake, known) in connect_twice(&rustls::version::TLS13, Some(suite)).await {
            assert!(handshake.channel_binding.is_some(), "{suite:?}");
            assert_eq!(handshake.channel_binding, known.exporter, "{suite:?}");
        }
    }
}

#[actix::test]
async fn client_that_comes_back_resumes_its_session() {
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let resumed: Vec<_> = connect_twice(version, None)
            .await
            .iter()
            .map(|(_, known)| known.resumed)
            .collect();

        assert_eq!(resumed, [false, true], "{version:?}");
    }
}

#[actix::test]
async fn tls_1_2_client_is_served_without_channel_binding() {
    for (handshake, known) in connect_twice(&rustls::version::TLS12, None).await {
        assert_eq!(known.version, Some(ProtocolVersion::TLSv1_2));
        assert_eq!(handshake.channel_binding, None);
    }
}

#[actix::test]
async fn much_data_arrives_whole_in_both_directions() {
    const LENGTH: usize = 1_000_000;
    let site = Site::new();
    let listener = listen_on(SocketAddr::from(([127, 0, 0, 1], 0)), &site.tls()).expect("listens");
    let mut stream = site.client(listener.local_addr());
    let client = std::thread::spawn(move || {
        let sent: Vec<u8> = (0..LENGTH).map(|at| u8::try_from(at % 251).expect("fits")).collect();
        stream.write_all(&sent).expect("written");
        let mut came = vec![0; LENGTH];
        stream.read_exact(&mut came).expect("read");
        came == sent
    });
    let (mut connection, _) = shake_hands(&listener).await;

    let (mut data, mut buffer) = (Vec::new(), [0; 1000]);
    while data.len() < LENGTH {
        let count = std::future::poll_fn(|cx| connection.poll_read(cx, &mut buffer))
            .await
            .expect("read");
        assert!(count > 0, "the client ended early");
        data.extend_from_slice(&buffer[..count]);
    }
    let mut rest = &data[..];
    while !rest.is_empty() {
        let count = std::future::poll_fn(|cx| connection.poll_write(cx, rest))
            .await
            .expect("written");
        rest = &rest[count..];
    }
    std::future::poll_fn(|cx| connection.poll_flush(cx))
        .await
        .expect("flushed");

    assert!(client.join().expect("client"));
}

#[actix::test]
async fn goodbyes_are_said_and_understood() {
    let site = Site::new();
    let listener = listen_on(SocketAddr::from(([127, 0, 0, 1], 0)), &site.tls()).expect("listens");
    let mut stream = site.client(listener.local_addr());
    let client = std::thread::spawn(move || {
        hello(&mut stream);
        stream.conn.send_close_notify();
        stream.flush().expect("flushed");
        // Without `close_notify` from the server this is an error.
        stream.read(&mut [0; 16]).expect("a clean end")
    });
    let (mut connection, _) = shake_hands(&listener).await;
    echo_once(&mut connection).await;

    let count = std::future::poll_fn(|cx| connection.poll_read(cx, &mut [0; 16])).await;
    assert_eq!(count.expect("a clean end"), 0);
    std::future::poll_fn(|cx| connection.poll_close(cx))
        .await
        .expect("closed");

    assert_eq!(client.join().expect("client"), 0);
}

#[actix::test]
async fn renewed_certificate_serves_new_connections_and_old_ones_go_on() {
    let site = Site::new();
    let tls = site.tls();
    let listener = listen_on(SocketAddr::from(([127, 0, 0, 1], 0)), &tls).expect("listens");
    let old_client = greet(&site, listener.local_addr());
    let (mut old, _) = shake_hands(&listener).await;

    issue_server(&site.authority, &site.server, now()).expect("issued");
    tls.reload(now()).expect("reloads");
    let new_client = greet(&site, listener.local_addr());
    let (mut new, handshake) = shake_hands(&listener).await;
    echo_once(&mut new).await;
    echo_once(&mut old).await;

    handshake.expect("TLS");
    old_client.join().expect("old client");
    new_client.join().expect("new client");
}

#[actix::test]
async fn client_of_another_authority_says_so_and_the_server_understands() {
    let (site, other) = (Site::new(), Site::new());
    let listener = listen_on(SocketAddr::from(([127, 0, 0, 1], 0)), &site.tls()).expect("listens");
    let mut stream = other.client(listener.local_addr());
    let client = std::thread::spawn(move || stream.write_all(b"hello").expect_err("the certificate is not trusted"));

    let (_connection, handshake) = shake_hands(&listener).await;

    let failure = handshake.expect_err("refused");
    assert!(
        matches!(failure, LinkError::Tls(TlsFailure::CertificateRefused(_))),
        "{failure}"
    );
    client.join().expect("client");
}

/// A TLS 1.0 client hello with the cipher suites of its time.
const TLS10_HELLO: &[u8] = &[
    0x16, 0x03, 0x01, 0x00, 0x2f, 0x01, 0x00, 0x00, 0x2b, 0x03, 0x01, // record, handshake, version
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
    32, 0, // random, session id
    0x00, 0x04, 0x00, 0x35, 0x00, 0x2f, 0x01, 0x00, // suites, compression
];

async fn knock(bytes: &'static [u8]) -> LinkError {
    let site = Site::new();
    let listener = listen_on(SocketAddr::from(([127, 0, 0, 1], 0)), &site.tls()).expect("listens");
    let mut client = TcpStream::connect(listener.local_addr()).expect("connects");
    client.write_all(bytes).expect("written");
    shake_hands(&listener).await.1.expect_err("refused")
}

#[actix::test]
async fn tls_1_0_peer_is_recognised() {
    let failure = knock(TLS10_HELLO).await;

    assert!(
        matches!(failure, LinkError::Tls(TlsFailure::LegacyPeer(_))),
        "{failure}"
    );
}

#[actix::test]
async fn peer_that_speaks_http_is_recognised() {
    let failure = knock(b"GET / HTTP/1.1\r\nHost: sat.example.com\r\n\r\n").await;

    assert!(matches!(failure, LinkError::Tls(TlsFailure::NotTls(_))), "{failure}");
}

#[actix::test]
async fn both_families_share_one_port() {
    let listeners = listen_everywhere(0, &Site::new().tls()).expect("listens");

    let ports: Vec<_> = listeners.iter().map(|listener| listener.local_addr().port()).collect();
    assert!(ports.windows(2).all(|pair| pair.first() == pair.last()), "{ports:?}");
    let v6 = listeners.iter().find(|listener| listener.local_addr().is_ipv6());
    if let Some(v6) = v6 {
        let address = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), v6.local_addr().port());
        TcpStream::connect(address).expect("IPv6 answers");
    }
}

#[test]
fn remedy_fits_the_reason_why_a_port_is_not_had() {
    let said = |kind: std::io::ErrorKind| {
        let address = SocketAddr::from(([127, 0, 0, 1], 5222));
        let error = kind.into();
        ListenError { address, error }.to_string()
    };

    assert!(said(std::io::ErrorKind::PermissionDenied).contains("SELinux"));
    assert!(!said(std::io::ErrorKind::PermissionDenied).contains("stop what uses it"));
    assert!(said(std::io::ErrorKind::AddrInUse).contains("stop what uses it"));
}

#[actix::test]
async fn address_that_is_not_ours_is_told() {
    let site = Site::new();
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));

    let error = listen_on(elsewhere, &site.tls()).err().expect("not ours").to_string();

    assert!(error.ends_with("configure an address of this machine"), "{error}");
}

#[actix::test]
async fn address_in_use_is_named() {
    let site = Site::new();
    let listener = listen_on(SocketAddr::from(([127, 0, 0, 1], 0)), &site.tls()).expect("listens");

    let error = listen_on(listener.local_addr(), &site.tls())
        .err()
        .expect("in use")
        .to_string();

    assert!(
        error.contains(&format!("cannot listen on {}", listener.local_addr())),
        "{error}"
    );
}
