//! What a failed handshake means.

use std::io;

use rustls::{AlertDescription, Error};

use crate::ports::transport::{LinkError, TlsFailure};

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
        Error::InvalidCertificate(_) => TlsFailure::PeerCertificate(text),
        _ => TlsFailure::Other(text),
    }
}

/// Takes the TLS error out of the I/O error that tokio-rustls wraps it in.
pub fn link_error(error: io::Error) -> LinkError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(tls) => LinkError::Tls(tls_failure(tls)),
        None => LinkError::Io(error),
    }
}
