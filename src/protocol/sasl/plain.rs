//! PLAIN (RFC 4616).

use zeroize::Zeroizing;

use super::SaslFault;
use crate::domain::secret::Secret;

/// What a client says in PLAIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainMessage {
    /// The identity to act as; empty means the account's own.
    pub authzid: String,
    /// The account.
    pub username: String,
    /// The password.
    pub password: Secret,
}

impl PlainMessage {
    /// Reads the one message of the mechanism.
    ///
    /// # Errors
    ///
    /// [`SaslFault::MalformedRequest`] unless there are three parts of UTF-8 with a user name and a password.
    pub fn parse(bytes: &[u8]) -> Result<Self, SaslFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| SaslFault::MalformedRequest)?;
        let mut parts = text.split('\0');
        let (Some(authzid), Some(username), Some(password), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(SaslFault::MalformedRequest);
        };
        if username.is_empty() || password.is_empty() {
            return Err(SaslFault::MalformedRequest);
        }
        Ok(Self {
            authzid: authzid.to_owned(),
            username: username.to_owned(),
            password: Secret::new(password),
        })
    }
}

/// Writes the one message of the mechanism, for one's own identity.
pub fn plain_message(username: &str, password: &Secret) -> Zeroizing<Vec<u8>> {
    let mut message = Zeroizing::new(Vec::with_capacity(username.len() + password.expose().len() + 2));
    message.push(0);
    message.extend_from_slice(username.as_bytes());
    message.push(0);
    message.extend_from_slice(password.expose().as_bytes());
    message
}
