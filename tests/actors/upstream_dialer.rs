//! The dispatcher's connection to a site's own XMPP server, over loopback and real TLS.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use osa::net::upstream::UpstreamDialer;
use osa::ports::tls::TlsError;
use osa::ports::transport::{Connection, DialError, Dialer, LinkError};
use osa::settings::names::DomainName;
use osa::settings::upstream::UpstreamAddress;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;

const HOST: &str = "sat.example.com";

/// An authority in a file.
struct Authority {
    dir: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A server's certificate and key.
struct Pair {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // As a second one made by the same tool.
        params.distinguished_name.push(DnType::CommonName, "Site CA");
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let authority = Self {
            dir: tempfile::tempdir().expect("a directory"),
            issuer,
        };
        authority.write(&authority.issuer.pem());
        authority
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.file(), text).expect("written");
    }

    fn pair(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        }
    }

    fn dialer(&self, servers: &[SocketAddr], common_name: bool) -> UpstreamDialer {
        dialer(Some(self.file()), servers, common_name).expect("the authority is of use")
    }

    /// What becomes of a handshake with such a server.
    async fn verdict(&self, pair: Pair, common_name: bool) -> Result<(), String> {
        let server = served(pair).await;
        let mut connection = self.dialer(&[server], common_name).dial().await.expect("it connects");
        let handshake = poll_fn(|cx| connection.poll_handshake(cx)).await;
        handshake.map(drop).map_err(|error| {
            let text = error.to_string();
            assert!(!text.contains('\n'), "{text}");
            text
        })
    }
}

fn dialer(authority: Option<PathBuf>, servers: &[SocketAddr], common_name: bool) -> Result<UpstreamDialer, TlsError> {
    let servers = servers.iter().map(|server| UpstreamAddress {
        host: server.ip().to_string(),
        port: server.port(),
    });
    let hostname = DomainName::parse(HOST).expect("a name");
    UpstreamDialer::new(servers.collect(), hostname, authority, common_name)
}

/// A certificate with this common name, and these names as subjectAltName.
fn named(common_name: &str, alt_names: &[&str]) -> CertificateParams {
    let alt_names: Vec<String> = alt_names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(alt_names).expect("names");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_before = rcgen::date_time_ymd(2008, 1, 1);
    params.not_after = rcgen::date_time_ymd(2011, 8, 1);
    params
}

/// A server that echoes inside TLS.
async fn served(pair: Pair) -> SocketAddr {
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(pair.chain, pair.key)
        .expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("it listens");
    let address = listener.local_addr().expect("it has an address");
    actix_rt::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that refuses the certificate hangs up.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut buffer = [0; 64];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..count]).await.ok();
            }
        }
    });
    address
}

async fn dialed(dialer: &UpstreamDialer) -> Box<dyn Connection> {
    dialer.dial().await.expect("it connects")
}

/// A port that is taken, on which nobody listens.
fn closed() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("it binds");
    let address = socket.local_addr().expect("it has an address");
    (socket, address)
}

#[actix::test]
async fn server_at_an_address_is_verified_by_the_name_of_the_site() {
    let site = Authority::new();
    let server = served(site.pair(named("other", &[HOST]))).await;
    let dialer = site.dialer(&[server], false);

    let mut connection = dialed(&dialer).await;
    let handshake = poll_fn(|cx| connection.poll_handshake(cx)).await;
    assert!(handshake.expect("it is trusted").channel_binding.is_some());
    poll_fn(|cx| connection.poll_write(cx, b"echo"))
        .await
        .expect("it writes");
    poll_fn(|cx| connection.poll_flush(cx)).await.expect("it flushes");
    let mut buffer = [0; 64];
    let count = poll_fn(|cx| connection.poll_read(cx, &mut buffer)).await;

    assert_eq!(&buffer[..count.expect("it reads")], b"echo");
    assert_eq!(dialer.domain(), HOST);
}

#[actix::test]
async fn common_name_counts_only_where_the_site_says_so() {
    let site = Authority::new();

    let refused = site.verdict(site.pair(named(HOST, &[])), false).await;

    assert_eq!(
        refused.expect_err("no subjectAltName"),
        "the server's certificate has no subjectAltName, and sat.example.com only as its common name: give the server one \
         with both, or set upstream.common_name = true"
    );
    for name in [HOST, "SAT.example.com", "*.example.com"] {
        let accepted = site.verdict(site.pair(named(name, &[])), true).await;
        assert_eq!(accepted, Ok(()), "{name}");
    }
    assert_eq!(site.verdict(site.pair(named("x", &[HOST])), true).await, Ok(()));
}

#[actix::test]
async fn common_name_does_not_stand_in_for_anything_else() {
    let site = Authority::new();
    let verdict = async |pair| site.verdict(pair, true).await.expect_err("refused");

    let other = verdict(site.pair(named("old.example.com", &[]))).await;
    let told = "the server's certificate is for old.example.com, not for sat.example.com: ";
    assert!(other.starts_with(told), "{other}");
    let elsewhere = verdict(site.pair(named(HOST, &["old.example.com"]))).await;
    assert!(elsewhere.starts_with(told), "{elsewhere}");
    let old = verdict(site.pair(expired(named(HOST, &[])))).await;
    assert!(old.starts_with("the server's certificate has expired: "), "{old}");
    let strange = verdict(Authority::new().pair(named(HOST, &[]))).await;
    assert!(
        strange.starts_with("the server's certificate is not signed by an authority in "),
        "{strange}"
    );
}

