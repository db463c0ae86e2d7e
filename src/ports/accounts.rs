//! Accounts of the embedded XMPP server.

use async_trait::async_trait;

use crate::domain::time::Timestamp;
use crate::ports::store::StoreError;

/// An account as the embedded server stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The node part of its JID.
    pub username: String,
    /// Password verifiers in the text form of `protocol::sasl`; never the password.
    pub verifiers: String,
    /// When it was registered.
    pub created: Timestamp,
    /// Whether a system's `jabber_id` names it; an account without a link expires.
    pub linked: bool,
}

/// Use cases of the embedded server and of `accounts list | reset`.
#[async_trait]
pub trait Accounts: Send + Sync + 'static {
    /// The account of this name.
    async fn account(&self, username: &str) -> Result<Option<Account>, StoreError>;

    /// Makes an account.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if the name is taken.
    async fn create_account(&self, username: &str, verifiers: &str, now: Timestamp) -> Result<(), StoreError>;

    /// All accounts, by name.
    async fn accounts(&self) -> Result<Vec<Account>, StoreError>;

    /// Removes an account, so that its agent registers anew; whether there was one.
    async fn remove_account(&self, username: &str) -> Result<bool, StoreError>;

    /// Removes accounts without a link that were made before `cutoff`; how many.
    async fn expire_accounts(&self, cutoff: Timestamp) -> Result<usize, StoreError>;
}
