//! A server with several names, and what its certificates must carry.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use osa::net::ca::{AuthorityFiles, ensure};
use osa::net::listener::listen_on;
use osa::net::tls::{ServerFiles, ServerTls};
use osa::ports::tls::{Certificates, TlsWarning};
use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::support::site::{HOST, Site, now};

const PROXY: &str = "proxy.example.com";

/// The files of a further name of a site, with a certificate of its authority.
fn further_name(site: &Site) -> ServerFiles {
    let server = ServerFiles {
        certificate: site.dir.path().join("proxy.crt"),
        key: site.dir.path().join("proxy.key"),
        hostname: PROXY.to_owned(),
        authority: None,
    };
    ensure(&site.authority, &server, now()).expect("a certificate is made");
    server
}

/// Whether a client that wants `name` is satisfied by a server that was asked for `presented` before TLS.
async fn shakes_hands(
    site: &Site,
    tls: &Arc<ServerTls>,
    presented: Option<&str>,
    name: &str,
    sends_name: bool,
) -> bool {
    let listener = listen_on(SocketAddr::from(([127, 0, 0, 1], 0)), tls).expect("listens");
    let mut config = site.client_config(&rustls::version::TLS13, None);
    Arc::get_mut(&mut config).expect("ours alone").enable_sni = sends_name;
    let (address, name) = (listener.local_addr(), name.to_owned());
    let client = std::thread::spawn(move || {
        let name = ServerName::try_from(name).expect("a name");
        let mut tls = ClientConnection::new(config, name).expect("a client");
        let mut tcp = TcpStream::connect(address).expect("connects");
        tls.complete_io(&mut tcp).is_ok()
    });
    let mut connection = std::future::poll_fn(|cx| listener.poll_accept(cx))
        .await
        .expect("accepts");
    if let Some(presented) = presented {
        connection.present(presented);
    }
    std::future::poll_fn(|cx| connection.poll_handshake(cx)).await.ok();
    client.join().expect("the client ends")
}

#[actix::test]
async fn name_that_was_asked_for_before_tls_chooses_the_certificate() {
    let site = Site::new();
    let files = vec![site.server.clone(), further_name(&site)];
    let tls = Arc::new(ServerTls::load_all(files, now()).expect("loads"));

    // Existing agents put no name into their hello.
    assert!(shakes_hands(&site, &tls, Some(PROXY), PROXY, false).await);
    assert!(shakes_hands(&site, &tls, Some(HOST), HOST, false).await);
    assert!(!shakes_hands(&site, &tls, Some(HOST), PROXY, false).await);
    assert!(
        !shakes_hands(&site, &tls, None, PROXY, false).await,
        "nobody named the Proxy"
    );
    // The registration endpoint has nothing but the hello.
    assert!(shakes_hands(&site, &tls, None, PROXY, true).await);
    assert!(shakes_hands(&site, &tls, None, HOST, true).await);
    assert!(
        shakes_hands(&site, &tls, None, HOST, false).await,
        "the server's own name is the default"
    );
}

#[actix::test]
async fn all_names_are_reloaded_together_or_not_at_all() {
    let site = Site::new();
    let further = further_name(&site);
    let tls = Arc::new(ServerTls::load_all(vec![site.server.clone(), further.clone()], now()).expect("loads"));

    fs::write(&further.certificate, "damaged").expect("written");
    let error = tls.reload(now()).expect_err("refused").to_string();

    assert!(error.contains("proxy.crt"), "{error}");
    assert!(
        shakes_hands(&site, &tls, Some(PROXY), PROXY, false).await,
        "the old one stays"
    );
}

/// Issues a certificate with these names only.
fn issue(authority: &AuthorityFiles, server: &ServerFiles, common_name: Option<&str>, alt_name: Option<&str>) {
    let read = |path: &std::path::Path| fs::read_to_string(path).expect("readable");
    let issuer_key = KeyPair::from_pem(&read(&authority.key)).expect("a key");
    let issuer = Issuer::from_ca_cert_pem(&read(&authority.certificate), issuer_key).expect("an authority");
    let names: Vec<String> = alt_name.into_iter().map(str::to_owned).collect();
    let mut params = CertificateParams::new(names).expect("parameters");
    params.distinguished_name.remove(DnType::CommonName);
    if let Some(name) = common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, &issuer).expect("signed");
    fs::write(&server.certificate, certificate.pem()).expect("written");
    fs::write(&server.key, key.serialize_pem()).expect("written");
}

#[test]
fn certificate_lacks_something_for_old_or_for_new_agents_without_common_or_alternative_name() {
    let site = Site::new();
    let warnings = |common_name, alt_name| {
        issue(&site.authority, &site.server, common_name, alt_name);
        site.load().expect("works").in_use().warnings
    };

    assert_eq!(warnings(None, Some(HOST)), [TlsWarning::NoCommonName(HOST.into())]);
    assert_eq!(
        warnings(Some("other.example.com"), Some(HOST)),
        [TlsWarning::NoCommonName(HOST.into())]
    );
    assert_eq!(warnings(Some(HOST), None), [TlsWarning::NoAltName(HOST.into())]);
    assert_eq!(warnings(Some(HOST), Some(HOST)), []);

    issue(&site.authority, &site.server, Some("other.example.com"), None);
    assert!(site.error().contains("other.example.com, not for sat.example.com"));
}

#[test]
fn warning_about_a_further_name_names_it() {
    let site = Site::new();
    let further = further_name(&site);
    issue(&site.authority, &further, None, Some(PROXY));

    let tls = ServerTls::load_all(vec![site.server.clone(), further], now()).expect("loads");

    let warnings: Vec<String> = tls.in_use().warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].starts_with("for proxy.example.com: certificate has no common name"),
        "{warnings:?}"
    );
}
