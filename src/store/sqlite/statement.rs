//! Statements written in SQL, prepared once per connection.
//!
//! `diesel::sql_query` is never kept prepared, and `eq_any` is not on SQLite; a push runs some twenty statements, so
//! parsing them each time would be most of its cost. Lists are passed as one JSON array and unfolded by `json_each`,
//! so that a statement's text does not depend on its arguments.

use std::borrow::Cow;
use std::marker::PhantomData;

use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};
use diesel::{QueryResult, RunQueryDsl};

use crate::domain::ids::{ActionId, Incarnation, RequestNumber, RunId, SystemId};
use crate::domain::time::Timestamp;

/// An argument of a statement.
pub(super) enum Bind {
    Integer(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

/// A statement whose rows have the SQL types `Row`; each `?` in its text takes the next argument.
pub(super) struct Statement<Row = ()> {
    text: Cow<'static, str>,
    binds: Vec<Bind>,
    row: PhantomData<Row>,
}

/// Starts a statement; its text must not hold a `?` other than as a place for an argument.
pub(super) fn statement<Row>(text: impl Into<Cow<'static, str>>) -> Statement<Row> {
    Statement {
        text: text.into(),
        binds: Vec::new(),
        row: PhantomData,
    }
}

impl<Row> Statement<Row> {
    /// Gives the next `?` its value.
    pub(super) fn bind(mut self, value: impl Into<Bind>) -> Self {
        self.binds.push(value.into());
        self
    }
}

/// The ids as one argument for `json_each`.
pub(super) fn json_list(ids: impl IntoIterator<Item = i64>) -> String {
    let mut list = String::from("[");
    for id in ids {
        if list.len() > 1 {
            list.push(',');
        }
        list.push_str(&id.to_string());
    }
    list.push(']');
    list
}

impl<Row> QueryFragment<Sqlite> for Statement<Row> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        let mut binds = self.binds.iter();
        for (index, piece) in self.text.split('?').enumerate() {
            if index > 0
                && let Some(bind) = binds.next()
            {
                match bind {
                    Bind::Integer(value) => out.push_bind_param::<Nullable<BigInt>, _>(value)?,
                    Bind::Text(value) => out.push_bind_param::<Nullable<Text>, _>(value)?,
                    Bind::Bytes(value) => out.push_bind_param::<Nullable<Binary>, _>(value)?,
                }
            }
            out.push_sql(piece);
        }
        Ok(())
    }
}

/// No type stands for one text, so the text itself is the key of the prepared statement.
impl<Row> QueryId for Statement<Row> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Row> Query for Statement<Row> {
    type SqlType = Row;
}

impl<Row> RunQueryDsl<SqliteConnection> for Statement<Row> {}

impl From<i64> for Bind {
    fn from(value: i64) -> Self {
        Self::Integer(Some(value))
    }
}

impl From<Option<i64>> for Bind {
    fn from(value: Option<i64>) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Bind {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<String> for Bind {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Option<&str>> for Bind {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}

impl From<RunId> for Bind {
    fn from(value: RunId) -> Self {
        Self::Bytes(Some(value.0.to_vec()))
    }
}

impl From<SystemId> for Bind {
    fn from(value: SystemId) -> Self {
        value.0.into()
    }
}

impl From<ActionId> for Bind {
    fn from(value: ActionId) -> Self {
        value.0.into()
    }
}

impl From<RequestNumber> for Bind {
    fn from(value: RequestNumber) -> Self {
        value.0.into()
    }
}

impl From<Incarnation> for Bind {
    fn from(value: Incarnation) -> Self {
        value.0.into()
    }
}

impl From<Timestamp> for Bind {
    fn from(value: Timestamp) -> Self {
        value.as_millis().into()
    }
}
