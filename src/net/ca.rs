//! The certificate authority of a standalone deployment: made once, it signs the server's certificate.
//!
//! P-256 throughout: a handshake with an RSA key costs the server several times more.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData,
};

use crate::domain::time::Timestamp;
use crate::net::tls::{self, ServerFiles, ServerTls};
use crate::ports::tls::{CertificateInfo, Certificates, TlsError, TlsWarning};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long the authority is valid: clients are given its certificate once, by hand.
const AUTHORITY_VALID: Duration = DAY.saturating_mul(3650);
/// How long a server certificate is valid; it is renewed when [`TlsWarning::ExpiresSoon`] would be said of it.
const SERVER_VALID: Duration = DAY.saturating_mul(397);
/// Certificates are valid from a day ago, for clients whose clock is behind.
const BACKDATE: Duration = DAY;

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file could not be written or read.
    #[error("cannot {doing} {path}: {error}", path = .path.display())]
    File {
        /// `read` or `write`.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The host's name cannot stand in a certificate.
    #[error("{0} cannot stand in a certificate: configure the fully qualified name that clients connect to")]
    Hostname(String),
    /// The authority's files are damaged, or do not belong together.
    #[error("certificate authority {path} cannot be used ({error}): restore it from a backup", path = .path.display())]
    Authority {
        /// Its certificate.
        path: PathBuf,
        /// The certificate library's words.
        error: rcgen::Error,
    },
    /// The authority's key signs nothing that its certificate proves.
    #[error(
        "private key {key} does not belong to certificate authority {certificate}: restore both from one backup",
        key = .key.display(), certificate = .certificate.display()
    )]
    OtherKey {
        /// The authority's certificate.
        certificate: PathBuf,
        /// The key beside it.
        key: PathBuf,
    },
    /// Half of a server's pair is there, and might be the administrator's own.
    #[error(
        "{lost} {path} is missing, but its {kept} {other} is there and is never replaced: restore {path}, or move {other} \
         away to have both made anew", path = .path.display(), other = .other.display()
    )]
    Half {
        /// `certificate` or `private key`.
        lost: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// The other one of these.
        kept: &'static str,
        /// Where that is.
        other: PathBuf,
    },
    /// The certificate library failed.
    #[error("cannot make a certificate: {0}")]
    Make(rcgen::Error),
}

/// Where the authority keeps its pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityFiles {
    /// PEM, for everybody.
    pub certificate: PathBuf,
    /// PEM, mode 0600.
    pub key: PathBuf,
}

/// What [`ensure`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// Everything was there and good.
    Nothing,
    /// A certificate for the server was made; the authority was there.
    Server,
    /// An authority was made, and a certificate for the server.
    Authority,
}

/// Makes what is missing: the authority, and a server's pair. What is there is left alone, but for a renewal by [`renew`].
///
/// # Errors
/// [`CaError`]; what was there before stays.
pub fn ensure(authority: &AuthorityFiles, server: &ServerFiles, now: Timestamp) -> Result<Ensured, CaError> {
    match (server.certificate.exists(), server.key.exists()) {
        (true, true) if renew(authority, server, now)? => return Ok(Ensured::Server),
        (true, true) => return Ok(Ensured::Nothing),
        (true, false) => return Err(half("private key", &server.key, "certificate", &server.certificate)),
        (false, true) => return Err(half("certificate", &server.certificate, "private key", &server.key)),
        (false, false) => {}
    }
    let is_new = !authority.certificate.exists() && !authority.key.exists();
    if is_new {
        create_authority(authority, &server.hostname, now)?;
    }
    issue_server(authority, server, now)?;
    Ok(if is_new { Ensured::Authority } else { Ensured::Server })
}

fn half(lost: &'static str, path: &Path, kept: &'static str, other: &Path) -> CaError {
    CaError::Half {
        lost,
        path: path.to_owned(),
        kept,
        other: other.to_owned(),
    }
}

/// Renews the certificate of a server if it ends soon or does not name the server as it should; whether it did. The
/// key stays. Never what somebody else signed, or whose key is not there: that is the administrator's own.
///
/// # Errors
/// [`CaError`]; what was there before stays.
pub fn renew(authority: &AuthorityFiles, server: &ServerFiles, now: Timestamp) -> Result<bool, CaError> {
    // With both in one file, a new certificate would replace the key too.
    let is_own = server.certificate != server.key && tls::is_signed_pair(&authority.certificate, server);
    if !is_own || !is_due(server, now) {
        return Ok(false);
    }
    issue_server(authority, server, now).map(|()| true)
}

fn is_due(server: &ServerFiles, now: Timestamp) -> bool {
    match ServerTls::load(server.clone(), now) {
        Ok(tls) => tls.in_use().warnings.iter().any(is_mended_by_renewal),
        Err(error) => matches!(error, TlsError::Expired { .. } | TlsError::WrongName { .. }),
    }
}

