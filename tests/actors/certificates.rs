//! Certificates as Satellites have them: of many ages, with names where one kind of client looks or the other.

use osa::ports::tls::{Certificates, TlsError, TlsWarning};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use crate::support::site::{HOST, Site};

/// A site whose certificate and key are in one file, as a Satellite's; with these names.
fn site(common_name: Option<&str>, alt_name: Option<&str>) -> Site {
    let mut site = Site::new();
    let mut params =
        CertificateParams::new(alt_name.map(str::to_owned).into_iter().collect::<Vec<_>>()).expect("names");
    params.distinguished_name = DistinguishedName::new();
    if let Some(name) = common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    let pem = site.dir.path().join("server.pem");
    std::fs::write(&pem, format!("{}{}", certificate.pem(), key.serialize_pem())).expect("written");
    std::fs::set_permissions(&pem, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("changed");
    site.server.certificate.clone_from(&pem);
    site.server.key = pem;
    site.server.authority = None;
    site
}

fn warnings(common_name: Option<&str>, alt_name: Option<&str>) -> Vec<TlsWarning> {
    site(common_name, alt_name).tls().in_use().warnings
}

#[test]
fn certificate_and_key_may_be_one_file() {
    assert_eq!(warnings(Some(HOST), Some(HOST)), []);
}

#[test]
fn certificate_without_alternative_name_is_warned_of() {
    let [warning] = &warnings(Some(HOST), None)[..] else {
        panic!("not one warning")
    };

    assert_eq!(*warning, TlsWarning::NoAltName(HOST.to_owned()));
    assert!(
        warning
            .to_string()
            .contains("new agents refuse it; make one with both CN and SAN"),
        "{warning}"
    );
}

#[test]
fn certificate_without_common_name_is_warned_of() {
    for other in [None, Some("old.example.com")] {
        let [warning] = &warnings(other, Some(HOST))[..] else {
            panic!("not one warning")
        };

        assert_eq!(*warning, TlsWarning::NoCommonName(HOST.to_owned()));
        assert!(warning.to_string().contains("existing agents refuse it"), "{warning}");
    }
}

#[test]
fn common_name_in_capitals_is_another_name_for_existing_agents() {
    let capitals = HOST.to_uppercase();

    assert_eq!(
        warnings(Some(&capitals), Some(HOST)),
        [TlsWarning::NoCommonName(HOST.to_owned())]
    );
}

#[test]
fn certificate_of_a_renamed_host_is_refused_with_both_names() {
    let error = site(Some("old.example.com"), None).load().err().expect("refused");

    assert!(matches!(error, TlsError::WrongName { .. }), "{error}");
    let error = error.to_string();
    assert!(
        error.contains("is for old.example.com, not for sat.example.com: make one"),
        "{error}"
    );
}

#[test]
fn certificate_without_any_name_is_refused() {
    let error = site(None, None).load().err().expect("refused").to_string();

    assert!(
        error.contains("is for no host at all, not for sat.example.com"),
        "{error}"
    );
}
