//! The dispatcher's account on a site's own XMPP server, and whom it knows there.
//!
//! Source: compatibility contract, sections 3.1 and 3.4 (D1 to D3).

use async_trait::async_trait;
use diesel::OptionalExtension;
use diesel::sql_types::{Binary, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::PostgresStore;
use super::dispatchers::insert;
use super::failure::Failure;
use super::pool::Access;
use super::statement::{any_text, statement};
use crate::domain::dispatcher_account::{DispatcherAccount, in_force, username};
use crate::domain::dispatcher_rows::{NODE, RESOURCE};
use crate::domain::secret::Secret;
use crate::ports::store::StoreError;
use crate::ports::upstream::UpstreamAccounts;

/// Names of one server read at most: each is one that could not be had again.
const NAMES_MAX: u32 = 100;
/// Clients read at most: ten times as many systems as one Satellite serves. Units: rows of some 60 bytes.
const CLIENTS_MAX: u32 = 500_000;

/// Which server, what to write where nothing is, and how.
#[derive(Clone)]
struct Wanted {
    hostname: String,
    fresh: DispatcherAccount,
    has_port: bool,
    /// Whether the dispatcher says that it is there.
    checks_in: bool,
}

#[async_trait]
impl UpstreamAccounts for PostgresStore {
    async fn dispatcher_account(
        &self,
        hostname: &str,
        fresh: &DispatcherAccount,
    ) -> Result<DispatcherAccount, StoreError> {
        let wanted = self.wanted(hostname, fresh);
        self.run(Access::Write, move |connection| {
            let wanted = wanted.clone();
            Box::pin(async move { account(connection, &wanted).await })
        })
        .await
    }

    async fn check_in_dispatcher_account(
        &self,
        hostname: &str,
        fresh: &DispatcherAccount,
    ) -> Result<DispatcherAccount, StoreError> {
        let wanted = Wanted {
            checks_in: true,
            ..self.wanted(hostname, fresh)
        };
        self.run(Access::Write, move |connection| {
            let wanted = wanted.clone();
            Box::pin(async move { account(connection, &wanted).await })
        })
        .await
    }

    async fn rotate_dispatcher_account(
        &self,
        hostname: &str,
        current: &DispatcherAccount,
        next: &DispatcherAccount,
    ) -> Result<DispatcherAccount, StoreError> {
        let (wanted, current) = (self.wanted(hostname, next), current.clone());
        self.run(Access::Write, move |connection| {
            let (wanted, current) = (wanted.clone(), current.clone());
            Box::pin(async move { rotate(connection, &wanted, &current).await })
        })
        .await
    }

    async fn known_jids(&self) -> Result<Vec<String>, StoreError> {
        self.run(Access::Read, |connection| {
            Box::pin(async move {
                let rows = statement::<(Binary,)>(format!(
                    "SELECT {} FROM rhnPushClient WHERE jabber_id IS NOT NULL LIMIT {CLIENTS_MAX}",
                    any_text("jabber_id")
                ))
                .load::<(Vec<u8>,)>(connection)
                .await?;
                // What is no text is no JID.
                Ok(rows
                    .into_iter()
                    .filter_map(|(jid,)| String::from_utf8(jid).ok())
                    .collect())
            })
        })
        .await
    }
}

impl PostgresStore {
    fn wanted(&self, hostname: &str, fresh: &DispatcherAccount) -> Wanted {
        Wanted {
            hostname: hostname.to_owned(),
            fresh: fresh.clone(),
            has_port: self.catalog.has_dispatcher_port,
            checks_in: false,
        }
    }
}

/// Reads, then writes what is missing; another node that writes in between makes this begin anew.
async fn account(connection: &mut AsyncPgConnection, wanted: &Wanted) -> Result<DispatcherAccount, Failure> {
    let Some((name, password)) = found(connection, &wanted.hostname).await? else {
        let jid = wanted.fresh.jid(&wanted.hostname);
        let account = DispatcherAccount {
            password: written_otherwise(connection, &jid)
                .await?
                .unwrap_or(wanted.fresh.password.clone()),
            ..wanted.fresh.clone()
        };
        insert(connection, (&jid, &wanted.hostname, &account.password), wanted.has_port).await?;
        return Ok(account);
    };
    match password {
        Some(password) if !wanted.checks_in => Ok(DispatcherAccount {
            username: name,
            password,
        }),
        Some(_) | None => completed(connection, wanted, name).await,
    }
}

/// The name in force on this server, and its password if it has one.
async fn found(
    connection: &mut AsyncPgConnection,
    hostname: &str,
) -> Result<Option<(String, Option<Secret>)>, Failure> {
    let tail = format!("@{hostname}/{RESOURCE}");
    let rows: Vec<(String, Option<String>)> = statement::<(Text, Nullable<Text>)>(format!(
        "SELECT jabber_id, password FROM rhnPushDispatcher \
         WHERE jabber_id LIKE '{NODE}%' AND right(jabber_id, {}) = ? \
         ORDER BY last_checkin DESC, id DESC LIMIT {NAMES_MAX}",
        tail.chars().count()
    ))
    .bind(tail)
    .load(connection)
    .await?;
    let ours = rows.into_iter().filter_map(|(jid, password)| {
        let password = password.filter(|password| !password.is_empty()).map(Secret::new);
        Some((username(&jid, hostname)?.to_owned(), password))
    });
    Ok(in_force(ours.collect(), |(name, _)| name))
}

/// The password of a row with capitals in its JID: servers take it for the same, clients for another.
async fn written_otherwise(connection: &mut AsyncPgConnection, jid: &str) -> Result<Option<Secret>, Failure> {
    let password = statement::<(Text,)>(
        "SELECT password FROM rhnPushDispatcher WHERE lower(jabber_id) = lower(?) AND password <> '' \
         ORDER BY last_checkin DESC, id DESC LIMIT 1",
    )
    .bind(jid)
    .get_result::<(String,)>(connection)
    .await
    .optional()?;
    Ok(password.map(|(password,)| Secret::new(password)))
}

/// Gives the row a password if it has none, and stamps it if that is wanted. Of two nodes that do so at once, the second finds
/// the password of the first.
async fn completed(
    connection: &mut AsyncPgConnection,
    wanted: &Wanted,
    name: String,
) -> Result<DispatcherAccount, Failure> {
    let stamp = match wanted.checks_in {
        true => "last_checkin = current_timestamp, ",
        false => "",
    };
    let account = DispatcherAccount {
        username: name,
        password: wanted.fresh.password.clone(),
    };
    let password = statement::<(Text,)>(format!(
        "UPDATE rhnPushDispatcher SET {stamp}hostname = ?, password = coalesce(nullif(password, ''), ?) \
         WHERE jabber_id = ? RETURNING password"
    ))
    .bind(wanted.hostname.as_str())
    .bind(account.password.expose())
    .bind(account.jid(&wanted.hostname))
    .get_result::<(String,)>(connection)
    .await
    .optional()?;
    // It was there a moment ago: another node has put another name into its place.
    let (password,) = password.ok_or_else(Failure::overtaken)?;
    Ok(DispatcherAccount {
        password: Secret::new(password),
        ..account
    })
}

async fn rotate(
    connection: &mut AsyncPgConnection,
    wanted: &Wanted,
    current: &DispatcherAccount,
) -> Result<DispatcherAccount, Failure> {
    let next = &wanted.fresh;
    let replaced = statement::<()>(
        "UPDATE rhnPushDispatcher SET jabber_id = ?, password = ? WHERE jabber_id = ? AND password = ?",
    )
    .bind(next.jid(&wanted.hostname))
    .bind(next.password.expose())
    .bind(current.jid(&wanted.hostname))
    .bind(current.password.expose())
    .execute(connection)
    .await?;
    match replaced {
        0 => account(connection, wanted).await,
        _ => Ok(next.clone()),
    }
}
