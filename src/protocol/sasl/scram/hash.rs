//! The arithmetic of SCRAM (RFC 5802, section 3).

use std::fmt;
use std::ops::Deref;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The hash function of a SCRAM mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScramHash {
    /// SHA-1 (RFC 5802): 20 bytes.
    Sha1,
    /// SHA-256 (RFC 7677): 32 bytes.
    Sha256,
}

/// A digest, MAC or key of up to 32 bytes. Never printed; compared in constant time; wiped when dropped.
#[derive(Clone)]
pub struct Digest {
    bytes: Zeroizing<[u8; 32]>,
    length: usize,
}

impl Digest {
    /// Copies a digest of `hash`; `None` when the length is not that of the hash.
    pub fn from_slice(hash: ScramHash, slice: &[u8]) -> Option<Self> {
        let mut digest = Self::zero(hash);
        if slice.len() != digest.length {
            return None;
        }
        digest.as_mut().copy_from_slice(slice);
        Some(digest)
    }

    /// `self` XOR `other`.
    #[must_use]
    pub fn xor(&self, other: &Self) -> Self {
        let mut result = self.clone();
        for (byte, other) in result.bytes.iter_mut().zip(other.bytes.iter()) {
            *byte ^= other;
        }
        result
    }

    fn zero(hash: ScramHash) -> Self {
        Self {
            bytes: Zeroizing::new([0; 32]),
            length: hash.length(),
        }
    }

    fn as_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.length).unwrap_or_default()
    }
}

impl Deref for Digest {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Digest {}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

impl ScramHash {
    /// Length of a digest in bytes.
    pub const fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// `H(data)`.
    pub fn digest(self, data: &[u8]) -> Digest {
        let mut digest = Digest::zero(self);
        match self {
            Self::Sha1 => digest.as_mut().copy_from_slice(&Sha1::digest(data)),
            Self::Sha256 => digest.as_mut().copy_from_slice(&Sha256::digest(data)),
        }
        digest
    }

    /// `HMAC(key, data)`.
    pub fn hmac(self, key: &[u8], data: &[u8]) -> Digest {
        let mut digest = Digest::zero(self);
        match self {
            Self::Sha1 => digest.as_mut().copy_from_slice(&mac::<Hmac<Sha1>>(key, data)),
            Self::Sha256 => digest.as_mut().copy_from_slice(&mac::<Hmac<Sha256>>(key, data)),
        }
        digest
    }

    /// `SaltedPassword := Hi(password, salt, i)`: the expensive step, `iterations` HMACs.
    pub fn salted_password(self, password: &str, salt: &[u8], iterations: u32) -> Digest {
        let mut digest = Digest::zero(self);
        match self {
            Self::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(password.as_bytes(), salt, iterations, digest.as_mut()),
            Self::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, iterations, digest.as_mut()),
        }
        digest
    }

    /// `ClientKey := HMAC(SaltedPassword, "Client Key")`.
    pub fn client_key(self, salted_password: &Digest) -> Digest {
        self.hmac(salted_password, b"Client Key")
    }

    /// `ServerKey := HMAC(SaltedPassword, "Server Key")`.
    pub fn server_key(self, salted_password: &Digest) -> Digest {
        self.hmac(salted_password, b"Server Key")
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
fn mac<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> hmac::digest::Output<M> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(data);
    mac.finalize().into_bytes()
}
