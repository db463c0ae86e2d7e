//! Certificates and keys on disk: made, renewed, refused with the reason, and kept when a new one is bad.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use osa::net::ca::{AuthorityFiles, Ensured, RenewedTls, create_authority, ensure, issue_server};
use osa::net::tls::{ServerTls, client_tls};
use osa::ports::tls::{Certificates, TlsWarning};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::support::site::{HOST, Site, now};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A certificate for the host, of an authority below another one; all in PEM.
struct Chain {
    root: String,
    intermediate: String,
    leaf: String,
    key: String,
}

impl Chain {
    fn make() -> Self {
        let authority = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            (params, KeyPair::generate().expect("a key"))
        };
        let (root, root_key) = authority("root");
        let (intermediate, intermediate_key) = authority("intermediate");
        let mut server = CertificateParams::new(vec![HOST.to_owned()]).expect("a name");
        server.distinguished_name.push(DnType::CommonName, HOST);
        let key = KeyPair::generate().expect("a key");
        let root_pem = root.self_signed(&root_key).expect("signed").pem();
        let root = Issuer::new(root, root_key);
        let intermediate_pem = intermediate.signed_by(&intermediate_key, &root).expect("signed").pem();
        let issuer = Issuer::new(intermediate, intermediate_key);
        Self {
            root: root_pem,
            intermediate: intermediate_pem,
            leaf: server.signed_by(&key, &issuer).expect("signed").pem(),
            key: key.serialize_pem(),
        }
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("exists").permissions().mode() & 0o777
}

#[test]
fn keys_are_for_their_owner_only() {
    let site = Site::new();

    assert_eq!(mode(&site.authority.key), 0o600);
    assert_eq!(mode(&site.server.key), 0o600);
}

#[test]
fn certificate_names_the_host_in_both_places() {
    let info = Site::new().tls().in_use();

    assert_eq!(info.common_name.as_deref(), Some(HOST));
    assert_eq!(info.alt_names, [HOST]);
    assert_eq!(info.warnings, []);
}

#[test]
fn server_certificate_is_renewed_a_month_before_its_end_and_not_earlier() {
    let site = Site::new();
    let in_a_year = now() + DAY * 360;
    let last_month = now() + DAY * 380;

    assert_eq!(
        ensure(&site.authority, &site.server, in_a_year).expect("works"),
        Ensured::Nothing
    );
    assert_eq!(
        ensure(&site.authority, &site.server, last_month).expect("works"),
        Ensured::Server
    );
    assert_eq!(mode(&site.server.key), 0o600);
}

#[test]
fn certificate_of_another_authority_is_never_replaced() {
    let (site, other) = (Site::new(), Site::new());
    let elsewhere = AuthorityFiles {
        certificate: other.dir.path().join("elsewhere.crt"),
        key: other.dir.path().join("elsewhere.key"),
    };
    create_authority(&elsewhere, "elsewhere", now()).expect("made");
    issue_server(&elsewhere, &site.server, now()).expect("issued");
    let before = std::fs::read(&site.server.certificate).expect("readable");

    let ensured = ensure(&site.authority, &site.server, now() + DAY * 380).expect("works");

    assert_eq!(ensured, Ensured::Nothing);
    assert_eq!(std::fs::read(&site.server.certificate).expect("readable"), before);
}

fn renewed(site: &Site) -> RenewedTls {
    RenewedTls::new(site.authority.clone(), vec![site.server.clone()], site.tls())
}

#[test]
fn reload_renews_what_the_own_authority_issued() {
    let site = Site::new();
    let renewed = renewed(&site);
    let before = renewed.in_use().not_after;

    assert_eq!(renewed.reload(now()).expect("reloads").not_after, before);
    let info = renewed.reload(now() + DAY * 380).expect("reloads");

    assert!(info.not_after > before);
    assert_eq!(info.warnings, []);
}

/// A site whose certificate comes from another authority of the same name, as every installation for this host makes.
fn site_with_a_namesakes_pair() -> (Site, Site) {
    let (site, other) = (Site::new(), Site::new());
    std::fs::copy(&other.server.certificate, &site.server.certificate).expect("copied");
    std::fs::copy(&other.server.key, &site.server.key).expect("copied");
    (site, other)
}

/// Its certificate and key.
fn pair(site: &Site) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let read = |path: &Path| std::fs::read(path).ok();
    (read(&site.server.certificate), read(&site.server.key))
}

#[test]
fn certificate_of_a_namesake_of_the_authority_is_never_replaced() {
    let (site, _other) = site_with_a_namesakes_pair();
    let before = pair(&site);

    ensure(&site.authority, &site.server, now() + DAY * 380).expect("works");
    renewed(&site).reload(now() + DAY * 380).expect("it is still valid");

    assert_eq!(pair(&site), before);
}

#[test]
fn key_without_its_certificate_is_never_overwritten() {
    let site = Site::new();
    let renewed = renewed(&site);
    std::fs::remove_file(&site.server.certificate).expect("removed");
    let before = pair(&site);

    let error = ensure(&site.authority, &site.server, now()).expect_err("half a pair");
    let reloaded = renewed.reload(now());

    assert!(
        error.to_string().contains("server.crt is missing") && error.to_string().contains("server.key is there"),
        "{error}"
    );
    assert!(reloaded.is_err(), "what was in use stays");
    assert_eq!(pair(&site), before);
}

#[test]
fn certificate_without_its_key_is_never_overwritten() {
    let site = Site::new();
    let renewed = renewed(&site);
    std::fs::remove_file(&site.server.key).expect("removed");
    let before = pair(&site);

    let error = ensure(&site.authority, &site.server, now()).expect_err("half a pair");
    let reloaded = renewed.reload(now());

    assert!(error.to_string().contains("server.key is missing"), "{error}");
    assert!(reloaded.is_err(), "what was in use stays");
    assert_eq!(pair(&site), before);
}

