//! Reading certificates and saying what is wrong with them.

use std::io;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::domain::file_access::FileKind;
use crate::domain::time::Timestamp;
use crate::ports::tls::{CertificateInfo, Date, TlsError, TlsFile};
use crate::settings::access::file_access;

/// The text of a file of TLS. The files are small and local, so reading them blocks for less than a millisecond.
pub(super) fn read(file: TlsFile, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| unreadable(file, path, error))
}

fn unreadable(file: TlsFile, path: &Path, error: io::Error) -> TlsError {
    let (kind, path) = (error.kind(), path.to_owned());
    if kind == io::ErrorKind::NotFound {
        return TlsError::Missing { file, path };
    }
    if kind == io::ErrorKind::IsADirectory {
        return TlsError::Directory { file, path };
    }
    let access = file_access(&path, file_kind(file, &path)).filter(|_| kind == io::ErrorKind::PermissionDenied);
    match access {
        Some(access) => TlsError::Forbidden { file, path, access },
        None => TlsError::Unreadable { file, path, error },
    }
}

/// A file with a certificate may hold the key as well; a Satellite's is taken from the service's credentials.
fn file_kind(file: TlsFile, path: &Path) -> FileKind {
    match file {
        TlsFile::Authority | TlsFile::DatabaseAuthority => FileKind::Public,
        TlsFile::Certificate | TlsFile::Key if path.ends_with("server.pem") => FileKind::Credential,
        TlsFile::Certificate | TlsFile::Key => FileKind::Own,
    }
}

/// All certificates of a PEM file, in order; at least one.
///
/// # Errors
/// [`TlsError`]: the file cannot be read, or holds none.
pub fn read_chain(file: TlsFile, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(file, path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) | Err(_) => Err(TlsError::NotPem {
            file,
            path: path.to_owned(),
        }),
    }
}

/// What a certificate says, if it is valid at `now`.
pub(super) fn inspect(
    file: TlsFile,
    path: &Path,
    certificate: &CertificateDer<'_>,
    now: Timestamp,
) -> Result<CertificateInfo, TlsError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| TlsError::Unusable {
        file,
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    let not_before = Timestamp::from_secs(parsed.validity().not_before.timestamp());
    let not_after = Timestamp::from_secs(parsed.validity().not_after.timestamp());
    let path = || path.to_owned();
    if now < not_before {
        let from = Date(not_before);
        return Err(TlsError::NotYetValid {
            file,
            path: path(),
            from,
        });
    }
    if now > not_after {
        let since = Date(not_after);
        return Err(TlsError::Expired {
            file,
            path: path(),
            since,
        });
    }
    Ok(CertificateInfo {
        common_name: common_name(&parsed),
        alt_names: alt_names(&parsed),
        not_before,
        not_after,
        warnings: Vec::new(),
    })
}

/// When a certificate ends.
#[cfg(feature = "dispatcher")]
pub(super) fn end(certificate: &CertificateDer<'_>) -> Result<Timestamp, String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    Ok(Timestamp::from_secs(parsed.validity().not_after.timestamp()))
}

/// The common name of a certificate that has no subjectAltName of any kind.
#[cfg(feature = "dispatcher")]
pub(super) fn sole_common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    match parsed.subject_alternative_name() {
        Ok(None) => common_name(&parsed),
        // One that cannot be read is one all the same.
        Ok(Some(_)) | Err(_) => None,
    }
}

/// Whether the first certificate of a file is for this public key (DER of `SubjectPublicKeyInfo`, RFC 5280, section
/// 4.1).
#[cfg(feature = "dispatcher")]
pub(in crate::net) fn holds_key(path: &Path, public_key: &[u8]) -> bool {
    let chain = read_chain(TlsFile::Authority, path).unwrap_or_default();
    let parsed = chain.first().map(|first| X509Certificate::from_der(first));
    matches!(parsed, Some(Ok((_, parsed))) if parsed.public_key().raw == public_key)
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let name = certificate.subject().iter_common_name().next()?;
    name.as_str().ok().map(str::to_owned)
}

fn alt_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    names.collect()
}
