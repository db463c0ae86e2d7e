use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use osa::domain::secret::Secret;
use osa::protocol::sasl::scram::client::{ClientBinding, ExpectServerFirst, ServerFault};
use osa::protocol::sasl::scram::message::{ClientFirst, Gs2Binding};
use osa::protocol::sasl::scram::server::{ExpectClientFinal, check_binding};
use osa::protocol::sasl::{PlainMessage, Salts, SaslFault, ScramHash, ScramVerifier, TlsExporter, Verifiers};
use proptest::prelude::*;

pub const SALTS: Salts = Salts {
    sha256: [1; 16],
    sha1: [2; 16],
    fast: Some([3; 16]),
};
pub const ITERATIONS: u32 = 4_096;

struct Vector {
    hash: ScramHash,
    client_nonce: &'static str,
    server_nonce: &'static str,
    salt: &'static str,
    server_first: &'static str,
    client_final: &'static str,
    server_final: &'static str,
}

/// RFC 5802, section 5, and RFC 7677, section 3; user `user`, password `pencil`.
const VECTORS: [Vector; 2] = [
    Vector {
        hash: ScramHash::Sha1,
        client_nonce: "fyko+d2lbbFgONRv9qkxdawL",
        server_nonce: "3rfcNHYJY1ZVvWVs7j",
        salt: "QSXCR+Q6sek8bf92",
        server_first: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        client_final: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        server_final: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    },
    Vector {
        hash: ScramHash::Sha256,
        client_nonce: "rOprNGfwEbeRWgbNEkqO",
        server_nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
        server_first: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        client_final: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                       p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        server_final: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    },
];

#[test]
fn client_follows_the_vectors_of_the_rfcs() {
    for vector in VECTORS {
        let client = ExpectServerFirst::new(
            vector.hash,
            ClientBinding::Unsupported,
            "user",
            vector.client_nonce.into(),
        );
        assert_eq!(client.client_first(), format!("n,,n=user,r={}", vector.client_nonce));

        let (client, client_final) = client
            .respond(vector.server_first.as_bytes(), &Secret::new("pencil"))
            .unwrap();

        assert_eq!(client_final, vector.client_final);
        assert_eq!(client.verify(vector.server_final.as_bytes()), Ok(()));
    }
}

#[test]
fn server_follows_the_vectors_of_the_rfcs() {
    for vector in VECTORS {
        let salt = STANDARD.decode(vector.salt).unwrap();
        let verifier = ScramVerifier::derive(vector.hash, &Secret::new("pencil"), &salt, 4_096);
        let first = ClientFirst::parse(format!("n,,n=user,r={}", vector.client_nonce).as_bytes()).unwrap();

        let server = ExpectClientFinal::new(first, verifier, vector.server_nonce, None);

        assert_eq!(server.server_first(), vector.server_first);
        assert_eq!(
            server.finish(vector.client_final.as_bytes()).as_deref(),
            Ok(vector.server_final)
        );
    }
}

pub fn verifiers() -> Verifiers {
    Verifiers::derive(&Secret::new("secret"), &SALTS, ITERATIONS).unwrap()
}

/// Runs a whole exchange; the outcome of the server, then of the client.
fn exchange(
    hash: ScramHash,
    verifiers: &Verifiers,
    password: &str,
    client_binding: ClientBinding,
    server_exporter: Option<TlsExporter>,
) -> Result<Result<(), ServerFault>, SaslFault> {
    let client = ExpectServerFirst::new(hash, client_binding, "user", "abc".into());
    let first = ClientFirst::parse(client.client_first().as_bytes())?;
    check_binding(
        &first,
        matches!(client_binding, ClientBinding::Bound(_)),
        server_exporter.is_some(),
    )?;
    let exporter = server_exporter.filter(|_| first.binding == Gs2Binding::TlsExporter);
    let server = ExpectClientFinal::new(first, verifiers.scram(hash).clone(), "def", exporter.as_ref());
    let (client, client_final) = client
        .respond(server.server_first().as_bytes(), &Secret::new(password))
        .unwrap();
    let server_final = server.finish(client_final.as_bytes())?;
    Ok(client.verify(server_final.as_bytes()))
}

