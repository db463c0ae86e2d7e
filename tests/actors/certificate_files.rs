//! Certificates and keys on disk: made, renewed, refused with the reason, and kept when a new one is bad.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use osa::net::ca::{AuthorityFiles, Ensured, RenewedTls, create_authority, ensure, issue_server};
use osa::net::tls::{ServerTls, client_tls};
use osa::ports::tls::{Certificates, TlsWarning};

use crate::support::site::{HOST, Site, now};

const DAY: Duration = Duration::from_secs(24 * 3600);

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

#[test]
fn reload_renews_what_the_own_authority_issued() {
    let site = Site::new();
    let renewed = RenewedTls::new(site.authority.clone(), vec![site.server.clone()], site.tls());
    let before = renewed.in_use().not_after;

    assert_eq!(renewed.reload(now()).expect("reloads").not_after, before);
    let info = renewed.reload(now() + DAY * 380).expect("reloads");

    assert!(info.not_after > before);
    assert_eq!(info.warnings, []);
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
        error.contains("is for sat.example.com, sat.example.com, not for other.example.com"),
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
