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

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

#[cfg(feature = "dispatcher")]
pub(in crate::net) use certificate::issuer;
pub use client::{ClientTls, client_tls};
pub use failure::{link_error, tls_failure};
#[cfg(feature = "dispatcher")]
pub use server::{ServerFiles, ServerTls};
#[cfg(feature = "dispatcher")]
pub(in crate::net) use stream::ServerTlsStream;

/// RFC 9266, section 2.
pub(super) const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// The cryptography of every configuration. With a second provider in the dependency tree rustls would refuse to guess.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
