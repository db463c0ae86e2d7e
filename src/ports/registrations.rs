//! What the registration endpoint reads and writes: compatibility contract, sections 2.3 to 2.6.

use async_trait::async_trait;

use crate::domain::ids::{ClientName, SystemId};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::ports::store::StoreError;

/// Use cases of `registration.*`.
#[async_trait]
pub trait Registrations: Send + Sync + 'static {
    /// The secret that a system's certificate was made with (`rhnServer.secret`).
    async fn system_secret(&self, system: SystemId) -> Result<Option<Secret>, StoreError>;

    /// Records a check-in (`rhnServerInfo`).
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such system; so do the following.
    async fn check_in(&self, system: SystemId, now: Timestamp) -> Result<(), StoreError>;

    /// Gives the system's `rhnPushClient` row this name and key, makes it offline and clears its ping fields; inserts
    /// the row if there is none.
    async fn register_osad(
        &self,
        system: SystemId,
        name: &ClientName,
        shared_key: &Secret,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Notes that this system claims the JID. Others that claim it keep their claims: which of them is alive shows when
    /// it signs ([`PushStore::clients_by_jid`](crate::ports::push::PushStore::clients_by_jid)).
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the system has not called `register_osad`.
    async fn register_osad_jid(&self, system: SystemId, jid: &str, now: Timestamp) -> Result<(), StoreError>;
}

/// Who must know that a registration changed.
pub trait RegistrationObserver: Send + Sync + 'static {
    /// The system's name, key or JID changed. A hint: whoever misses it finds out later.
    fn registration_changed(&self, system: SystemId);
}
