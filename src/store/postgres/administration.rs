//! What is only ever done by an explicit command: own tables, the triggers, rows of dispatchers that are gone.

use diesel_async::AsyncPgConnection;

use super::connect::Connector;
use super::dispatchers;
use super::migrations::{self, Triggers};
use super::options::PostgresOptions;
use super::pool::{Access, Pool, Work};
use crate::domain::dispatcher_rows::DispatcherRow;
use crate::domain::time::Timestamp;
use crate::ports::clock::Clock;
use crate::ports::store::StoreError;

/// Makes the dispatcher's own tables, or brings them up to date; how many migrations were applied.
///
/// # Errors
/// [`StoreError::Newer`], and why there is no connection.
pub async fn migrate(options: &PostgresOptions) -> Result<usize, StoreError> {
    let label = options.label();
    once(options, move |connection| {
        let label = label.clone();
        Box::pin(async move { migrations::migrate(connection, &label).await })
    })
    .await
}

/// Takes the dispatcher's own tables away, with all that is in them, and the triggers; whether there were tables.
///
/// # Errors
/// Why there is no connection, or no right to do so.
pub async fn remove(options: &PostgresOptions) -> Result<bool, StoreError> {
    once(options, |connection| {
        Box::pin(async move {
            migrations::remove_notify(connection).await?;
            migrations::revert(connection).await
        })
    })
    .await
}

/// Puts the triggers that wake a dispatcher on the Satellite's tables; needs their owner.
///
/// # Errors
/// Why there is no connection, or no right to do so.
pub async fn install_notify(options: &PostgresOptions) -> Result<(), StoreError> {
    once(options, |connection| Box::pin(migrations::install_notify(connection))).await
}

/// Takes the triggers away; whether or not they were there.
///
/// # Errors
/// Why there is no connection, or no right to do so.
pub async fn remove_notify(options: &PostgresOptions) -> Result<(), StoreError> {
    once(options, |connection| Box::pin(migrations::remove_notify(connection))).await
}

/// All dispatchers that a Satellite tells its clients of, and the time on the clock that their check-ins were taken from.
///
/// # Errors
/// Why there is no connection, or no right to do so.
pub async fn dispatchers(options: &PostgresOptions) -> Result<(Vec<DispatcherRow>, Timestamp), StoreError> {
    let pool = Pool::start(Connector::new(options)?, 1, options.deadline)?;
    let rows = pool.run(Access::Read, |connection| {
        Box::pin(dispatchers::dispatchers(connection))
    });
    Ok((rows.await?, pool.connector().clock.now()))
}

/// Removes one of them, by its JID, unless it has checked in since it was read.
///
/// # Errors
/// Why there is no connection, or no right to do so.
pub async fn remove_dispatcher(options: &PostgresOptions, row: &DispatcherRow) -> Result<bool, StoreError> {
    let row = row.clone();
    once(options, move |connection| {
        let row = row.clone();
        Box::pin(async move { dispatchers::remove(connection, &row).await })
    })
    .await
}

/// Which triggers are there.
///
/// # Errors
/// Why there is no connection.
pub async fn triggers(options: &PostgresOptions) -> Result<Triggers, StoreError> {
    once(options, |connection| Box::pin(migrations::triggers(connection))).await
}

async fn once<T: Send + 'static>(
    options: &PostgresOptions,
    use_case: impl for<'c> Fn(&'c mut AsyncPgConnection) -> Work<'c, T> + Send + Sync + 'static,
) -> Result<T, StoreError> {
    let pool = Pool::start(Connector::new(options)?, 1, options.deadline)?;
    let result: Result<T, StoreError> = pool.run(Access::Write, use_case).await;
    result
}
