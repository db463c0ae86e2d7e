//! Channel binding of TLS 1.3 (`tls-exporter`, RFC 9266).
//!
//! The connections of [`stream`](super::stream) keep no buffers, and that interface of rustls has no exporter. What it
//! has is a log of secrets, so this takes the one secret that exporters are derived from (RFC 8446, section 7.5), and no
//! other, off that log.

use std::cell::Cell;

use hmac::{Hmac, KeyInit, Mac};
use rustls::KeyLog;
use sha2::{Digest, Sha256, Sha384};
use zeroize::Zeroizing;

/// What rustls calls the exporter master secret.
const SECRET_LABEL: &str = "EXPORTER_SECRET";

thread_local! {
    /// The secret of the handshake that this thread is working on, between two calls of rustls.
    static SECRET: Cell<Option<ExporterSecret>> = const { Cell::new(None) };
}

/// The exporter master secret of one connection.
pub(super) struct ExporterSecret(Zeroizing<Vec<u8>>);

impl ExporterSecret {
    /// The secret that rustls derived on this thread since the last call. To be called after each call of rustls, so
    /// that no secret is taken for another connection's.
    pub fn take() -> Option<Self> {
        SECRET.take()
    }

    /// The channel binding; `None` for a hash function that TLS 1.3 does not use.
    pub fn channel_binding(&self) -> Option<[u8; 32]> {
        match self.0.len() {
            32 => export::<Hmac<Sha256>, Sha256>(&self.0),
            48 => export::<Hmac<Sha384>, Sha384>(&self.0),
            _ => None,
        }
    }
}

/// Keeps the exporter master secret for [`ExporterSecret::take`], and nothing else.
#[derive(Debug)]
pub(super) struct ExporterLog;

impl KeyLog for ExporterLog {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if label == SECRET_LABEL {
            SECRET.set(Some(ExporterSecret(Zeroizing::new(secret.to_vec()))));
        }
    }

    fn will_log(&self, label: &str) -> bool {
        label == SECRET_LABEL
    }
}

fn export<M: Mac + KeyInit, H: Digest>(master: &[u8]) -> Option<[u8; 32]> {
    let empty = H::digest([]);
    let secret = Zeroizing::new(expand::<M>(master, super::EXPORTER_LABEL, &empty, empty.len())?);
    let binding = expand::<M>(&secret, b"exporter", &empty, 32)?;
    binding.try_into().ok()
}

/// `HKDF-Expand-Label` (RFC 8446, section 7.1) for at most one block of output.
fn expand<M: Mac + KeyInit>(secret: &[u8], label: &[u8], context: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(secret).ok()?;
    mac.update(&u16::try_from(length).ok()?.to_be_bytes());
    mac.update(&[u8::try_from(label.len() + 6).ok()?]);
    mac.update(b"tls13 ");
    mac.update(label);
    mac.update(&[u8::try_from(context.len()).ok()?]);
    mac.update(context);
    mac.update(&[1]);
    let block = mac.finalize().into_bytes();
    block.get(..length).map(<[u8]>::to_vec)
}
