//! TLS by rustls: TLS 1.2 and 1.3, with `ring` chosen explicitly.

mod certificate;
mod client;
#[cfg(feature = "dispatcher")]
mod exporter;
mod failure;
#[cfg(feature = "dispatcher")]
mod server;
#[cfg(feature = "dispatcher")]
mod stream;
#[cfg(feature = "dispatcher")]
mod trust;
#[cfg(feature = "dispatcher")]
mod upstream;

use std::sync::Arc;

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;

#[cfg(feature = "dispatcher")]
pub(in crate::net) use certificate::holds_key;
#[cfg(feature = "dispatcher")]
pub use certificate::read_chain;
pub use client::{ClientTls, client_tls};
pub use failure::tls_failure;
#[cfg(feature = "dispatcher")]
pub use server::{ServerFiles, ServerTls};
#[cfg(feature = "dispatcher")]
pub(in crate::net) use stream::ServerTlsStream;
#[cfg(feature = "dispatcher")]
pub(in crate::net) use trust::is_signed_pair;
#[cfg(feature = "dispatcher")]
pub use upstream::upstream_tls;

/// RFC 9266, section 2.
pub(super) const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// The cryptography of every configuration. With a second provider in the dependency tree rustls would refuse to guess.
///
/// AES-128 comes first, as a client asks for it: its suites hash with SHA-256, which processors have instructions for.
/// With rustls's own order, SHA-384 took 6 % of the session threads' time in a login.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| !is_aes_128(suite.suite()));
    Arc::new(provider)
}

fn is_aes_128(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}
