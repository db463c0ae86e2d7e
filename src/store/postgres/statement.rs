//! Statements written in SQL, prepared once per connection.
//!
//! A Satellite's ids are `NUMERIC` and its times `TIMESTAMPTZ`: every statement that reads them casts them (`::bigint`,
//! milliseconds), and arguments are cast to the column's type rather than the column to theirs, so that its index
//! serves. Lists are passed as arrays, so that a statement's text does not depend on its arguments.

use std::borrow::Cow;
use std::marker::PhantomData;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Binary, Bool, Nullable, Text};

use crate::domain::ids::{ActionId, Incarnation, RequestNumber, RunId, SystemId};
use crate::domain::time::Timestamp;

/// An argument of a statement.
#[derive(Clone, Debug)]
pub(super) enum Bind {
    Integer(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
    Switch(bool),
    Integers(Vec<i64>),
    OptionalIntegers(Vec<Option<i64>>),
    Texts(Vec<String>),
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

/// A text that people gave, as bytes: a database with the encoding `SQL_ASCII` keeps any, and sends none that is not UTF-8 as
/// a text; one such name would fail a statement for all other rows. [`lossy`] reads it.
pub(super) fn any_text(column: &str) -> String {
    format!(
        "convert_to({column}, CASE current_setting('server_encoding') WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)"
    )
}

/// The text of [`any_text`]; what is not UTF-8 is shown as U+FFFD.
pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The condition that what this `NUMERIC` column has is a `BIGINT`. One row with a larger number, or with `NaN`, which is greater
/// than every number, would fail a statement that casts it for all other rows. It is a condition on one table alone, so such rows
/// are left out where they are read, before any cast. `CASE` keeps the planner from taking a range of everything for
/// a reason to use an index: in tables without statistics it would think that range small.
pub(super) fn is_bigint(column: &str) -> String {
    format!(
        "CASE WHEN {column} BETWEEN {} AND {} THEN TRUE ELSE FALSE END",
        i64::MIN,
        i64::MAX
    )
}

/// The ids as one argument.
pub(super) fn ids(systems: &[SystemId]) -> Vec<i64> {
    systems.iter().map(|system| system.0).collect()
}

impl<Row> QueryFragment<Pg> for Statement<Row> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut binds = self.binds.iter();
        for (index, piece) in self.text.split('?').enumerate() {
            if index > 0
                && let Some(bind) = binds.next()
            {
                match bind {
                    Bind::Integer(value) => out.push_bind_param::<Nullable<BigInt>, _>(value)?,
                    Bind::Text(value) => out.push_bind_param::<Nullable<Text>, _>(value)?,
                    Bind::Bytes(value) => out.push_bind_param::<Nullable<Binary>, _>(value)?,
                    Bind::Switch(value) => out.push_bind_param::<Bool, _>(value)?,
                    Bind::Integers(values) => out.push_bind_param::<Array<BigInt>, _>(values)?,
                    Bind::OptionalIntegers(values) => out.push_bind_param::<Array<Nullable<BigInt>>, _>(values)?,
                    Bind::Texts(values) => out.push_bind_param::<Array<Text>, _>(values)?,
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

macro_rules! bind_from {
    ($($type:ty => |$value:ident| $bind:expr;)+) => {$(
        impl From<$type> for Bind {
            fn from($value: $type) -> Self {
                $bind
            }
        }
    )+};
}

bind_from! {
    i64 => |value| Self::Integer(Some(value));
    Option<i64> => |value| Self::Integer(value);
    bool => |value| Self::Switch(value);
    &str => |value| Self::Text(Some(value.to_owned()));
    String => |value| Self::Text(Some(value));
    Option<&str> => |value| Self::Text(value.map(str::to_owned));
    Vec<i64> => |value| Self::Integers(value);
    Vec<Option<i64>> => |value| Self::OptionalIntegers(value);
    Vec<String> => |value| Self::Texts(value);
    RunId => |value| Self::Bytes(Some(value.0.to_vec()));
    SystemId => |value| value.0.into();
    ActionId => |value| value.0.into();
    RequestNumber => |value| value.0.into();
    Incarnation => |value| value.0.into();
    Timestamp => |value| value.as_millis().into();
}
