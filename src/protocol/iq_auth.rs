//! Login without SASL (XEP-0078): what both ends must agree on. Inside TLS only.

use sha1::{Digest as _, Sha1};
use subtle::ConstantTimeEq;

use crate::domain::secret::Secret;

/// The proof that a client knows the password: the lower-case hexadecimal SHA-1 of stream id and password (XEP-0078,
/// section 3.1; compatibility contract, section 1.5).
pub fn digest(stream_id: &str, password: &Secret) -> String {
    let hash = Sha1::new()
        .chain_update(stream_id.as_bytes())
        .chain_update(password.expose().as_bytes())
        .finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a client's digest is the right one; takes the same time wherever it differs.
pub(crate) fn accepts(given: &str, stream_id: &str, password: &Secret) -> bool {
    let right = digest(stream_id, password);
    given.to_ascii_lowercase().as_bytes().ct_eq(right.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the compatibility contract, section 1.5.
    #[test]
    fn digest_is_the_one_of_existing_clients() {
        let password = Secret::new("0123456789abcdef0123");

        let digest = digest("4jk2xq0stream", &password);

        assert_eq!(digest, "04a3b15d28f6a0277ec5b4d4a6682f14c410a908");
        assert!(accepts(&digest.to_uppercase(), "4jk2xq0stream", &password));
        assert!(!accepts(&digest, "another stream", &password));
        assert!(!accepts("", "4jk2xq0stream", &password));
    }
}
