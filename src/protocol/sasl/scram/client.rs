//! The end that proves.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::hash::{Digest, ScramHash};
use super::message::{Gs2Binding, ServerFirst, escape_name, parse_server_final};
use crate::domain::secret::Secret;
use crate::protocol::sasl::TlsExporter;
use crate::protocol::sasl::verifiers::prepare_password;

/// Fewer iterations make a stolen exchange too cheap to attack (RFC 7677, section 4).
pub const ITERATIONS_MIN: u32 = 4_096;
/// More would let a server keep us computing: about 0.2 s at this number.
pub const ITERATIONS_MAX: u32 = 500_000;

/// What is wrong with the server's part of the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerFault {
    /// A message breaks the grammar.
    #[error("the server's login message is malformed")]
    Malformed,
    /// The server's nonce does not begin with ours: an answer to somebody else.
    #[error("the server's login message does not answer ours")]
    ForeignNonce,
    /// The number of iterations is outside of our bounds.
    #[error("the server wants {0} iterations; {ITERATIONS_MIN} to {ITERATIONS_MAX} are accepted")]
    Iterations(u32),
    /// The server does not know the password: it is not the one the account was made on.
    #[error("the server's signature is wrong")]
    Signature,
    /// Our own password cannot be prepared (RFC 4013).
    #[error("the password holds characters that passwords must not have")]
    Password,
}

/// How the client sees channel binding on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientBinding {
    /// The mechanism binds to this keying material.
    Bound(TlsExporter),
    /// We could bind, but the server does not offer it.
    NotOffered,
    /// We cannot bind.
    Unsupported,
}

impl ClientBinding {
    fn gs2_header(self) -> String {
        let word = match self {
            Self::Bound(_) => Gs2Binding::TlsExporter,
            Self::NotOffered => Gs2Binding::ServerLacksIt,
            Self::Unsupported => Gs2Binding::Unsupported,
        };
        format!("{},,", word.as_str())
    }
}

/// An exchange of which the client has sent its first message.
#[derive(Clone, Debug)]
pub struct ExpectServerFirst {
    hash: ScramHash,
    binding: ClientBinding,
    nonce: String,
    bare: String,
}

impl ExpectServerFirst {
    /// Begins an exchange.
    pub fn new(hash: ScramHash, binding: ClientBinding, username: &str, nonce: String) -> Self {
        Self {
            hash,
            binding,
            bare: format!("n={},r={nonce}", escape_name(username)),
            nonce,
        }
    }

    /// The message to send.
    pub fn client_first(&self) -> String {
        format!("{}{}", self.binding.gs2_header(), self.bare)
    }

    /// Answers the server's first message with the proof. Takes `i` HMACs.
    ///
    /// # Errors
    ///
    /// [`ServerFault`]: end the attempt.
    pub fn respond(self, server_first: &[u8], password: &Secret) -> Result<(ExpectServerFinal, String), ServerFault> {
        let message = ServerFirst::parse(server_first).map_err(|_| ServerFault::Malformed)?;
        if !message.nonce.starts_with(&self.nonce) || message.nonce.len() == self.nonce.len() {
            return Err(ServerFault::ForeignNonce);
        }
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&message.iterations) {
            return Err(ServerFault::Iterations(message.iterations));
        }
        let password = prepare_password(password).map_err(|_| ServerFault::Password)?;
        let salted = self
            .hash
            .salted_password(password.expose(), &message.salt, message.iterations);
        Ok(self.prove(server_first, &message, &salted))
    }

    fn prove(self, server_first: &[u8], message: &ServerFirst, salted: &Digest) -> (ExpectServerFinal, String) {
        let mut binding = self.binding.gs2_header().into_bytes();
        if let ClientBinding::Bound(exporter) = self.binding {
            binding.extend_from_slice(&exporter);
        }
        let without_proof = format!("c={},r={}", STANDARD.encode(binding), message.nonce);
        let auth_message = format!(
            "{},{},{without_proof}",
            self.bare,
            String::from_utf8_lossy(server_first)
        );
        let hash = self.hash;
        let client_key = hash.client_key(salted);
        let client_signature = hash.hmac(&hash.digest(&client_key), auth_message.as_bytes());
        let proof = client_key.xor(&client_signature);
        let expected = hash.hmac(&hash.server_key(salted), auth_message.as_bytes());
        let client_final = format!("{without_proof},p={}", STANDARD.encode(&*proof));
        (ExpectServerFinal { expected }, client_final)
    }
}

/// An exchange of which the client has sent its proof.
#[derive(Clone, Debug)]
pub struct ExpectServerFinal {
    expected: Digest,
}

impl ExpectServerFinal {
    /// Checks that the server knows the password too.
    ///
    /// # Errors
    ///
    /// [`ServerFault`]: end the connection; whoever it is, it is not the server of our account.
    pub fn verify(self, server_final: &[u8]) -> Result<(), ServerFault> {
        let signature = parse_server_final(server_final)
            .map_err(|_| ServerFault::Malformed)?
            .ok_or(ServerFault::Signature)?;
        if !bool::from(signature.ct_eq(&self.expected)) {
            return Err(ServerFault::Signature);
        }
        Ok(())
    }
}