#[test]
fn certificate_with_another_key_is_never_replaced() {
    let (site, other) = (Site::new(), Site::new());
    let renewed = renewed(&site);
    std::fs::copy(&other.server.key, &site.server.key).expect("copied");
    let before = pair(&site);

    let ensured = ensure(&site.authority, &site.server, now());
    let reloaded = renewed.reload(now() + DAY * 380);

    assert_eq!(ensured.expect("nothing to make"), Ensured::Nothing);
    assert!(reloaded.is_err(), "what was in use stays");
    assert_eq!(pair(&site), before);
}

#[test]
fn renewal_keeps_the_key() {
    let site = Site::new();
    let before = pair(&site);

    ensure(&site.authority, &site.server, now() + DAY * 380).expect("works");

    let after = pair(&site);
    assert_ne!(after.0, before.0);
    assert_eq!(after.1, before.1);
}

#[test]
fn authority_with_another_key_signs_nothing() {
    let (site, other) = (Site::new(), Site::new());
    std::fs::copy(&other.authority.key, &site.authority.key).expect("copied");

    let error = issue_server(&site.authority, &site.server, now()).expect_err("nobody would trust it");

    assert!(error.to_string().contains("ca.key does not belong"), "{error}");
}

#[test]
fn authority_is_never_overwritten() {
    let site = Site::new();

    let error = create_authority(&site.authority, HOST, now()).expect_err("it exists");

    assert!(error.to_string().contains("exists"), "{error}");
}

#[test]
fn certificate_for_an_address_is_refused() {
    let mut site = Site::new();
    site.server.hostname = "192.0.2.1".to_owned();

    let error = issue_server(&site.authority, &site.server, now()).expect_err("an address is no name");

    assert!(error.to_string().contains("192.0.2.1"), "{error}");
}

#[test]
fn missing_key_is_named() {
    let site = Site::new();
    std::fs::remove_file(&site.server.key).expect("removed");

    assert!(site.error().contains("server.key does not exist"), "{}", site.error());
}

#[test]
fn file_without_a_certificate_is_named() {
    let site = Site::new();
    std::fs::write(&site.server.certificate, "hello").expect("written");

    assert!(site.error().contains("holds no certificate"), "{}", site.error());
}

#[test]
fn expired_certificate_is_refused_with_its_end() {
    let site = Site::new();

    let error = ServerTls::load(site.server.clone(), now() + DAY * 400)
        .err()
        .expect("refused");

    assert!(error.to_string().contains("server.crt expired on 20"), "{error}");
}

#[test]
fn certificate_of_the_future_is_refused() {
    let site = Site::new();

    let error = ServerTls::load(site.server.clone(), now() - DAY * 2)
        .err()
        .expect("refused");

    assert!(error.to_string().contains("is not valid before 20"), "{error}");
}

#[test]
fn certificate_for_another_host_is_refused_with_both_names() {
    let mut site = Site::new();
    site.server.hostname = "other.example.com".to_owned();

    let error = site.error();

    assert!(
        error.contains("is for sat.example.com, not for other.example.com"),
        "{error}"
    );
}

#[test]
fn key_of_another_certificate_is_refused() {
    let (site, other) = (Site::new(), Site::new());
    std::fs::copy(&other.server.key, &site.server.key).expect("copied");

    assert!(
        site.error().contains("does not belong to certificate"),
        "{}",
        site.error()
    );
}

#[test]
fn key_that_everybody_can_read_is_warned_of() {
    let site = Site::new();
    std::fs::set_permissions(&site.server.key, PermissionsExt::from_mode(0o644)).expect("changed");

    let warnings = site.tls().in_use().warnings;

    assert_eq!(warnings, [TlsWarning::KeyReadableByAll(site.server.key.clone())]);
}

#[test]
fn authority_that_did_not_sign_is_warned_of() {
    let (site, _other) = site_with_a_namesakes_pair();

    let warnings = site.tls().in_use().warnings;

    assert!(
        matches!(&warnings[..], [TlsWarning::OtherAuthority { authority, .. }] if *authority == site.authority.certificate),
        "{warnings:?}"
    );
    assert!(!warnings[0].to_string().contains('\n') && warnings[0].to_string().contains("tls.ca"));
}

#[test]
fn authority_that_signed_through_another_is_the_right_one() {
    let site = Site::new();
    let chain = Chain::make();
    std::fs::write(&site.authority.certificate, chain.root).expect("written");
    std::fs::write(&site.server.key, chain.key).expect("written");

    std::fs::write(&site.server.certificate, chain.leaf.clone() + &chain.intermediate).expect("written");
    assert_eq!(site.tls().in_use().warnings, []);

    std::fs::write(&site.server.certificate, chain.leaf).expect("written");
    assert!(
        site.tls().in_use().warnings[0].is_of_wrong_authority(),
        "the chain is not whole"
    );
}

#[test]
fn failed_reload_keeps_what_was_in_use() {
    let site = Site::new();
    let tls = site.tls();
    let before = tls.config();
    std::fs::write(&site.server.certificate, "hello").expect("written");

    tls.reload(now()).expect_err("the file is damaged");

    assert!(Arc::ptr_eq(&before, &tls.config()));
}

#[test]
fn client_refuses_a_ca_file_that_is_not_there() {
    let site = Site::new();

    let error = client_tls(&site.dir.path().join("no.crt"), now()).expect_err("refused");

    assert!(error.to_string().contains("CA certificate"), "{error}");
}
