//! TLS and passwords over TCP.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use osa::domain::secret::Secret;
use osa::ports::accounts::Accounts;
use osa::ports::store::StoreError;
use osa::store::postgres::{PostgresOptions, PostgresStore, ServerAddress, SslMode, administration};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::cluster::server_account;
use super::private_server::PrivateServer;

fn authority(directory: &Path, name: &str) -> (CertifiedIssuer<'static, KeyPair>, PathBuf) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let path = directory.join(format!("{name}.pem"));
    fs::write(&path, issuer.pem()).unwrap();
    (issuer, path)
}

/// A server that takes TCP connections with a password and TLS only; its certificate has a common name and no other.
fn server(issuer: &CertifiedIssuer<'static, KeyPair>, directory: &Path) -> PrivateServer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "localhost");
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((uid, gid)) = server_account() {
            chown(&path, Some(uid), Some(gid)).unwrap();
        }
        path.display().to_string()
    };
    let hba = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
    PrivateServer::start(&[
        "-c",
        "ssl=on",
        "-c",
        &format!("ssl_cert_file={}", write("server.crt", &certificate.pem())),
        "-c",
        &format!("ssl_key_file={}", write("server.key", &key.serialize_pem())),
        "-c",
        &format!("hba_file={}", write("pg_hba.conf", hba)),
    ])
}

#[tokio::test]
async fn each_sslmode_checks_what_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let (issuer, root) = authority(directory.path(), "right");
    let (_, wrong) = authority(directory.path(), "wrong");
    let server = server(&issuer, directory.path());
    let database = server.database("satellite");
    administration::migrate(&database.options()).await.unwrap();
    database.sql("ALTER ROLE osa_owner PASSWORD 'right'");
    let open = async |host: &str, ssl_mode, root: Option<&PathBuf>, password: &str| {
        let options = PostgresOptions {
            address: ServerAddress::Host(host.to_owned()),
            port: server.port(),
            password: Some(Secret::new(password)),
            ssl_mode,
            root_certificate: root.cloned(),
            ..database.options()
        };
        PostgresStore::open(&options).await
    };

    for (host, mode, root) in [
        ("127.0.0.1", SslMode::Prefer, None),
        ("127.0.0.1", SslMode::Require, None),
        ("127.0.0.1", SslMode::VerifyCa, Some(&root)),
        ("localhost", SslMode::VerifyFull, Some(&root)),
    ] {
        let store = open(host, mode, root, "right").await.unwrap();
        assert!(store.accounts().await.unwrap().is_empty(), "{mode:?}");
    }
    for (host, mode, root) in [
        ("127.0.0.1", SslMode::VerifyFull, Some(&root)),
        ("localhost", SslMode::VerifyFull, Some(&wrong)),
        ("localhost", SslMode::VerifyCa, Some(&wrong)),
        ("localhost", SslMode::Require, Some(&wrong)),
        ("localhost", SslMode::VerifyFull, None),
    ] {
        let refused = open(host, mode, root, "right").await.err();
        assert!(
            matches!(refused, Some(StoreError::Unsafe { .. })),
            "{mode:?} {refused:?}"
        );
    }
    let no_encryption = open("127.0.0.1", SslMode::Disable, None, "right").await.err();
    assert!(
        matches!(no_encryption, Some(StoreError::Denied { .. })),
        "{no_encryption:?}"
    );
    let other_password = open("127.0.0.1", SslMode::Require, None, "wrong").await.err();
    let told = format!("{other_password:?}");
    assert!(matches!(other_password, Some(StoreError::Denied { .. })), "{told}");
    assert!(
        told.contains("password authentication failed") && !told.contains("\"wrong\""),
        "{told}"
    );
}
