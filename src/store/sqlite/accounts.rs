//! Accounts of the embedded server.

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel::{ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl};

use super::SqliteStore;
use super::failure::Failure;
use super::schema::osa_account;
use super::statement::statement;
use crate::domain::time::Timestamp;
use crate::ports::accounts::{Account, Accounts};
use crate::ports::store::StoreError;

/// The node part of a JID is what stands before its first `@`. The expression is that of an index, which serves only
/// values without a type affinity: hence the `+`.
const LINKED: &str = "EXISTS (SELECT 1 FROM rhnPushClient c \
     WHERE substr(c.jabber_id, 1, instr(c.jabber_id, '@') - 1) = +osa_account.username)";

type Row = (String, String, i64, bool);
type RowTypes = (Text, Text, BigInt, Bool);

#[async_trait]
impl Accounts for SqliteStore {
    async fn account(&self, username: &str) -> Result<Option<Account>, StoreError> {
        let username = username.to_owned();
        self.read_once(move |connection| {
            let query = format!("SELECT username, verifiers, created, {LINKED} FROM osa_account WHERE username = ?");
            let row = statement::<RowTypes>(query)
                .bind(username)
                .get_result::<Row>(connection)
                .optional()?;
            Ok(row.map(account))
        })
        .await
    }

    async fn create_account(&self, username: &str, verifiers: &str, now: Timestamp) -> Result<(), StoreError> {
        let (username, verifiers) = (username.to_owned(), verifiers.to_owned());
        self.write_durably(move |connection| {
            diesel::insert_into(osa_account::table)
                .values((
                    osa_account::username.eq(&username),
                    osa_account::verifiers.eq(&verifiers),
                    osa_account::created.eq(now.as_millis()),
                ))
                .execute(connection)
                .map_err(|error| Failure::exists(error, format!("account {username}")))?;
            Ok(())
        })
        .await
    }

    async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        self.read(|connection| {
            let query = format!("SELECT username, verifiers, created, {LINKED} FROM osa_account ORDER BY username");
            let rows = statement::<RowTypes>(query).load::<Row>(connection)?;
            Ok(rows.into_iter().map(account).collect())
        })
        .await
    }

    async fn remove_account(&self, username: &str) -> Result<bool, StoreError> {
        let username = username.to_owned();
        self.write_durably(move |connection| {
            let gone = diesel::delete(osa_account::table.find(username)).execute(connection)?;
            Ok(gone > 0)
        })
        .await
    }

    async fn expire_accounts(&self, cutoff: Timestamp) -> Result<usize, StoreError> {
        self.write(move |connection| {
            let gone = statement::<()>(format!("DELETE FROM osa_account WHERE created < ? AND NOT {LINKED}"))
                .bind(cutoff)
                .execute(connection)?;
            Ok(gone)
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
