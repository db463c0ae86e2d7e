//! The vault of passwords: ChaCha20-Poly1305 under a key in a file.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::domain::secret::Secret;
use crate::ports::clock::Entropy;
use crate::ports::vault::Vault;

/// Encrypts with one key and a random nonce per password. Nonces of 96 random bits repeat with a chance of 2⁻³² after
/// four billion passwords; a site has thousands.
pub struct KeyVault {
    key: LessSafeKey,
    entropy: Arc<dyn Entropy>,
}

impl KeyVault {
    /// Works with this key; `None` if the cryptography library refuses it.
    pub fn new(key: &[u8; 32], entropy: Arc<dyn Entropy>) -> Option<Self> {
        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).ok()?);
        Some(Self { key, entropy })
    }
}

impl Vault for KeyVault {
    fn seal(&self, account: &str, password: &Secret) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        self.entropy.fill(&mut nonce);
        let mut text = password.expose().as_bytes().to_vec();
        let sealing = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(sealing, Aad::from(account.as_bytes()), &mut text)
            .ok()?;
        Some(STANDARD.encode([nonce.as_slice(), &text].concat()))
    }

    fn open(&self, account: &str, sealed: &str) -> Option<Secret> {
        let sealed = STANDARD.decode(sealed).ok()?;
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let password = self
            .key
            .open_in_place(nonce, Aad::from(account.as_bytes()), &mut text)
            .ok()?;
        Some(Secret::new(String::from_utf8(password.to_vec()).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::OsEntropy;

    fn vault(key: u8) -> KeyVault {
        KeyVault::new(&[key; 32], Arc::new(OsEntropy)).unwrap()
    }

    #[test]
    fn password_comes_back_under_its_key_and_account_only() {
        let password = Secret::new("0123456789abcdef0123");
        let sealed = vault(1).seal("osad-1", &password).unwrap();

        assert!(!sealed.contains(';') && !sealed.contains("0123456789"));
        assert_eq!(vault(1).open("osad-1", &sealed), Some(password.clone()));
        assert_eq!(vault(1).open("osad-2", &sealed), None);
        assert_eq!(vault(2).open("osad-1", &sealed), None);
        assert_eq!(vault(1).open("osad-1", "AAAA"), None);
        assert_ne!(
            vault(1).seal("osad-1", &password).unwrap(),
            sealed,
            "the nonce is random"
        );
    }
}
