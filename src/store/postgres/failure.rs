//! What went wrong inside a use case, and how it is told.

use std::error::Error as _;
use std::io;

use diesel::result::{DatabaseErrorKind, Error};

use crate::ports::store::{DatabaseLabel, StoreError};

/// Why a use case was rolled back.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database refused.
    Database(Error),
    /// What the caller asked for cannot be done; an answer, not a fault.
    Refused(StoreError),
    /// A stored value has a form this program never wrote.
    Unreadable,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl Failure {
    /// What a caller looked for is not there.
    pub(super) fn not_found(what: impl Into<String>) -> Self {
        Self::Refused(StoreError::NotFound { what: what.into() })
    }

    /// Turns a broken uniqueness rule into "exists already".
    pub(super) fn exists(error: Error, what: impl Into<String>) -> Self {
        match error {
            Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => {
                Self::Refused(StoreError::Exists { what: what.into() })
            }
            other => Self::Database(other),
        }
    }

    /// Another transaction got in between, which the database had no reason to refuse.
    pub(super) fn overtaken() -> Self {
        let text = "another dispatcher changed the same row".to_owned();
        Self::Database(Error::DatabaseError(
            DatabaseErrorKind::SerializationFailure,
            Box::new(text),
        ))
    }

    /// Whether another transaction got in between, so that the same one may succeed when repeated.
    pub(super) fn is_collision(&self) -> bool {
        matches!(
            self,
            Self::Database(Error::DatabaseError(
                DatabaseErrorKind::UniqueViolation | DatabaseErrorKind::SerializationFailure,
                _
            ))
        )
    }

    /// Whether the connection is gone.
    pub(super) fn is_disconnect(&self) -> bool {
        match self {
            Self::Database(Error::DatabaseError(kind, information)) => {
                matches!(
                    kind,
                    DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection
                ) || says(information.message(), ENDING)
            }
            Self::Database(_) | Self::Refused(_) | Self::Unreadable => false,
        }
    }

    /// Whether a statement was prepared on this connection before a column that it reads got another type, as an upgrade
    /// of the Satellite's schema may do; PostgreSQL then refuses it for as long as the connection lives.
    pub(super) fn is_of_old_columns(&self) -> bool {
        matches!(self, Self::Database(Error::DatabaseError(_, information))
            if says(information.message(), &["cached plan must not change result type"]))
    }

    /// Whether the server gave a statement up because it took too long.
    pub(super) fn is_cancelled(&self) -> bool {
        matches!(self, Self::Database(Error::DatabaseError(_, information))
            if says(information.message(), &["statement timeout", "user request"]))
    }

    /// The error of the port.
    pub(super) fn into_store_error(self, database: &DatabaseLabel) -> StoreError {
        match self {
            Self::Refused(error) => error,
            Self::Unreadable => StoreError::Damaged(database.clone()),
            Self::Database(Error::DatabaseError(DatabaseErrorKind::ReadOnlyTransaction, _)) => {
                StoreError::ReadOnly(database.clone())
            }
            Self::Database(Error::DatabaseError(
                DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection,
                information,
            )) => unreachable(database, information.message()),
            Self::Database(Error::DatabaseError(_, information)) => by_message(information.message(), database),
            Self::Database(error) => by_message(&error.to_string(), database),
        }
    }
}

/// What a server says that ends a connection or takes none.
const ENDING: &[&str] = &["terminating connection", "the database system is", "connection closed"];

fn says(message: &str, texts: &[&str]) -> bool {
    texts.iter().any(|text| message.contains(text))
}

fn unreachable(database: &DatabaseLabel, reason: &str) -> StoreError {
    StoreError::Unreachable {
        database: database.clone(),
        reason: reason.replace('\n', " "),
    }
}

/// Nobody else prepares on a connection of ours, or takes back what is prepared.
fn is_pooled(message: &str) -> bool {
    says(message, &["prepared statement \""]) && says(message, &["already exists", "does not exist"])
}

fn pooled(database: &DatabaseLabel, reason: &str) -> StoreError {
    StoreError::Pooled {
        database: database.clone(),
        reason: reason.replace('\n', " "),
    }
}

