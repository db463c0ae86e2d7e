//! TLS of the agent and of tools: one CA file is trusted, and nothing else.

#[cfg(feature = "agent")]
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};

#[cfg(feature = "agent")]
use super::failure;
use super::{certificate, provider};
use crate::domain::time::Timestamp;
use crate::ports::tls::{CertificateInfo, TlsError, TlsFile};
#[cfg(feature = "agent")]
use crate::ports::transport::LinkError;

/// Sessions remembered for resumption: one server for XMPP and one for HTTPS, with room for a change of name.
const REMEMBERED_SESSIONS: usize = 4;

/// A client's configuration and what it trusts.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// For `tokio_rustls::TlsConnector`.
    pub config: Arc<ClientConfig>,
    /// The first certificate of the CA file.
    pub authority: CertificateInfo,
    /// The CA file.
    pub file: PathBuf,
}

#[cfg(feature = "agent")]
impl ClientTls {
    /// What an error of a connection with this configuration means.
    pub fn link_error(&self, error: io::Error) -> LinkError {
        failure::client_error(error, &self.file)
    }
}

/// Trusts the certificates in this PEM file, and no system store: compatibility contract, section 1.4.
///
/// # Errors
/// [`TlsError`] if the file is missing, unreadable, not PEM, or its first certificate is not valid now.
pub fn client_tls(ca_file: &Path, now: Timestamp) -> Result<ClientTls, TlsError> {
    let unusable = |error: rustls::Error| TlsError::Unusable {
        file: TlsFile::Authority,
        path: ca_file.to_owned(),
        reason: error.to_string(),
    };
    let chain = certificate::read_chain(TlsFile::Authority, ca_file)?;
    let mut authority = None;
    let mut roots = RootCertStore::empty();
    for root in chain {
        if authority.is_none() {
            authority = Some(certificate::inspect(TlsFile::Authority, ca_file, &root, now)?);
        }
        roots.add(root).map_err(unusable)?;
    }
    let Some(authority) = authority else {
        return Err(TlsError::NotPem {
            file: TlsFile::Authority,
            path: ca_file.to_owned(),
        });
    };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(REMEMBERED_SESSIONS);
    let config = Arc::new(config);
    let file = ca_file.to_owned();
    Ok(ClientTls {
        config,
        authority,
        file,
    })
}
