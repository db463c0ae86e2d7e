//! The row by which a Satellite tells its clients of this dispatcher.
//!
//! Existing agents listen to no JID but those that the Satellite names when they enrol: the row has to be there before the
//! first of them comes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ServeError;
use crate::domain::dispatcher_account::{DispatcherAccount, PASSWORD_ENTROPY};
use crate::domain::dispatcher_rows::leftovers;
use crate::domain::time::Timestamp;
use crate::ports::clock::Entropy;
use crate::ports::service::Service;
use crate::ports::store::StoreError;
use crate::ports::upstream::UpstreamAccounts;
use crate::settings::upstream::Transport;
use crate::store::postgres::PostgresStore;

/// How often it says that this dispatcher is there. People and monitoring look at it.
const INTERVAL: Duration = Duration::from_secs(60);
/// How soon it tries again after a failure, so that the row is right soon after the database is.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps the row.
#[derive(Clone)]
pub struct DispatcherRowKeeper {
    store: Arc<PostgresStore>,
    /// That of the server, or the component's domain.
    hostname: String,
    transport: Transport,
    /// Written where there is no row, or none with a password.
    fresh: DispatcherAccount,
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
        (transport, hostname): (Transport, &str),
        pause_divisor: u32,
        (now, entropy): (Timestamp, &dyn Entropy),
    ) -> Result<Self, ServeError> {
        let keeper = Self {
            store,
            hostname: hostname.to_owned(),
            transport,
            fresh: fresh_account(entropy),
            pause_divisor,
        };
        let jid = keeper.check_in().await?;
        let rows = keeper.store.dispatchers().await?;
        for finding in leftovers(&rows, &jid, now) {
            tracing::warn!(event = "dispatcher_row_questioned", finding = %finding);
        }
        Ok(keeper)
    }

    /// The JID that it checked in. Over another XMPP server that is the account's, which has another name if the usual one
    /// could not be had; the embedded server has no other.
    async fn check_in(&self) -> Result<String, StoreError> {
        let Self { hostname, fresh, .. } = self;
        match self.transport {
            Transport::Embedded => {
                let jid = fresh.jid(hostname);
                let checked_in = self.store.check_in_dispatcher(&jid, hostname, &fresh.password);
                checked_in.await.map(|()| jid)
            }
            Transport::Client | Transport::Component => {
                let account = self.store.check_in_dispatcher_account(hostname, fresh).await?;
                Ok(account.jid(hostname))
            }
        }
    }

    /// Goes on for as long as it is polled; a failure is said once, and so is its end.
    async fn keep(&self) {
        let mut failing: Option<Instant> = None;
        loop {
            let pause = if failing.is_some() { RETRY } else { INTERVAL };
            tokio::time::sleep(pause / self.pause_divisor).await;
            match (self.check_in().await, failing) {
                (Ok(_), Some(since)) => {
                    let seconds = since.elapsed().as_secs();
                    tracing::warn!(event = "dispatcher_row_recovered", seconds);
                    failing = None;
                }
                (Err(error), None) => {
                    failing = Some(Instant::now());
                    tracing::warn!(event = "dispatcher_row_failed", error = %error);
                }
                (Ok(_), None) | (Err(_), Some(_)) => {}
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

fn fresh_account(entropy: &dyn Entropy) -> DispatcherAccount {
    let mut bytes = zeroize::Zeroizing::new([0; PASSWORD_ENTROPY]);
    entropy.fill(&mut *bytes);
    DispatcherAccount::first(*bytes)
}
