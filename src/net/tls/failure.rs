//! What a failed handshake means.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use rustls::{AlertDescription, CertificateError, Error, PeerMisbehaved};

use crate::ports::transport::{CertificateFault, ClientRole, LinkError, TlsFailure};

/// Sorts a TLS error by who has to do something about it.
pub fn tls_failure(error: &Error) -> TlsFailure {
    let text = error.to_string();
    match error {
        Error::PeerIncompatible(_) => TlsFailure::LegacyPeer(text),
        Error::AlertReceived(AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure) => {
            TlsFailure::LegacyPeer(text)
        }
        Error::InvalidMessage(_) => TlsFailure::NotTls(text),
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            // It trusts an authority of the same name that did not sign this.
            | AlertDescription::DecryptError,
        ) => TlsFailure::CertificateRefused(text),
        _ => TlsFailure::Other(text),
    }
}

/// Takes the TLS error out of the I/O error that tokio-rustls wraps it in, as a client that trusts this file sees it.
pub(super) fn client_error(error: io::Error, authority: &Path, client: ClientRole) -> LinkError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(fault)) => TlsFailure::from(certificate_fault(fault, authority, client)).into(),
        // It has no signature but SHA-1.
        Some(Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)) => {
            TlsFailure::LegacyServer("signatures by SHA-1".to_owned()).into()
        }
        Some(tls) => LinkError::Tls(match tls_failure(tls) {
            TlsFailure::LegacyPeer(text) => TlsFailure::LegacyServer(text),
            other => other,
        }),
        None => LinkError::Io(error),
    }
}

fn certificate_fault(error: &CertificateError, authority: &Path, client: ClientRole) -> CertificateFault {
    match error {
        // A bad signature: its authority has the name of one of ours, and another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => CertificateFault::OtherAuthority {
            authority: authority.to_owned(),
            client,
        },
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => CertificateFault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => CertificateFault::NotYetValid,
        CertificateError::NotValidForNameContext { expected, presented } if presented.is_empty() => {
            CertificateFault::NoAltName {
                expected: expected.to_str().into_owned(),
            }
        }
        CertificateError::NotValidForNameContext { expected, presented } => CertificateFault::OtherName {
            expected: expected.to_str().into_owned(),
            names: once_each(presented.iter().map(|name| plain(name))),
            client,
        },
        CertificateError::UnsupportedSignatureAlgorithmContext { .. } => CertificateFault::OldSignature,
        // What our own verifier found.
        CertificateError::Other(other) => {
            let fault = other.0.downcast_ref::<CertificateFault>().cloned();
            fault.unwrap_or_else(|| CertificateFault::Unusable(other.to_string()))
        }
        // Not our enum.
        other => CertificateFault::Unusable(other.to_string()),
    }
}

/// A certificate may hold a name several times.
fn once_each(names: impl Iterator<Item = String>) -> Vec<String> {
    let names: BTreeSet<String> = names.collect();
    names.into_iter().collect()
}

/// The library shows names as `DnsName("…")`.
fn plain(name: &str) -> String {
    name.trim_start_matches("DnsName(")
        .trim_matches(['(', ')', '"'])
        .to_owned()
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;

    #[test]
    fn name_that_a_certificate_holds_twice_is_told_once() {
        let fault = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("sat.example").unwrap(),
            presented: ["localhost", "localhost", "db"]
                .map(|name| format!("DnsName({name:?})"))
                .to_vec(),
        };

        let told = certificate_fault(&fault, Path::new("/ca"), ClientRole::Agent).to_string();

        assert!(told.starts_with("is for db, localhost, not for sat.example"), "{told}");
    }
}
