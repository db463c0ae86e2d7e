//! Being woken by the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::connect::Connector;
use super::failure::Failure;
use crate::domain::backoff::Backoff;
use crate::ports::store::StoreError;

/// How often the connection is asked whether it is there: a server that is paused says nothing by itself.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// How long it may take to answer, and a new one to be made.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pauses between attempts.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    limit: Duration::from_secs(5),
};

/// Listens for as long as it is polled; a lost connection is made anew. What was missed meanwhile is looked for.
pub(super) async fn listen(connector: Connector, changed: Arc<Notify>, notified: Arc<AtomicBool>) {
    let wake = || {
        notified.store(true, Ordering::Release);
        changed.notify_one();
    };
    let mut failures = 0;
    loop {
        match begin(&connector).await {
            Ok(mut connection) => {
                failures = 0;
                wake();
                while hear(&mut connection).await.is_ok() {
                    wake();
                }
                // Whoever looks now meets the error, and tells it.
                wake();
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

/// Waits for a notification; those that came together count as one.
async fn hear(connection: &mut AsyncPgConnection) -> Result<(), ()> {
    loop {
        let heard = timeout(ASK_EVERY, Box::pin(connection.notifications_stream()).next()).await;
        match heard {
            Ok(Some(Ok(_))) => return Ok(()),
            Ok(Some(Err(_)) | None) => return Err(()),
            Err(_) => {
                let answered = timeout(PATIENCE, connection.batch_execute("SELECT 1")).await;
                answered.map_err(|_| ())?.map_err(|_| ())?;
            }
        }
    }
}