#[actix::test]
async fn what_is_wrong_with_a_certificate_is_told_apart() {
    let site = Authority::new();
    let verdict = async |pair| site.verdict(pair, false).await.expect_err("refused");

    assert_eq!(
        verdict(site.pair(named(HOST, &["a.example.com", "b.example.com"]))).await,
        "the server's certificate is for a.example.com, b.example.com, not for sat.example.com: correct the name of the site \
         (osa-dispatcher.jabber_server; hostname), or give the server a certificate for sat.example.com"
    );
    assert_eq!(
        verdict(site.pair(expired(named(HOST, &[HOST])))).await,
        "the server's certificate has expired: renew it on the server, or correct this machine's clock"
    );
    assert_eq!(
        verdict(Authority::new().pair(named(HOST, &[HOST]))).await,
        format!(
            "the server's certificate is not signed by an authority in {}: put the server's CA certificate there, or name \
             the file that holds it (osa-dispatcher.osa_ssl_cert; upstream.ca)",
            site.file().display()
        )
    );
}

/// The files are by OpenSSL (`openssl x509 -req -sha1`), valid until 2126; ring signs nothing by SHA-1.
#[actix::test]
async fn signature_by_sha1_is_told_with_its_remedy() {
    let pair = Pair {
        chain: vec![CertificateDer::from_pem_slice(include_bytes!("sha1/server.crt")).expect("PEM")],
        key: PrivateKeyDer::from_pem_slice(include_bytes!("sha1/server.key")).expect("PEM"),
    };
    let site = Authority::new();
    site.write(include_str!("sha1/ca.crt"));

    assert_eq!(
        site.verdict(pair, true).await.expect_err("refused"),
        "the server's certificate is signed by a method that is not safe any more, such as SHA-1: make a new one on the \
         server, signed with SHA-256"
    );
}

#[actix::test]
async fn server_without_modern_tls_is_told_with_its_remedy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("it listens");
    let server = listener.local_addr().expect("it has an address");
    actix_rt::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("it accepts");
        let mut hello = [0; 4096];
        assert_ne!(stream.read(&mut hello).await.expect("a hello"), 0);
        // A fatal alert of TLS 1.0: protocol_version (RFC 5246, section 7.2).
        stream.write_all(&[21, 3, 1, 0, 2, 2, 70]).await.expect("it writes");
        // Until the client has read it.
        let _ = stream.read(&mut hello).await;
    });

    let mut connection = dialed(&Authority::new().dialer(&[server], false)).await;
    let handshake = poll_fn(|cx| connection.poll_handshake(cx)).await;

    let error: LinkError = handshake.expect_err("refused");
    let error = error.to_string();
    assert!(
        error.starts_with("the server offers no TLS 1.2 or 1.3 with a modern cipher ("),
        "{error}"
    );
    assert!(error.contains("update it and its OpenSSL to 1.0.1 or later"), "{error}");
}

#[actix::test]
async fn authority_that_is_renewed_counts_from_the_next_connection_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = served(new.pair(named(HOST, &[HOST]))).await;
    let following = old.dialer(&[server], false);
    let shakes_hands = async || {
        let mut connection = dialed(&following).await;
        poll_fn(|cx| connection.poll_handshake(cx)).await.is_ok()
    };

    assert!(!shakes_hands().await);
    old.write(&new.issuer.pem());
    assert!(shakes_hands().await);
    std::fs::remove_file(old.file()).expect("removed");

    let error = following.dial().await.err().expect("nobody to trust");
    assert!(
        matches!(error, DialError::Authority(TlsError::Missing { .. })),
        "{error}"
    );
    let unusable = dialer(Some(old.file()), &[server], false);
    assert!(matches!(unusable, Err(TlsError::Missing { .. })), "{unusable:?}");
}

#[actix::test]
async fn next_server_is_tried_after_one_that_is_down_and_one_that_was_used() {
    let site = Authority::new();
    let (one, two) = (
        served(site.pair(named(HOST, &[HOST]))).await,
        served(site.pair(named(HOST, &[HOST]))).await,
    );
    let (_taken, down) = closed();
    let dialer = site.dialer(&[down, one, two], false);

    let mut met = Vec::new();
    for _ in 0..3 {
        met.push(dialed(&dialer).await.peer_addr());
    }

    assert_eq!(met, [one, two, one]);
}

#[actix::test]
async fn last_server_that_is_down_is_named() {
    let (first, last) = (closed(), closed());

    let error = Authority::new().dialer(&[first.1, last.1], false).dial().await;

    let error = error.err().expect("nobody listens").to_string();
    assert!(error.starts_with(&format!("cannot connect to {}: ", last.1)), "{error}");
}

#[actix::test]
async fn without_an_authority_there_is_no_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("it listens");
    let server = listener.local_addr().expect("it has an address");

    let dialer = dialer(None, &[server], false).expect("nothing to read");
    let mut connection = dialer.dial().await.expect("it is on this machine");

    let handshake = poll_fn(|cx| connection.poll_handshake(cx)).await;
    assert!(matches!(handshake, Err(LinkError::Io(_))), "{handshake:?}");
}
