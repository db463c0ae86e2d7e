//! Removes what nobody needs any more.

use std::sync::Arc;
use std::time::Duration;

use crate::ports::clock::Clock;
use crate::ports::store::Store;

/// How often; what is removed is hours to weeks old.
const INTERVAL: Duration = Duration::from_secs(600);

/// How long what is kept.
#[derive(Clone)]
pub struct Housekeeping {
    /// The database.
    pub store: Arc<dyn Store>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Accounts without a system.
    pub accounts: Duration,
    /// Ended requests and runs.
    pub history: Duration,
}

impl Housekeeping {
    /// Goes on for as long as it is polled.
    pub async fn keep(&self) {
        loop {
            self.clean_up().await;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn clean_up(&self) {
        let now = self.clock.now();
        match self.store.expire_accounts(now - self.accounts).await {
            Ok(0) => {}
            Ok(accounts) => tracing::info!(event = "accounts_expired", accounts),
            Err(error) => tracing::warn!(event = "housekeeping_failed", error = %error),
        }
        match self.store.prune(now - self.history).await {
            Ok(0) => {}
            Ok(requests) => tracing::info!(event = "history_pruned", requests),
            Err(error) => tracing::warn!(event = "housekeeping_failed", error = %error),
        }
    }
}
