//! How the dispatcher verifies a site's own XMPP server.
//!
//! By the certificates of one file and subjectAltName, as every client of ours. Certificates that a Satellite made before August
//! 2011 have the name as common name only; where the site says so, they do. Source: compatibility contract, section 1.4.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::client::{ClientTls, trusted, unusable};
use super::{certificate, provider};
use crate::domain::time::Timestamp;
use crate::ports::tls::TlsError;
use crate::ports::transport::{CertificateFault, ClientRole};

/// Trusts the certificates in this PEM file; with `common_name` also by the name of a certificate without subjectAltName.
///
/// # Errors
/// [`TlsError`] if the file is missing, unreadable, not PEM, or its first certificate is not valid now.
pub fn upstream_tls(ca_file: &Path, common_name: bool, now: Timestamp) -> Result<ClientTls, TlsError> {
    let (roots, authority) = trusted(ca_file, now)?;
    let roots = Arc::new(roots);
    let usual = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider())
        .build()
        .map_err(|error| unusable(ca_file, &error))?;
    let verifier = Verifier {
        usual,
        roots,
        common_name,
    };
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(ca_file, &error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(ClientTls {
        config: Arc::new(config),
        authority,
        file: ca_file.to_owned(),
        client: ClientRole::Dispatcher,
    })
}

/// rustls's own verification, and what it may not find.
#[derive(Debug)]
struct Verifier {
    usual: Arc<WebPkiServerVerifier>,
    roots: Arc<RootCertStore>,
    /// Whether the common name counts where there is no subjectAltName.
    common_name: bool,
}

impl Verifier {
    /// Judges a certificate that does not have the name as subjectAltName, whatever else is right with it.
    fn without_name(
        &self,
        chain: (&CertificateDer<'_>, &[CertificateDer<'_>]),
        name: &ServerName<'_>,
        now: UnixTime,
        refusal: Error,
    ) -> Result<ServerCertVerified, Error> {
        let ((leaf, intermediates), expected) = (chain, name.to_str());
        let Some(common_name) = certificate::sole_common_name(leaf) else {
            return Err(refusal);
        };
        let is_named = covers(&common_name, &expected);
        match (is_named, self.common_name) {
            (true, true) => {
                let parsed = ParsedCertificate::try_from(leaf)?;
                let algorithms = provider().signature_verification_algorithms.all;
                verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
                Ok(ServerCertVerified::assertion())
            }
            (true, false) => Err(found(CertificateFault::CommonNameOnly {
                expected: expected.into_owned(),
            })),
            (false, true) => Err(found(CertificateFault::OtherName {
                expected: expected.into_owned(),
                names: vec![common_name],
                client: ClientRole::Dispatcher,
            })),
            (false, false) => Err(refusal),
        }
    }
}

fn found(fault: CertificateFault) -> Error {
    CertificateError::Other(OtherError(Arc::new(fault))).into()
}

/// Whether a common name is this host's: the same but for capitals, or with `*` as its first label, which stands for one.
fn covers(common_name: &str, host: &str) -> bool {
    let plain = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
    let (pattern, host) = (plain(common_name), plain(host));
    match pattern.strip_prefix("*.") {
        // As everywhere, `*.com` is nobody's.
        Some(parent) => parent.contains('.') && host.split_once('.').is_some_and(|(_, rest)| rest == parent),
        None => pattern == host,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let usual = &self.usual;
        match usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(
                refusal @ Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                ),
            ) => self.without_name((end_entity, intermediates), server_name, now, refusal),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn common_name_is_the_host_or_stands_for_its_first_label() {
        for name in ["sat.example.com", "Sat.Example.com.", "*.example.com"] {
            assert!(covers(name, "sat.example.com"), "{name}");
        }
        for name in [
            "example.com",
            "*.com",
            "*.sat.example.com",
            "s*.example.com",
            "*",
            "*.",
            "",
            "xsat.example.com",
        ] {
            assert!(!covers(name, "sat.example.com"), "{name}");
        }
        assert!(!covers("*.example.com", "a.b.example.com"));
        assert!(!covers("*.example.com", "example.com"));
    }
}