fn is_mended_by_renewal(warning: &TlsWarning) -> bool {
    match warning {
        TlsWarning::ExpiresSoon(_) | TlsWarning::NoAltName(_) | TlsWarning::NoCommonName(_) => true,
        TlsWarning::KeyReadableByAll(_) | TlsWarning::OtherAuthority { .. } | TlsWarning::OfName(..) => false,
    }
}

/// The server's certificates of a standalone deployment: renewed by the authority, if it issued them, whenever they are
/// reloaded.
pub struct RenewedTls {
    authority: AuthorityFiles,
    servers: Vec<ServerFiles>,
    tls: Arc<ServerTls>,
}

impl RenewedTls {
    /// Renews what `tls` was loaded from.
    pub fn new(authority: AuthorityFiles, servers: Vec<ServerFiles>, tls: Arc<ServerTls>) -> Self {
        Self {
            authority,
            servers,
            tls,
        }
    }
}

impl Certificates for RenewedTls {
    fn reload(&self, now: Timestamp) -> Result<CertificateInfo, TlsError> {
        // Where the authority's key is kept elsewhere, the administrator renews.
        if self.authority.key.exists() {
            for server in &self.servers {
                match renew(&self.authority, server, now) {
                    Ok(false) => {}
                    Ok(true) => tracing::info!(event = "certificate_renewed"),
                    Err(error) => tracing::warn!(event = "certificate_renewal_failed", error = %error),
                }
            }
        }
        self.tls.reload(now)
    }

    fn in_use(&self) -> CertificateInfo {
        self.tls.in_use()
    }
}

/// Makes an authority.
///
/// # Errors
/// [`CaError::File`] also if its files exist: clients trust them.
pub fn create_authority(files: &AuthorityFiles, name: &str, now: Timestamp) -> Result<(), CaError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CaError::Make)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params
        .distinguished_name
        .push(DnType::CommonName, format!("osa CA of {name}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now, AUTHORITY_VALID);
    let certificate = params.self_signed(&key).map_err(CaError::Make)?;
    write_new(&files.key, &key.serialize_pem(), 0o600)?;
    write_new(&files.certificate, &certificate.pem(), 0o644)
}

/// Makes a server's certificate with the hostname as CN (existing agents check that) and SAN (all others check that), and
/// replaces an older one. A key that is there is used, never replaced.
///
/// # Errors
/// [`CaError`]: the authority cannot be used, or the pair cannot be read or written.
pub fn issue_server(authority: &AuthorityFiles, server: &ServerFiles, now: Timestamp) -> Result<(), CaError> {
    let issuer = load_authority(authority)?;
    // Clients connect by name only: compatibility contract, section 1.4.
    if server.hostname.parse::<IpAddr>().is_ok() {
        return Err(CaError::Hostname(server.hostname.clone()));
    }
    let key = server_key(&server.key)?;
    let mut params = CertificateParams::new(vec![server.hostname.clone()])
        .map_err(|_| CaError::Hostname(server.hostname.clone()))?;
    params
        .distinguished_name
        .push(DnType::CommonName, server.hostname.as_str());
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    set_validity(&mut params, now, SERVER_VALID);
    let certificate = params.signed_by(&key, &issuer).map_err(CaError::Make)?;
    replace(&server.certificate, &certificate.pem(), 0o644)
}

/// The server's key, made if there is none.
fn server_key(path: &Path) -> Result<KeyPair, CaError> {
    if path.exists() {
        return KeyPair::from_pem(&read(path)?).map_err(CaError::Make);
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CaError::Make)?;
    write_new(path, &key.serialize_pem(), 0o600)?;
    Ok(key)
}

fn read(path: &Path) -> Result<String, CaError> {
    fs::read_to_string(path).map_err(|error| CaError::File {
        doing: "read",
        path: path.to_owned(),
        error,
    })
}

fn load_authority(files: &AuthorityFiles) -> Result<Issuer<'static, KeyPair>, CaError> {
    let damaged = |error| CaError::Authority {
        path: files.certificate.clone(),
        error,
    };
    let key = KeyPair::from_pem(&read(&files.key)?).map_err(damaged)?;
    let pem = read(&files.certificate)?;
    if !tls::holds_key(&files.certificate, &key.subject_public_key_info()) {
        return Err(CaError::OtherKey {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
        });
    }
    Issuer::from_ca_cert_pem(&pem, key).map_err(damaged)
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, valid: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch = |time: Timestamp| time.saturating_since(Timestamp::from_millis(0));
    params.not_before = epoch + since_epoch(now - BACKDATE);
    params.not_after = epoch + since_epoch(now + valid);
}

fn write_error(path: &Path) -> impl Fn(io::Error) -> CaError {
    move |error| CaError::File {
        doing: "write",
        path: path.to_owned(),
        error,
    }
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), CaError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let write = || {
        let mut file = options.open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(write_error(path))
}

/// Readers see the old file or the new one, never half of one.
fn replace(path: &Path, text: &str, mode: u32) -> Result<(), CaError> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    // Left over from a crash, if it is there at all.
    fs::remove_file(&fresh).ok();
    write_new(&fresh, text, mode)?;
    fs::rename(&fresh, path).map_err(write_error(path))
}
