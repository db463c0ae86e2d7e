//! The systemid certificate.

use osa::domain::ids::SystemId;
use osa::domain::secret::Secret;
use osa::protocol::systemid::{Profile, SystemCertificate, SystemName, SystemidError, mint};
use osa::protocol::xmlrpc::reader::{ReadError, read_call};
use proptest::prelude::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OLD_SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Digests over secret, values and names, computed apart from this program.
const CHECKSUM: &str = "32e12eda27e05bd7f76852a7a0d56f4943eb35417600dcdb543900dfabc4c86d";
const OLD_CHECKSUM: &str = "07854c44b362062cd20954b4c3f6229a";

/// The certificate that an original client sent, with a checksum of the reader's choice.
fn recorded(checksum: &str) -> String {
    let call = read_call(include_bytes!("recorded/register_osad.xml")).unwrap();
    let systemid = call.params[0].as_str().unwrap();
    systemid.replace(&"0".repeat(32), checksum)
}

#[test]
fn certificate_with_the_right_checksum_is_accepted_under_its_secret_only() {
    for (secret, checksum) in [(SECRET, CHECKSUM), (OLD_SECRET, OLD_CHECKSUM)] {
        let certificate = SystemCertificate::parse(&recorded(checksum)).unwrap();

        assert_eq!(certificate.system, SystemName::Id(SystemId(1_000_010_001)));
        assert!(!certificate.is_anonymous);
        assert_eq!(certificate.verify(&Secret::new(secret)), Ok(()));
        let other = secret.replace('f', "e");
        assert_eq!(certificate.verify(&Secret::new(other)), Err(SystemidError::Checksum));
        assert_eq!(certificate.verify(&Secret::new("short")), Err(SystemidError::Secret));
    }
}

#[test]
fn every_change_of_a_listed_field_breaks_the_checksum() {
    let text = recorded(CHECKSUM);
    let changes = [
        ("ID-1000010001", "ID-1000010002"),
        ("7Server", "8Server"),
        (">admin<", ">root<"),
        ("REAL", "ANONYMOUS"),
        (CHECKSUM, OLD_CHECKSUM),
        (CHECKSUM, "0"),
    ];

    for (from, to) in changes {
        let certificate = SystemCertificate::parse(&text.replace(from, to)).unwrap();
        let verdict = certificate.verify(&Secret::new(SECRET));
        assert_eq!(verdict, Err(SystemidError::Checksum), "{from} to {to}");
    }
    let renamed = SystemCertificate::parse(&text.replace("client1.test", "client2.test")).unwrap();
    assert_eq!(
        renamed.verify(&Secret::new(SECRET)),
        Ok(()),
        "the profile name is not listed"
    );
}

#[test]
fn damage_is_named() {
    let text = recorded(CHECKSUM);
    let listed = "<value><string>system_id</string></value>";
    let cases = [
        (String::new(), SystemidError::Document(ReadError::Incomplete)),
        (
            text[..text.len() / 2].to_owned(),
            SystemidError::Document(ReadError::Incomplete),
        ),
        ("<params/>".to_owned(), SystemidError::NotOneStruct),
        (
            text.replace("<name>system_id", "<name>id"),
            SystemidError::Member("system_id"),
        ),
        (text.replace("ID-1000010001", ""), SystemidError::Member("system_id")),
        (
            text.replace("<name>checksum", "<name>sum"),
            SystemidError::Member("checksum"),
        ),
        (text.replace("<name>fields", "<name>list"), SystemidError::Fields),
        (text.replace("<name>username", "<name>user"), SystemidError::Fields),
        (text.replace(listed, ""), SystemidError::SystemIdNotCovered),
        (text.replace(listed, &listed.repeat(40)), SystemidError::Fields),
    ];

    for (text, error) in cases {
        assert_eq!(SystemCertificate::parse(&text), Err(error));
    }
}

#[test]
fn old_names_are_digital_server_ids() {
    let old = SystemCertificate::parse(&recorded(CHECKSUM).replace("ID-1000010001", "SERVER-42")).unwrap();

    assert_eq!(old.system, SystemName::DigitalServerId("SERVER-42".into()));
}

#[test]
fn nothing_secret_is_printed() {
    let certificate = SystemCertificate::parse(&recorded(CHECKSUM)).unwrap();

    assert!(!format!("{certificate:?}").contains(CHECKSUM));
}

proptest! {
    #[test]
    fn minted_certificate_verifies_whatever_the_profile_says(
        id in 1_i64.., name in ".{0,20}", username in ".{0,20}", secret in "[0-9a-f]{64}",
    ) {
        let secret = Secret::new(secret);
        let profile = Profile {
            name: &name, username: &username, os_release: "12", operating_system: "debian", architecture: "x86_64",
        };

        let text = mint(SystemId(id), &secret, profile).unwrap();
        let certificate = SystemCertificate::parse(text.expose()).unwrap();

        prop_assert_eq!(&certificate.system, &SystemName::Id(SystemId(id)));
        prop_assert_eq!(certificate.verify(&secret), Ok(()));
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in ".{0,200}") {
        let _ = SystemCertificate::parse(&text);
    }
}
