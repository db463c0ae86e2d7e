//! What a server keeps instead of a password.

use subtle::ConstantTimeEq;

use super::scram::hash::{Digest, ScramHash};
use crate::domain::secret::Secret;

/// Iterations for new accounts: the least RFC 7677 allows. Agents' passwords are random, so more would only cost time.
pub const ITERATIONS_DEFAULT: u32 = 4_096;

/// Bytes of a password at most; bounds the work of preparing it.
const PASSWORD_BYTES_MAX: usize = 1_023;

/// A password that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Empty, or longer than 1 023 bytes.
    #[error("the password is empty or longer than {PASSWORD_BYTES_MAX} bytes")]
    Length,
    /// Holds characters SASLprep forbids (RFC 4013).
    #[error("the password holds characters that passwords must not have")]
    Characters,
}

/// Random bytes for one set of verifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salts {
    /// For SCRAM-SHA-256.
    pub sha256: [u8; 16],
    /// For SCRAM-SHA-1.
    pub sha1: [u8; 16],
    /// For the fast verifier; `None` when a person chose the password, who may have chosen a weak one.
    pub fast: Option<[u8; 16]>,
}

/// What SCRAM needs to check a client (RFC 5802, section 3); does not let anybody log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScramVerifier {
    pub(super) hash: ScramHash,
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
    pub(super) stored_key: Digest,
    pub(super) server_key: Digest,
}

impl ScramVerifier {
    /// Computes the verifier of a password that is prepared already (ASCII is).
    pub fn derive(hash: ScramHash, password: &Secret, salt: &[u8], iterations: u32) -> Self {
        let salted = hash.salted_password(password.expose(), salt, iterations);
        Self {
            hash,
            salt: salt.to_vec(),
            iterations,
            stored_key: hash.digest(&hash.client_key(&salted)),
            server_key: hash.server_key(&salted),
        }
    }

    /// The hash function.
    pub const fn hash(&self) -> ScramHash {
        self.hash
    }

    /// The salt.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The number of iterations.
    pub const fn iterations(&self) -> u32 {
        self.iterations
    }

    /// `StoredKey`.
    pub const fn stored_key(&self) -> &Digest {
        &self.stored_key
    }

    /// `ServerKey`.
    pub const fn server_key(&self) -> &Digest {
        &self.server_key
    }
}

/// HMAC-SHA-256 of a machine-made password under a random salt: one HMAC instead of thousands, good enough where the
/// password has 80 random bits or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FastVerifier {
    pub(super) salt: [u8; 16],
    pub(super) mac: Digest,
}

impl FastVerifier {
    fn derive(password: &Secret, salt: [u8; 16]) -> Self {
        Self {
            salt,
            mac: ScramHash::Sha256.hmac(&salt, password.expose().as_bytes()),
        }
    }
}

/// All that is stored of one account's password. Its text form is for the database; see [`Verifiers::to_stored`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifiers {
    pub(super) sha256: ScramVerifier,
    pub(super) sha1: ScramVerifier,
    pub(super) fast: Option<FastVerifier>,
    pub(super) password: Kept,
}

/// The password itself, which only the digest of existing agents needs (XEP-0078).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is not kept.
    No,
    /// Encrypted, as text without `;`, under a key that is not in the database.
    Sealed(String),
    /// Decrypted, for one login.
    Open(Secret),
}

impl Verifiers {
    /// The encrypted password, if it is kept.
    pub fn sealed_password(&self) -> Option<&str> {
        match &self.password {
            Kept::Sealed(sealed) => Some(sealed),
            Kept::No | Kept::Open(_) => None,
        }
    }

    /// Keeps the password, encrypted by the caller: text without `;`.
    #[must_use]
    pub fn with_sealed_password(self, sealed: String) -> Self {
        let password = Kept::Sealed(sealed);
        Self { password, ..self }
    }

    /// The password, if the caller decrypted it: then a digest can be checked.
    pub fn password(&self) -> Option<&Secret> {
        match &self.password {
            Kept::Open(password) => Some(password),
            Kept::No | Kept::Sealed(_) => None,
        }
    }

    /// Carries the decrypted password for one login; it is no part of the text form.
    #[must_use]
    pub fn with_password(self, password: Secret) -> Self {
        let password = Kept::Open(password);
        Self { password, ..self }
    }

    /// Computes the verifiers of a password. Takes some milliseconds per 4 096 iterations: not on an actor's thread.
    ///
    /// # Errors
    ///
    /// The password cannot be used.
    pub fn derive(password: &Secret, salts: &Salts, iterations: u32) -> Result<Self, PasswordError> {
        let password = prepare_password(password)?;
        Ok(Self {
            sha256: ScramVerifier::derive(ScramHash::Sha256, &password, &salts.sha256, iterations),
            sha1: ScramVerifier::derive(ScramHash::Sha1, &password, &salts.sha1, iterations),
            fast: salts.fast.map(|salt| FastVerifier::derive(&password, salt)),
            password: Kept::No,
        })
    }

    /// Makes verifiers for an account that does not exist, always the same ones for a name, and matching no password:
    /// a stranger must not learn which accounts there are. `server_secret` is random and kept over restarts.
    pub fn decoy(username: &str, server_secret: &[u8], iterations: u32) -> Self {
        let bytes = |purpose: &str| {
            let key = ScramHash::Sha256.hmac(server_secret, purpose.as_bytes());
            ScramHash::Sha256.hmac(&key, username.as_bytes())
        };
        let scram = |hash: ScramHash, purpose: &str| ScramVerifier {
            hash,
            salt: first_16(&bytes(purpose)).to_vec(),
            iterations,
            stored_key: hash.digest(&bytes("decoy stored key")),
            server_key: hash.digest(&bytes("decoy server key")),
        };
        Self {
            sha256: scram(ScramHash::Sha256, "decoy salt sha-256"),
            sha1: scram(ScramHash::Sha1, "decoy salt sha-1"),
            fast: Some(FastVerifier {
                salt: first_16(&bytes("decoy salt fast")),
                mac: bytes("decoy mac"),
            }),
            password: Kept::No,
        }
    }

    /// The verifier for SCRAM with `hash`.
    pub const fn scram(&self, hash: ScramHash) -> &ScramVerifier {
        match hash {
            ScramHash::Sha1 => &self.sha1,
            ScramHash::Sha256 => &self.sha256,
        }
    }

    /// Whether `password` is the account's. One HMAC with a fast verifier, else `iterations` of them.
    pub fn accept(&self, password: &Secret) -> bool {
        let Ok(password) = prepare_password(password) else {
            return false;
        };
        match &self.fast {
            Some(fast) => FastVerifier::derive(&password, fast.salt).mac.ct_eq(&fast.mac).into(),
            None => {
                let known = &self.sha256;
                let given = ScramVerifier::derive(known.hash, &password, &known.salt, known.iterations);
                given.stored_key.ct_eq(&known.stored_key).into()
            }
        }
    }
}

/// Prepares a password for comparison (SASLprep, RFC 4013).
pub(super) fn prepare_password(password: &Secret) -> Result<Secret, PasswordError> {
    let text = password.expose();
    if text.is_empty() || text.len() > PASSWORD_BYTES_MAX {
        return Err(PasswordError::Length);
    }
    let prepared = stringprep::saslprep(text).map_err(|_| PasswordError::Characters)?;
    if prepared.is_empty() {
        return Err(PasswordError::Length);
    }
    Ok(Secret::new(prepared))
}

fn first_16(digest: &Digest) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(digest.iter()) {
        *to = *from;
    }
    bytes
}