#[test]
fn right_password_is_accepted_with_and_without_binding() {
    let exporter = [7; 32];
    for hash in [ScramHash::Sha1, ScramHash::Sha256] {
        for (binding, server) in [
            (ClientBinding::Bound(exporter), Some(exporter)),
            (ClientBinding::Unsupported, Some(exporter)),
            (ClientBinding::Unsupported, None),
            (ClientBinding::NotOffered, None),
        ] {
            let outcome = exchange(hash, &verifiers(), "secret", binding, server);

            assert_eq!(outcome, Ok(Ok(())), "{hash:?} {binding:?}");
        }
    }
}

#[test]
fn wrong_password_and_decoy_are_refused_alike() {
    let decoy = Verifiers::decoy("user", b"server secret", ITERATIONS);
    for hash in [ScramHash::Sha1, ScramHash::Sha256] {
        for (verifiers, password) in [(&verifiers(), "Secret"), (&decoy, "secret")] {
            let outcome = exchange(hash, verifiers, password, ClientBinding::Unsupported, None);

            assert_eq!(outcome, Err(SaslFault::NotAuthorized));
        }
    }
}

#[test]
fn login_through_another_tls_connection_is_refused() {
    let outcome = exchange(
        ScramHash::Sha256,
        &verifiers(),
        "secret",
        ClientBinding::Bound([7; 32]),
        Some([8; 32]),
    );

    assert_eq!(outcome, Err(SaslFault::NotAuthorized));
}

#[test]
fn client_that_was_kept_from_seeing_the_binding_offer_is_refused() {
    let outcome = exchange(
        ScramHash::Sha256,
        &verifiers(),
        "secret",
        ClientBinding::NotOffered,
        Some([8; 32]),
    );

    assert_eq!(outcome, Err(SaslFault::NotAuthorized));
}

#[test]
fn mechanism_and_word_on_binding_must_fit() {
    let first = |text: &str| ClientFirst::parse(format!("{text},,n=u,r=x").as_bytes());

    for (word, plus) in [("n", true), ("y", true), ("p=tls-exporter", false)] {
        let outcome = check_binding(&first(word).unwrap(), plus, true);

        assert_eq!(outcome, Err(SaslFault::MalformedRequest), "{word} {plus}");
    }
    assert_eq!(first("p=tls-unique"), Err(SaslFault::NotAuthorized));
}

#[test]
fn malformed_client_first_is_refused() {
    for text in [
        "",
        "n",
        "n,",
        "n,,",
        "x,,n=u,r=x",
        "n,b=1,n=u,r=x",
        "n,,n=u",
        "n,,n=,r=x",
        "n,,r=x,n=u",
        "n,,n=u,r=",
        "n,,n=u,r=\u{e9}",
        "n,,n=a=b,r=x",
        "n,,n=a=2c,r=x",
        "n,,m=ext,n=u,r=x",
        "n,,n=a\0b,r=x",
    ] {
        assert_eq!(
            ClientFirst::parse(text.as_bytes()),
            Err(SaslFault::MalformedRequest),
            "{text}"
        );
    }
    assert_eq!(ClientFirst::parse(b"n,,n=\xff,r=x"), Err(SaslFault::MalformedRequest));
}

#[test]
fn names_are_unescaped() {
    let first = ClientFirst::parse(b"n,a=x=2Cy,n=a=3Db=2C,r=x").unwrap();

    assert_eq!((first.authzid.as_str(), first.username.as_str()), ("x,y", "a=b,"));
}

#[test]
fn malformed_client_final_is_refused() {
    for (text, fault) in [
        ("", SaslFault::MalformedRequest),
        ("c=biws,r=abcdef", SaslFault::MalformedRequest),
        ("c=!!!!,r=abcdef,p=AAAA", SaslFault::MalformedRequest),
        ("r=abcdef,c=biws,p=AAAA", SaslFault::MalformedRequest),
        ("c=biws,r=abcdef,p=AAAA", SaslFault::NotAuthorized),
    ] {
        let first = ClientFirst::parse(b"n,,n=user,r=abc").unwrap();
        let server = ExpectClientFinal::new(first, verifiers().scram(ScramHash::Sha256).clone(), "def", None);

        assert_eq!(server.finish(text.as_bytes()), Err(fault), "{text}");
    }
}

