//! TLS of the server, exchanged while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, ServerConfig};

use super::exporter::ExporterLog;
use super::{certificate, provider, trust};
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
    /// PEM: what new clients are given to trust, if it is known.
    pub authority: Option<PathBuf>,
}

/// The server's material in use. Handshakes take the configuration of their moment.
pub struct ServerTls {
    /// Where it is: this server's own, then that of each further name.
    files: Mutex<Vec<ServerFiles>>,
    configs: ArcSwap<Configs>,
    info: Mutex<CertificateInfo>,
    /// Survives reloads, so that clients resume across them.
    ticketer: Arc<dyn ProducesTickets>,
}

/// One configuration for clients that say in their hello which name they want, or nothing, and one for each name.
struct Configs {
    by_hello: Arc<ServerConfig>,
    by_name: BTreeMap<String, Arc<ServerConfig>>,
}

impl ServerTls {
    /// Loads the files of a server with one name.
    ///
    /// # Errors
    /// [`TlsError`]: what is wrong with which file.
    pub fn load(files: ServerFiles, now: Timestamp) -> Result<Self, TlsError> {
        Self::load_all(vec![files], now)
    }

    /// Loads the files of a server with several names; the first one is its own.
    ///
    /// # Errors
    /// [`TlsError`]: what is wrong with which file.
    pub fn load_all(files: Vec<ServerFiles>, now: Timestamp) -> Result<Self, TlsError> {
        let unusable = |error: Error| TlsError::Unusable {
            file: TlsFile::Key,
            path: files.first().map(|own| own.key.clone()).unwrap_or_default(),
            reason: error.to_string(),
        };
        let ticketer = rustls::crypto::ring::Ticketer::new().map_err(unusable)?;
        let (configs, info) = load(&files, &ticketer, now)?;
        Ok(Self {
            files: Mutex::new(files),
            configs: ArcSwap::from_pointee(configs),
            info: Mutex::new(info),
            ticketer,
        })
    }

    /// What a handshake that starts now uses: the certificate of the name in the client's hello, or the server's own.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.configs.load().by_hello)
    }

    /// What a handshake uses with a client that has asked for this name already; existing agents put none into their
    /// hello (compatibility contract, section 1.4).
    pub fn config_for(&self, name: &str) -> Arc<ServerConfig> {
        let configs = self.configs.load();
        Arc::clone(configs.by_name.get(name).unwrap_or(&configs.by_hello))
    }

    /// Where the next reload finds the server's own certificate and key.
    pub fn use_files(&self, certificate: PathBuf, key: PathBuf) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = files.first_mut() {
            own.certificate = certificate;
            own.key = key;
        }
    }
}

impl Certificates for ServerTls {
    fn reload(&self, now: Timestamp) -> Result<CertificateInfo, TlsError> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (configs, info) = load(&files, &self.ticketer, now)?;
        self.configs.store(Arc::new(configs));
        *self.info.lock().unwrap_or_else(PoisonError::into_inner) = info.clone();
        Ok(info)
    }

    fn in_use(&self) -> CertificateInfo {
        self.info.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All of them or none. What is known of the first certificate, with the warnings about all.
fn load(
    files: &[ServerFiles],
    ticketer: &Arc<dyn ProducesTickets>,
    now: Timestamp,
) -> Result<(Configs, CertificateInfo), TlsError> {
    let mut pairs = BTreeMap::new();
    let mut own: Option<(Arc<CertifiedKey>, CertificateInfo)> = None;
    for files in files {
        let (pair, info) = load_pair(files, now)?;
        pairs.insert(files.hostname.clone(), Arc::clone(&pair));
        match &mut own {
            None => own = Some((pair, info)),
            Some((_, own)) => own.warnings.extend(info.warnings.into_iter().map(|warning| {
                let warning = Box::new(warning);
                TlsWarning::OfName(files.hostname.clone(), warning)
            })),
        }
    }
    let Some((own, info)) = own else {
        return Err(TlsError::Missing {
            file: TlsFile::Certificate,
            path: PathBuf::new(),
        });
    };
    let config = |resolver| Ok(Arc::new(configure(resolver, ticketer)?));
    let by_name = pairs
        .iter()
        .map(|(name, pair)| Ok((name.clone(), config(Arc::new(ByName::only(pair)))?)));
    let configs = Configs {
        by_name: by_name
            .collect::<Result<_, _>>()
            .map_err(|error| unusable(files, &error))?,
        by_hello: config(Arc::new(ByName { own, pairs })).map_err(|error| unusable(files, &error))?,
    };
    Ok((configs, info))
}

fn unusable(files: &[ServerFiles], error: &Error) -> TlsError {
    TlsError::Unusable {
        file: TlsFile::Key,
        path: files.first().map(|own| own.key.clone()).unwrap_or_default(),
        reason: error.to_string(),
    }
}

/// The certificate of the name in the client's hello, or the server's own.
#[derive(Debug)]
struct ByName {
    own: Arc<CertifiedKey>,
    pairs: BTreeMap<String, Arc<CertifiedKey>>,
}

impl ByName {
    fn only(own: &Arc<CertifiedKey>) -> Self {
        Self {
            own: Arc::clone(own),
            pairs: BTreeMap::new(),
        }
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello
            .server_name()
            .and_then(|name| self.pairs.get(&name.to_ascii_lowercase()));
        Some(Arc::clone(named.unwrap_or(&self.own)))
    }
}

fn load_pair(files: &ServerFiles, now: Timestamp) -> Result<(Arc<CertifiedKey>, CertificateInfo), TlsError> {
    let chain = certificate::read_chain(TlsFile::Certificate, &files.certificate)?;
    let key_pem = certificate::read(TlsFile::Key, &files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| TlsError::NotPem {
        file: TlsFile::Key,
        path: files.key.clone(),
    })?;
    let mut info = check(files, &chain, now)?;
    let distrust = |authority: &PathBuf| trust::distrust(authority, &files.certificate, &chain, now);
    info.warnings.extend(files.authority.as_ref().and_then(distrust));
    let pair = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
        Error::InconsistentKeys(_) => TlsError::KeyMismatch {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
        },
        error => unusable(std::slice::from_ref(files), &error),
    })?;
    Ok((Arc::new(pair), info))
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
        let names: BTreeSet<String> = info.alt_names.into_iter().chain(info.common_name).collect();
        let names = names.into_iter().collect();
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

fn configure(resolver: Arc<ByName>, ticketer: &Arc<dyn ProducesTickets>) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.ticketer = Arc::clone(ticketer);
    config.key_log = Arc::new(ExporterLog);
    config.send_tls13_tickets = TICKETS;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}
