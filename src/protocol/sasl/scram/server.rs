//! The end that checks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::message::{ClientFinal, ClientFirst, Gs2Binding, ServerFirst};
use crate::protocol::sasl::{SaslFault, ScramVerifier, TlsExporter};

/// Refuses a client whose word on channel binding does not fit the mechanism or what was offered.
///
/// # Errors
///
/// [`SaslFault::NotAuthorized`] when the client believes that the server lacks channel binding though it was offered
/// (somebody took the offer out: RFC 5802, section 6); [`SaslFault::MalformedRequest`] when word and mechanism differ.
pub fn check_binding(first: &ClientFirst, plus: bool, plus_offered: bool) -> Result<(), SaslFault> {
    match (first.binding, plus) {
        (Gs2Binding::TlsExporter, true) | (Gs2Binding::Unsupported, false) => Ok(()),
        (Gs2Binding::ServerLacksIt, false) if plus_offered => Err(SaslFault::NotAuthorized),
        (Gs2Binding::ServerLacksIt, false) => Ok(()),
        (Gs2Binding::TlsExporter, false) | (Gs2Binding::Unsupported | Gs2Binding::ServerLacksIt, true) => {
            Err(SaslFault::MalformedRequest)
        }
    }
}

/// An exchange of which the server has sent its first message.
#[derive(Clone, Debug)]
pub struct ExpectClientFinal {
    verifier: ScramVerifier,
    nonce: String,
    /// What `c=` must decode to.
    binding: Vec<u8>,
    client_first_bare: String,
    server_first: String,
}

impl ExpectClientFinal {
    /// Answers the client's first message. `exporter` is given when the mechanism binds.
    pub fn new(first: ClientFirst, verifier: ScramVerifier, nonce: &str, exporter: Option<&TlsExporter>) -> Self {
        let nonce = format!("{}{nonce}", first.nonce);
        let server_first = ServerFirst {
            nonce: nonce.clone(),
            salt: verifier.salt().to_vec(),
            iterations: verifier.iterations(),
        }
        .text();
        let mut binding = first.gs2_header.into_bytes();
        if let Some(exporter) = exporter {
            binding.extend_from_slice(exporter);
        }
        Self {
            verifier,
            nonce,
            binding,
            client_first_bare: first.bare,
            server_first,
        }
    }

    /// The message to send.
    pub fn server_first(&self) -> &str {
        &self.server_first
    }

    /// Checks the client's last message and gives out the server's.
    ///
    /// # Errors
    ///
    /// [`SaslFault::MalformedRequest`] or [`SaslFault::NotAuthorized`].
    pub fn finish(self, client_final: &[u8]) -> Result<String, SaslFault> {
        let message = ClientFinal::parse(client_final)?;
        let hash = self.verifier.hash();
        let auth_message = format!(
            "{},{},{}",
            self.client_first_bare, self.server_first, message.without_proof
        );
        let client_signature = hash.hmac(self.verifier.stored_key(), auth_message.as_bytes());
        let proof = super::hash::Digest::from_slice(hash, &message.proof).ok_or(SaslFault::NotAuthorized)?;
        let client_key = proof.xor(&client_signature);
        let accepted = hash.digest(&client_key).ct_eq(self.verifier.stored_key())
            & message.binding.ct_eq(&self.binding)
            & message.nonce.as_bytes().ct_eq(self.nonce.as_bytes());
        if !bool::from(accepted) {
            return Err(SaslFault::NotAuthorized);
        }
        let signature = hash.hmac(self.verifier.server_key(), auth_message.as_bytes());
        Ok(format!("v={}", STANDARD.encode(&*signature)))
    }
}
