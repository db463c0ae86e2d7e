//! What is stored of passwords, and PLAIN.

use osa::domain::secret::Secret;
use osa::protocol::sasl::{
    Mechanism, ParseVerifiersError, PasswordError, PlainMessage, Salts, SaslFault, ScramHash, Verifiers, plain_message,
};

use crate::sasl::{ITERATIONS, SALTS, verifiers};

#[test]
fn plain_password_is_checked_with_and_without_fast_verifier() {
    let slow = Salts { fast: None, ..SALTS };
    for salts in [SALTS, slow] {
        let verifiers = Verifiers::derive(&Secret::new("pass\u{ad}word"), &salts, ITERATIONS).unwrap();

        // SASLprep drops the soft hyphen on both sides.
        assert!(verifiers.accept(&Secret::new("password")));
        assert!(!verifiers.accept(&Secret::new("Password")));
        assert!(!verifiers.accept(&Secret::new("")));
    }
    assert!(!Verifiers::decoy("user", b"s", ITERATIONS).accept(&Secret::new("password")));
}

#[test]
fn unusable_passwords_are_refused() {
    for (password, error) in [
        (String::new(), PasswordError::Length),
        ("\u{ad}".into(), PasswordError::Length),
        ("x".repeat(1_024), PasswordError::Length),
        ("a\u{7}b".into(), PasswordError::Characters),
    ] {
        assert_eq!(Verifiers::derive(&Secret::new(password), &SALTS, 1), Err(error));
    }
}

#[test]
fn plain_message_is_read_back_and_malformed_ones_are_refused() {
    let message = plain_message("user", &Secret::new("secret"));
    let read = PlainMessage::parse(&message).unwrap();
    assert_eq!((read.username.as_str(), read.password), ("user", Secret::new("secret")));

    for bytes in [
        &b""[..],
        b"user",
        b"\0user",
        b"\0user\0",
        b"\0\0secret",
        b"\0u\0s\0x",
        b"\0u\0\xff",
    ] {
        assert_eq!(
            PlainMessage::parse(bytes),
            Err(SaslFault::MalformedRequest),
            "{bytes:?}"
        );
    }
}

#[test]
fn mechanisms_are_known_by_name_and_ordered_by_strength() {
    for mechanism in Mechanism::STRONGEST_FIRST {
        assert_eq!(Mechanism::from_name(mechanism.name()), Some(mechanism));
    }
    assert_eq!(Mechanism::from_name("EXTERNAL"), None);
    assert_eq!(
        Mechanism::STRONGEST_FIRST.map(Mechanism::needs_exporter),
        [true, true, false, false, false]
    );
}

#[test]
fn decoy_is_the_same_for_a_name_and_differs_between_names() {
    let salt = |name| {
        Verifiers::decoy(name, b"s", ITERATIONS)
            .scram(ScramHash::Sha256)
            .salt()
            .to_vec()
    };

    assert_eq!(salt("a"), salt("a"));
    assert_ne!(salt("a"), salt("b"));
    assert_eq!(salt("a").len(), SALTS.sha256.len());
}

#[test]
fn stored_verifiers_are_read_back_and_hide_the_password() {
    for salts in [SALTS, Salts { fast: None, ..SALTS }] {
        let verifiers = Verifiers::derive(&Secret::new("secret"), &salts, ITERATIONS).unwrap();

        let text = verifiers.to_stored();

        assert_eq!(text.parse(), Ok(verifiers));
        assert!(!text.contains("secret"));
    }
}

#[test]
fn damaged_stored_verifiers_are_named() {
    let text = verifiers().to_stored();
    for (damaged, error) in [
        (String::new(), ParseVerifiersError::Version),
        (text.replacen('1', "2", 1), ParseVerifiersError::Version),
        ("1".into(), ParseVerifiersError::Missing("SCRAM-SHA-256")),
        (
            text.replace("SCRAM-SHA-1=", "SCRAM="),
            ParseVerifiersError::Missing("SCRAM-SHA-1"),
        ),
        (
            text.replacen("4096", "x", 1),
            ParseVerifiersError::Damaged("SCRAM-SHA-256"),
        ),
        (
            text.replacen("4096", "0", 1),
            ParseVerifiersError::Damaged("SCRAM-SHA-256"),
        ),
        (
            text.replacen("=4096:", "=4096:!", 1),
            ParseVerifiersError::Damaged("SCRAM-SHA-256"),
        ),
        (text.replace(";FAST=", ";FAST=!"), ParseVerifiersError::Damaged("FAST")),
        (text.replace(";FAST=", ";QUICK="), ParseVerifiersError::Unknown),
        (format!("{text};X"), ParseVerifiersError::Unknown),
    ] {
        assert_eq!(damaged.parse::<Verifiers>(), Err(error), "{damaged}");
    }
}
