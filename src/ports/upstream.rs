//! What the dispatcher needs of the Satellite's database to work over a site's own XMPP server.

use async_trait::async_trait;

use crate::domain::dispatcher_account::DispatcherAccount;
use crate::ports::store::StoreError;

/// Use cases of the dispatcher as a client of another XMPP server. The account is the row of `rhnPushDispatcher` that the
/// Satellite tells its clients, so there is one for all dispatchers of a host name. `hostname` is the server's domain in lower
/// case. Source: compatibility contract, sections 3.1 and 3.4 (D1 to D3).
#[async_trait]
pub trait UpstreamAccounts: Send + Sync + 'static {
    /// The account in force on this server. Where no row has one, `fresh` is written; a row without a password is given that
    /// of `fresh`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn dispatcher_account(
        &self,
        hostname: &str,
        fresh: &DispatcherAccount,
    ) -> Result<DispatcherAccount, StoreError>;

    /// The same, and says that its dispatcher is there.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn check_in_dispatcher_account(
        &self,
        hostname: &str,
        fresh: &DispatcherAccount,
    ) -> Result<DispatcherAccount, StoreError>;

    /// Puts `next` into the place of `current`, name and password at once; the account in force then. That is another one if
    /// another dispatcher was quicker.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn rotate_dispatcher_account(
        &self,
        hostname: &str,
        current: &DispatcherAccount,
        next: &DispatcherAccount,
    ) -> Result<DispatcherAccount, StoreError>;

    /// The JIDs of all clients as they reported them, in no order, and not each once: full ones, or bare ones.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn known_jids(&self) -> Result<Vec<String>, StoreError>;
}
