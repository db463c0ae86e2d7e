//! The row by which a Satellite tells its clients of this dispatcher.
//!
//! Existing agents listen to no JID but those that the Satellite names when they enrol: the row has to be there before the
//! first of them comes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ServeError;
use crate::domain::dispatcher_rows::leftovers;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::ports::clock::Entropy;
use crate::ports::service::Service;
use crate::ports::store::StoreError;
use crate::store::postgres::PostgresStore;

/// How often it says that this dispatcher is there. People and monitoring look at it.
const INTERVAL: Duration = Duration::from_secs(60);
/// How soon it tries again after a failure, so that the row is right soon after the database is.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps the row.
#[derive(Clone)]
pub struct DispatcherRowKeeper {
    store: Arc<PostgresStore>,
    jid: String,
    hostname: String,
    password: Secret,
    /// What pauses are divided by; 1, but in tests.
    pause_divisor: u32,
}

impl DispatcherRowKeeper {
    /// Writes the row for the first time, and says which others may be leftovers.
    ///
    /// # Errors
    /// [`ServeError::Store`]: without it no existing agent would listen.
    pub async fn begin(
        store: Arc<PostgresStore>,
        (jid, hostname): (String, &str),
        pause_divisor: u32,
        (now, entropy): (Timestamp, &dyn Entropy),
    ) -> Result<Self, ServeError> {
        let keeper = Self {
            store,
            jid,
            hostname: hostname.to_owned(),
            password: password(entropy),
            pause_divisor,
        };
        keeper.check_in().await?;
        let rows = keeper.store.dispatchers().await?;
        for finding in leftovers(&rows, &keeper.jid, now) {
            tracing::warn!(event = "dispatcher_row_questioned", finding = %finding);
        }
        Ok(keeper)
    }

    async fn check_in(&self) -> Result<(), StoreError> {
        self.store
            .check_in_dispatcher(&self.jid, &self.hostname, &self.password)
            .await
    }

    /// Goes on for as long as it is polled; a failure is said once, and so is its end.
    async fn keep(&self) {
        let mut failing: Option<Instant> = None;
        loop {
            let pause = if failing.is_some() { RETRY } else { INTERVAL };
            tokio::time::sleep(pause / self.pause_divisor).await;
            match (self.check_in().await, failing) {
                (Ok(()), Some(since)) => {
                    let seconds = since.elapsed().as_secs();
                    tracing::warn!(event = "dispatcher_row_recovered", seconds);
                    failing = None;
                }
                (Err(error), None) => {
                    failing = Some(Instant::now());
                    tracing::warn!(event = "dispatcher_row_failed", error = %error);
                }
                (Ok(()), None) | (Err(_), Some(_)) => {}
            }
        }
    }
}

impl Service for DispatcherRowKeeper {
    fn serve(&self) -> Pin<Box<dyn Future<Output = ()>>> {
        let keeper = self.clone();
        Box::pin(async move { keeper.keep().await })
    }
}

/// 32 characters, as many as the column has.
fn password(entropy: &dyn Entropy) -> Secret {
    let mut bytes = zeroize::Zeroizing::new([0; 16]);
    entropy.fill(&mut *bytes);
    Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}
