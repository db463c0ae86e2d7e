//! TLS of the server, exchanged while it runs.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, ProducesTickets};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, ServerConfig};

use super::exporter::ExporterLog;
use super::{certificate, provider};
use crate::domain::time::Timestamp;
use crate::ports::tls::{CertificateInfo, Certificates, Date, TlsError, TlsFile, TlsWarning};

/// Tickets sent to each client. One is enough to resume, and every one costs the client's old agent a record to read.
const TICKETS: usize = 1;
/// A certificate that ends within this time is warned of.
const EXPIRY_WARNING: Duration = Duration::from_secs(30 * 24 * 3600);
/// Permission bits of "others may read".
const OTHERS_READ: u32 = 0o004;

/// Where the server's material is, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// PEM: the certificate, then its chain.
    pub certificate: PathBuf,
    /// PEM: the private key.
    pub key: PathBuf,
    /// The name that clients connect to.
    pub hostname: String,
}

/// The server's material in use. Handshakes take the configuration of their moment.
pub struct ServerTls {
    files: Mutex<ServerFiles>,
    config: ArcSwap<ServerConfig>,
    info: Mutex<CertificateInfo>,
    /// Survives reloads, so that clients resume across them.
    ticketer: Arc<dyn ProducesTickets>,
}

impl ServerTls {
    /// Loads the files.
    ///
    /// # Errors
    /// [`TlsError`]: what is wrong with which file.
    pub fn load(files: ServerFiles, now: Timestamp) -> Result<Self, TlsError> {
        let unusable = |error: Error| TlsError::Unusable {
            file: TlsFile::Key,
            path: files.key.clone(),
            reason: error.to_string(),
        };
        let ticketer = rustls::crypto::ring::Ticketer::new().map_err(unusable)?;
        let (config, info) = load(&files, &ticketer, now)?;
        Ok(Self {
            files: Mutex::new(files),
            config: ArcSwap::from_pointee(config),
            info: Mutex::new(info),
            ticketer,
        })
    }

    /// What a handshake that starts now uses.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// Where the next reload finds certificate and key.
    pub fn use_files(&self, certificate: PathBuf, key: PathBuf) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.certificate = certificate;
        files.key = key;
    }
}

impl Certificates for ServerTls {
    fn reload(&self, now: Timestamp) -> Result<CertificateInfo, TlsError> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (config, info) = load(&files, &self.ticketer, now)?;
        self.config.store(Arc::new(config));
        *self.info.lock().unwrap_or_else(PoisonError::into_inner) = info.clone();
        Ok(info)
    }

    fn in_use(&self) -> CertificateInfo {
        self.info.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn load(
    files: &ServerFiles,
    ticketer: &Arc<dyn ProducesTickets>,
    now: Timestamp,
) -> Result<(ServerConfig, CertificateInfo), TlsError> {
    let chain = certificate::read_chain(TlsFile::Certificate, &files.certificate)?;
    let key_pem = certificate::read(TlsFile::Key, &files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| TlsError::NotPem {
        file: TlsFile::Key,
        path: files.key.clone(),
    })?;
    let info = check(files, &chain, now)?;
    Ok((configure(files, chain, key, ticketer)?, info))
}

fn check(files: &ServerFiles, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<CertificateInfo, TlsError> {
    let path = &files.certificate;
    let mut leaf = None;
    for certificate in chain {
        let info = certificate::inspect(TlsFile::Certificate, path, certificate, now)?;
        leaf.get_or_insert((certificate, info));
    }
    let Some((certificate, mut info)) = leaf else {
        return Err(TlsError::NotPem {
            file: TlsFile::Certificate,
            path: path.clone(),
        });
    };
    let hostname = &files.hostname;
    let in_alt_names = names_host(certificate, hostname);
    let in_common_name = info
        .common_name
        .as_deref()
        .is_some_and(|name| matches_common_name(name, hostname));
    if !in_alt_names && !in_common_name {
        let names = info.alt_names.into_iter().chain(info.common_name).collect();
        return Err(TlsError::WrongName {
            path: path.clone(),
            hostname: hostname.clone(),
            names,
        });
    }
    if !in_alt_names {
        info.warnings.push(TlsWarning::NoAltName(hostname.clone()));
    }
    if !in_common_name {
        info.warnings.push(TlsWarning::NoCommonName(hostname.clone()));
    }
    if info.not_after.saturating_since(now) < EXPIRY_WARNING {
        info.warnings.push(TlsWarning::ExpiresSoon(Date(info.not_after)));
    }
    if readable_by_all(&files.key) {
        info.warnings.push(TlsWarning::KeyReadableByAll(files.key.clone()));
    }
    Ok(info)
}

/// Whether a client that checks `subjectAltName` accepts the certificate for this name.
fn names_host(certificate: &CertificateDer<'_>, hostname: &str) -> bool {
    let (Ok(parsed), Ok(name)) = (ParsedCertificate::try_from(certificate), ServerName::try_from(hostname)) else {
        return false;
    };
    rustls::client::verify_server_name(&parsed, &name).is_ok()
}

/// Whether an existing agent accepts the name: equal, or a leading `*`; compatibility contract, section 1.4.
fn matches_common_name(name: &str, hostname: &str) -> bool {
    name == hostname || name.strip_prefix('*').is_some_and(|suffix| hostname.ends_with(suffix))
}

fn readable_by_all(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & OTHERS_READ != 0)
}

fn configure(
    files: &ServerFiles,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    ticketer: &Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, TlsError> {
    let unusable = |error: Error| match error {
        Error::InconsistentKeys(_) => TlsError::KeyMismatch {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
        },
        error => TlsError::Unusable {
            file: TlsFile::Key,
            path: files.key.clone(),
            reason: error.to_string(),
        },
    };
    let provider = provider();
    let certified = CertifiedKey::from_der(chain, key, &provider).map_err(unusable)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.ticketer = Arc::clone(ticketer);
    config.key_log = Arc::new(ExporterLog);
    config.send_tls13_tickets = TICKETS;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}
