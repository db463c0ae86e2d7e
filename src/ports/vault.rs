//! Passwords that must be kept as they are: the digest of existing agents cannot be checked without (XEP-0078).

use crate::domain::secret::Secret;

/// Encrypts passwords under a key that is not in the database.
pub trait Vault: Send + Sync + 'static {
    /// The password as text without `;`, bound to its account; `None` if it cannot be encrypted.
    fn seal(&self, account: &str, password: &Secret) -> Option<String>;

    /// The password again; `None` if it was encrypted under another key or for another account, or is damaged.
    fn open(&self, account: &str, sealed: &str) -> Option<Secret>;
}