#[test]
fn proof_for_another_nonce_or_header_is_refused() {
    for change in [("r=abcdef", "r=abcdeg"), ("c=biws", "c=eSws")] {
        let client = ExpectServerFirst::new(ScramHash::Sha256, ClientBinding::Unsupported, "user", "abc".into());
        let first = ClientFirst::parse(client.client_first().as_bytes()).unwrap();
        let server = ExpectClientFinal::new(first, verifiers().scram(ScramHash::Sha256).clone(), "def", None);
        let (_, client_final) = client
            .respond(server.server_first().as_bytes(), &Secret::new("secret"))
            .unwrap();

        let outcome = server.finish(client_final.replace(change.0, change.1).as_bytes());

        assert_eq!(outcome, Err(SaslFault::NotAuthorized), "{change:?}");
    }
}

/// Somebody signs with the right proof but carries another nonce or header inside: only the comparison stops that.
#[test]
fn correctly_signed_message_with_foreign_nonce_or_header_is_refused() {
    let verifiers = verifiers();
    let hash = ScramHash::Sha256;
    let salted = hash.salted_password("secret", &SALTS.sha256, ITERATIONS);
    let client_key = hash.client_key(&salted);
    for (body, accepted) in [
        ("c=biws,r=abcdef", true),
        ("c=biws,r=abcxyz", false),
        ("c=eSws,r=abcdef", false),
    ] {
        let first = ClientFirst::parse(b"n,,n=user,r=abc").unwrap();
        let server = ExpectClientFinal::new(first, verifiers.scram(hash).clone(), "def", None);
        let auth_message = format!("n=user,r=abc,{},{body}", server.server_first());
        let signature = hash.hmac(verifiers.scram(hash).stored_key(), auth_message.as_bytes());
        let proof = STANDARD.encode(&*client_key.xor(&signature));

        let outcome = server.finish(format!("{body},p={proof}").as_bytes());

        assert_eq!(outcome.is_ok(), accepted, "{body}");
    }
}

#[test]
fn client_refuses_a_server_that_does_not_play_by_the_rules() {
    for (server_first, fault) in [
        ("", ServerFault::Malformed),
        ("r=abcdef,s=AAAA", ServerFault::Malformed),
        ("r=abcdef,s=AAAA,i=x", ServerFault::Malformed),
        ("r=xyz,s=AAAA,i=4096", ServerFault::ForeignNonce),
        ("r=abc,s=AAAA,i=4096", ServerFault::ForeignNonce),
        ("r=abcdef,s=AAAA,i=4095", ServerFault::Iterations(4_095)),
        ("r=abcdef,s=AAAA,i=4000000000", ServerFault::Iterations(4_000_000_000)),
    ] {
        let client = ExpectServerFirst::new(ScramHash::Sha256, ClientBinding::Unsupported, "user", "abc".into());

        let outcome = client
            .respond(server_first.as_bytes(), &Secret::new("secret"))
            .map(|_| ());

        assert_eq!(outcome, Err(fault), "{server_first}");
    }
}

#[test]
fn client_refuses_a_server_that_does_not_know_the_password() {
    for server_final in ["v=AAAA", "e=other-error", "x", "v=!"] {
        let client = ExpectServerFirst::new(ScramHash::Sha256, ClientBinding::Unsupported, "user", "abc".into());
        let (client, _) = client
            .respond(b"r=abcdef,s=AAAA,i=4096", &Secret::new("secret"))
            .unwrap();

        assert!(client.verify(server_final.as_bytes()).is_err(), "{server_final}");
    }
}

proptest! {
    #[test]
    fn no_message_makes_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), text in "[nyp=,acrvei0-9A]{0,30}") {
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            let _ = ClientFirst::parse(bytes);
            let _ = PlainMessage::parse(bytes);
            let client = ExpectServerFirst::new(ScramHash::Sha256, ClientBinding::Unsupported, "user", "abc".into());
            let _ = client.respond(bytes, &Secret::new("x"));
        }
        let _ = text.parse::<Verifiers>();
    }
}
