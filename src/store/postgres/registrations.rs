//! Registrations are answered by the Satellite.

use async_trait::async_trait;

use super::PostgresStore;
use crate::domain::ids::{ClientName, SystemId};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::ports::registrations::Registrations;
use crate::ports::store::StoreError;

const REGISTRATION: StoreError = StoreError::Satellites("the registration of systems");

/// Every use case is refused: two programs giving out names and keys would void each other's.
#[async_trait]
impl Registrations for PostgresStore {
    async fn system_secret(&self, _: SystemId) -> Result<Option<Secret>, StoreError> {
        Err(REGISTRATION)
    }

    async fn check_in(&self, _: SystemId, _: Timestamp) -> Result<(), StoreError> {
        Err(REGISTRATION)
    }

    async fn register_osad(&self, _: SystemId, _: &ClientName, _: &Secret, _: Timestamp) -> Result<(), StoreError> {
        Err(REGISTRATION)
    }

    async fn register_osad_jid(&self, _: SystemId, _: &str, _: Timestamp) -> Result<(), StoreError> {
        Err(REGISTRATION)
    }
}
