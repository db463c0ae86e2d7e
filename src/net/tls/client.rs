//! TLS of clients: one CA file is trusted, and nothing else.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::{Connect, TlsConnector};

use super::failure;
use super::{certificate, provider};
use crate::domain::time::Timestamp;
use crate::ports::tls::{CertificateInfo, TlsError, TlsFile};
use crate::ports::transport::{ClientRole, LinkError};

/// Sessions remembered for resumption: one server for XMPP and one for HTTPS, with room for a change of name.
const REMEMBERED_SESSIONS: usize = 4;
/// Bytes that TLS keeps for a slow reader.
const BUFFER_MAX: usize = 16 * 1024;

/// A client's configuration and what it trusts.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// For `tokio_rustls::TlsConnector`.
    pub config: Arc<ClientConfig>,
    /// The first certificate of the CA file.
    pub authority: CertificateInfo,
    /// The CA file.
    pub file: PathBuf,
    /// Whose settings errors name.
    pub client: ClientRole,
}

impl ClientTls {
    /// What an error of a connection with this configuration means.
    pub fn link_error(&self, error: io::Error) -> LinkError {
        failure::client_error(error, &self.file, self.client)
    }

    /// Begins TLS on a connection to a server of this name.
    pub fn shake_hands(&self, name: ServerName<'static>, socket: TcpStream) -> Connect<TcpStream> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect_with(name, socket, |tls| tls.set_buffer_limit(Some(BUFFER_MAX)))
    }
}

/// Trusts the certificates in this PEM file, and no system store: compatibility contract, section 1.4.
///
/// # Errors
/// [`TlsError`] if the file is missing, unreadable, not PEM, or its first certificate is not valid now.
pub fn client_tls(ca_file: &Path, now: Timestamp) -> Result<ClientTls, TlsError> {
    let (roots, authority) = trusted(ca_file, now)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(ca_file, &error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(REMEMBERED_SESSIONS);
    Ok(ClientTls {
        config: Arc::new(config),
        authority,
        file: ca_file.to_owned(),
        client: ClientRole::Agent,
    })
}

/// What this file has to be trusted, and what its first certificate says.
pub(super) fn trusted(ca_file: &Path, now: Timestamp) -> Result<(RootCertStore, CertificateInfo), TlsError> {
    let chain = certificate::read_chain(TlsFile::Authority, ca_file)?;
    let mut authority = None;
    let mut roots = RootCertStore::empty();
    for root in chain {
        if authority.is_none() {
            authority = Some(certificate::inspect(TlsFile::Authority, ca_file, &root, now)?);
        }
        roots.add(root).map_err(|error| unusable(ca_file, &error))?;
    }
    let not_pem = || TlsError::NotPem {
        file: TlsFile::Authority,
        path: ca_file.to_owned(),
    };
    Ok((roots, authority.ok_or_else(not_pem)?))
}

pub(super) fn unusable(ca_file: &Path, error: &dyn std::error::Error) -> TlsError {
    TlsError::Unusable {
        file: TlsFile::Authority,
        path: ca_file.to_owned(),
        reason: error.to_string(),
    }
}
