//! Being woken by the database.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::clock::DatabaseClock;
use super::connect::Connector;
use super::failure::Failure;
use super::hints::Hints;
use crate::domain::backoff::Backoff;
use crate::ports::store::StoreError;

/// How often the connection is asked for the time: a server that is paused says nothing by itself.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// How long it may take to answer, and a new one to be made.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pauses between attempts.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    limit: Duration::from_secs(5),
};

/// Where what was heard is kept until somebody looks, and who is woken for it.
#[derive(Clone, Default)]
pub(super) struct Ear {
    pub(super) changed: Arc<Notify>,
    hints: Arc<Mutex<Hints>>,
}

impl Ear {
    /// What was heard since the last time.
    pub(super) fn take_hints(&self) -> Hints {
        self.tell(std::mem::take)
    }

    fn hear(&self, change: impl FnOnce(&mut Hints)) {
        self.tell(change);
        self.changed.notify_one();
    }

    fn tell<T>(&self, change: impl FnOnce(&mut Hints) -> T) -> T {
        change(&mut self.hints.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Listens for as long as it is polled; a lost connection is made anew. What was missed meanwhile is looked for.
///
/// It is never in a transaction, and takes what comes at once: a listener that does neither keeps PostgreSQL's queue of
/// notifications from being emptied, and a full one fails the transactions of all who notify.
pub(super) async fn listen(connector: Connector, ear: Ear) {
    let mut failures = 0;
    loop {
        match begin(&connector).await {
            Ok(mut connection) => {
                failures = 0;
                let mut ask_at = Instant::now() + ASK_EVERY;
                ear.hear(Hints::miss);
                while let Ok(payload) = hear(&mut connection, &connector.clock, &mut ask_at).await {
                    ear.hear(|hints| hints.hear(&payload));
                }
                // Whoever looks now meets the error, and tells it.
                ear.hear(Hints::miss);
            }
            Err(_) => failures += 1,
        }
        sleep(BACKOFF.after(failures.max(1))).await;
    }
}

async fn begin(connector: &Connector) -> Result<AsyncPgConnection, StoreError> {
    let begin = async {
        let mut connection = connector.connect().await?;
        let listening = connection.batch_execute("LISTEN osa_changed").await;
        listening.map_err(|error| Failure::from(error).into_store_error(&connector.label))?;
        Ok(connection)
    };
    let timed_out = StoreError::Stalled {
        database: connector.label.clone(),
        within: PATIENCE,
    };
    timeout(PATIENCE, begin).await.unwrap_or(Err(timed_out))
}

/// Waits for a notification; its payload.
async fn hear(connection: &mut AsyncPgConnection, clock: &DatabaseClock, ask_at: &mut Instant) -> Result<String, ()> {
    loop {
        let heard = timeout_at(*ask_at, Box::pin(connection.notifications_stream()).next()).await;
        match heard {
            Ok(Some(Ok(notification))) => return Ok(notification.payload),
            Ok(Some(Err(_)) | None) => return Err(()),
            Err(_) => {
                let answered = timeout(PATIENCE, clock.read(connection)).await;
                answered.map_err(|_| ())?.map_err(|_| ())?;
                *ask_at = Instant::now() + ASK_EVERY;
            }
        }
    }
}
