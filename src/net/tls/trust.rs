//! Whom a server's certificate convinces: its own authority, or clients that trust a CA file.

use std::path::Path;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

use super::server::ServerFiles;
use super::{certificate, provider};
use crate::domain::time::Timestamp;
use crate::ports::tls::{TlsFile, TlsWarning};

/// Why clients that trust what is in `authority`, and nothing else, refuse this chain; `None` if they do not, or if
/// there is no such file. They verify as [`client_tls`](super::client_tls) does; the host's name is another matter.
pub(super) fn distrust(
    authority: &Path,
    certificate: &Path,
    chain: &[CertificateDer<'_>],
    now: Timestamp,
) -> Option<TlsWarning> {
    if !authority.exists() {
        return None;
    }
    let reason = verify(authority, chain, now).err()?;
    Some(TlsWarning::OtherAuthority {
        certificate: certificate.to_owned(),
        authority: authority.to_owned(),
        reason,
    })
}

/// Whether the pair is whole, its halves belong together, and the certificate was signed with the key of this authority
/// itself; by then it may have expired. A name proves nothing: each installation for a host has an authority of the same
/// name.
pub(in crate::net) fn is_signed_pair(authority: &Path, server: &ServerFiles) -> bool {
    let Ok(chain) = certificate::read_chain(TlsFile::Certificate, &server.certificate) else {
        return false;
    };
    let Some(leaf) = chain.first() else { return false };
    let Ok(end) = certificate::end(leaf) else { return false };
    let key = certificate::read(TlsFile::Key, &server.key).map(|pem| PrivateKeyDer::from_pem_slice(&pem));
    let Ok(Ok(key)) = key else { return false };
    verify(authority, std::slice::from_ref(leaf), end).is_ok()
        && CertifiedKey::from_der(chain, key, &provider()).is_ok()
}

fn verify(authority: &Path, chain: &[CertificateDer<'_>], at: Timestamp) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for root in certificate::read_chain(TlsFile::Authority, authority).map_err(|error| error.to_string())? {
        roots.add(root).map_err(|error| error.to_string())?;
    }
    let (leaf, intermediates) = chain.split_first().ok_or_else(|| "empty".to_owned())?;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at.as_secs().try_into().unwrap_or_default()));
    let algorithms = provider().signature_verification_algorithms.all;
    ParsedCertificate::try_from(leaf)
        .and_then(|leaf| verify_server_cert_signed_by_trust_anchor(&leaf, &roots, intermediates, at, algorithms))
        .map_err(|error| error.to_string())
}
