//! Accounts of the embedded server.

use async_trait::async_trait;
use diesel::OptionalExtension;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel_async::RunQueryDsl;

use super::PostgresStore;
use super::failure::Failure;
use super::pool::Access;
use super::statement::statement;
use crate::domain::time::Timestamp;
use crate::ports::accounts::{Account, Accounts};
use crate::ports::store::StoreError;

/// For one account: by the JIDs seen last, which are indexed; `rhnPushClient` has no index on its JIDs.
const IS_LINKED: &str = "EXISTS (SELECT 1 FROM osa_push p JOIN rhnPushClient c ON c.server_id = p.server_id::numeric \
     AND c.jabber_id = p.jabber_id WHERE split_part(p.jabber_id, '@', 1) = osa_account.username)";

/// For all accounts at once.
const LINKED: &str = "osa_account.username IN \
     (SELECT split_part(c.jabber_id, '@', 1) FROM rhnPushClient c WHERE c.jabber_id IS NOT NULL)";

type Row = (String, String, i64, bool);
type RowTypes = (Text, Text, BigInt, Bool);

#[async_trait]
impl Accounts for PostgresStore {
    async fn account(&self, username: &str) -> Result<Option<Account>, StoreError> {
        let username = username.to_owned();
        self.run(Access::ReadOne, move |connection| {
            let username = username.clone();
            Box::pin(async move {
                let row = statement::<RowTypes>(format!(
                    "SELECT username, verifiers, created, {IS_LINKED} FROM osa_account WHERE username = ?"
                ))
                .bind(username)
                .get_result::<Row>(connection)
                .await
                .optional()?;
                Ok(row.map(account))
            })
        })
        .await
    }

    async fn create_account(&self, username: &str, verifiers: &str, now: Timestamp) -> Result<(), StoreError> {
        let (username, verifiers) = (username.to_owned(), verifiers.to_owned());
        self.run(Access::Write, move |connection| {
            let (username, verifiers) = (username.clone(), verifiers.clone());
            Box::pin(async move {
                statement::<()>("INSERT INTO osa_account (username, verifiers, created) VALUES (?, ?, ?)")
                    .bind(username.as_str())
                    .bind(verifiers)
                    .bind(now)
                    .execute(connection)
                    .await
                    .map_err(|error| Failure::exists(error, format!("account {username}")))?;
                Ok(())
            })
        })
        .await
    }

    async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        self.run(Access::Read, |connection| {
            Box::pin(async move {
                let rows = statement::<RowTypes>(format!(
                    "SELECT username, verifiers, created, {LINKED} FROM osa_account ORDER BY username COLLATE \"C\""
                ))
                .load::<Row>(connection)
                .await?;
                Ok(rows.into_iter().map(account).collect())
            })
        })
        .await
    }

    async fn remove_account(&self, username: &str) -> Result<bool, StoreError> {
        let username = username.to_owned();
        self.run(Access::Write, move |connection| {
            let username = username.clone();
            Box::pin(async move {
                let gone = statement::<()>("DELETE FROM osa_account WHERE username = ?")
                    .bind(username)
                    .execute(connection)
                    .await?;
                Ok(gone > 0)
            })
        })
        .await
    }

    async fn expire_accounts(&self, cutoff: Timestamp) -> Result<usize, StoreError> {
        self.run(Access::Write, move |connection| {
            Box::pin(async move {
                let gone = statement::<()>(format!("DELETE FROM osa_account WHERE created < ? AND NOT {LINKED}"))
                    .bind(cutoff)
                    .execute(connection)
                    .await?;
                Ok(gone)
            })
        })
        .await
    }
}

fn account((username, verifiers, created, linked): Row) -> Account {
    Account {
        username,
        verifiers,
        created: Timestamp::from_millis(created),
        linked,
    }
}