/// Tells PostgreSQL's errors apart by their texts, as diesel-async does not pass their SQLSTATE on. A server that speaks
/// another language gives [`StoreError::Other`] with its words.
fn by_message(message: &str, database: &DatabaseLabel) -> StoreError {
    if says(message, ENDING) {
        return unreachable(database, message);
    }
    if says(message, &["lock timeout", "deadlock detected"]) {
        return StoreError::Locked(database.clone());
    }
    if says(message, &["relation \"osa_"]) && says(message, &["does not exist"]) {
        return StoreError::Unmigrated(database.clone());
    }
    if is_pooled(message) {
        return pooled(database, message);
    }
    if says(message, &["No space left on device"]) {
        return StoreError::Full(database.clone());
    }
    if says(message, &["permission denied", "must be owner of"]) {
        return StoreError::Denied {
            database: database.clone(),
            reason: message.replace('\n', " "),
        };
    }
    StoreError::Other {
        database: database.clone(),
        message: message.replace('\n', " "),
    }
}

/// Why a connection that came about could not be set up.
pub(super) fn of_first_words(reason: &str, database: &DatabaseLabel) -> StoreError {
    match is_pooled(reason) {
        true => pooled(database, reason),
        false => unreachable(database, reason),
    }
}

/// Why no connection came about.
pub(super) fn of_connecting(error: &tokio_postgres::Error, database: &DatabaseLabel) -> StoreError {
    let cause = error.source().map(ToString::to_string);
    let reason = cause.unwrap_or_else(|| error.to_string()).replace('\n', " ");
    match error.code().map(tokio_postgres::error::SqlState::code) {
        // Invalid authorization, password, catalog name, insufficient privilege.
        Some("28000" | "28P01" | "3D000" | "42501") => StoreError::Denied {
            database: database.clone(),
            reason,
        },
        Some(_) => unreachable(database, &reason),
        None if is_of_another_service(error) => {
            unreachable(database, &format!("what answers there is not PostgreSQL: {reason}"))
        }
        None if error.to_string().contains("TLS") => StoreError::Unsafe {
            database: database.clone(),
            reason,
        },
        None if reason == "password missing" => StoreError::Denied {
            database: database.clone(),
            reason: "it asks for a password, and db_password (postgres.password) is not set".to_owned(),
        },
        None => unreachable(database, &reason),
    }
}

/// Whether no PostgreSQL would have answered so: not in its language, or not with TLS after it said that TLS is to come.
fn is_of_another_service(error: &tokio_postgres::Error) -> bool {
    let said = error.to_string();
    if said.starts_with("unexpected message") || said.starts_with("error parsing response") {
        return true;
    }
    let Some(cause) = error.source().and_then(|cause| cause.downcast_ref::<io::Error>()) else {
        return false;
    };
    match cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => matches!(tls, rustls::Error::InvalidMessage(_)),
        // Of the codec: the connection ended within a message, or a message has an impossible length.
        None => {
            let is_garbled = matches!(cause.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData);
            said.starts_with("error communicating") && (is_garbled || cause.to_string() == "bytes remaining on stream")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooler_of_transactions_is_named_from_the_first_words_on() {
        let database = DatabaseLabel::new("db.example:6432/rhnschema");
        for (reason, expected) in [
            (
                "prepared statement \"s0\" already exists",
                "let the pooler pool sessions",
            ),
            ("connection closed", "cannot be reached"),
        ] {
            let told = of_first_words(reason, &database).to_string();

            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn each_message_has_its_error() {
        let database = DatabaseLabel::new("db.example:5432/rhnschema");
        for (message, expected) in [
            (
                "terminating connection due to administrator command",
                "cannot be reached",
            ),
            ("the database system is shutting down", "cannot be reached"),
            ("canceling statement due to lock timeout", "is locked"),
            (
                "could not extend file \"base/1\": No space left on device",
                "no space left",
            ),
            ("permission denied for table rhnserver", "refuses its user"),
            ("must be owner of relation rhnserveraction", "refuses its user"),
            (
                "prepared statement \"s2\" already exists",
                "let the pooler pool sessions",
            ),
            (
                "prepared statement \"s2\" does not exist",
                "let the pooler pool sessions",
            ),
            ("column \"x\" does not exist", "column \"x\" does not exist"),
            ("relation \"osa_push\" does not exist", "run osa-dispatcher migrate"),
            (
                "relation \"rhnserver\" does not exist",
                "relation \"rhnserver\" does not exist",
            ),
        ] {
            let told = by_message(message, &database).to_string();

            assert!(told.contains(expected), "{message}: {told}");
            assert!(
                told.contains("db.example:5432/rhnschema") && !told.contains('\n'),
                "{told}"
            );
        }
    }
}
