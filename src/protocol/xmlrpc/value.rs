//! The values and documents of XML-RPC.

use std::collections::BTreeMap;
use std::fmt;

/// The members of a struct, by name; a name occurs once.
pub type Struct = BTreeMap<String, Value>;

/// A value. `Debug` shows no text: keys and certificates pass through here.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// `int`, `i4` or `i8`.
    Int(i64),
    /// `boolean`.
    Boolean(bool),
    /// `string`, or text without a type.
    String(String),
    /// `double`, always finite.
    Double(f64),
    /// `dateTime.iso8601`, as text: it has no time zone, so it is no point in time.
    DateTime(String),
    /// `base64`, decoded.
    Base64(Vec<u8>),
    /// `array`.
    Array(Vec<Value>),
    /// `struct`.
    Struct(Struct),
    /// `nil`.
    Nil,
}

impl Value {
    /// The text, if it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Int(_)
            | Self::Boolean(_)
            | Self::Double(_)
            | Self::DateTime(_)
            | Self::Base64(_)
            | Self::Array(_)
            | Self::Struct(_)
            | Self::Nil => None,
        }
    }

    /// The number, if it is an integer.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::String(_)
            | Self::Boolean(_)
            | Self::Double(_)
            | Self::DateTime(_)
            | Self::Base64(_)
            | Self::Array(_)
            | Self::Struct(_)
            | Self::Nil => None,
        }
    }

    /// The members, if it is a struct.
    pub fn as_struct(&self) -> Option<&Struct> {
        match self {
            Self::Struct(members) => Some(members),
            Self::Int(_)
            | Self::String(_)
            | Self::Boolean(_)
            | Self::Double(_)
            | Self::DateTime(_)
            | Self::Base64(_)
            | Self::Array(_)
            | Self::Nil => None,
        }
    }

    /// The elements, if it is an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(elements) => Some(elements),
            Self::Int(_)
            | Self::String(_)
            | Self::Boolean(_)
            | Self::Double(_)
            | Self::DateTime(_)
            | Self::Base64(_)
            | Self::Struct(_)
            | Self::Nil => None,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(formatter, "Int({number})"),
            Self::Boolean(flag) => write!(formatter, "Boolean({flag})"),
            Self::String(text) => write!(formatter, "String({} bytes)", text.len()),
            Self::Double(number) => write!(formatter, "Double({number})"),
            Self::DateTime(text) => write!(formatter, "DateTime({text})"),
            Self::Base64(bytes) => write!(formatter, "Base64({} bytes)", bytes.len()),
            Self::Array(elements) => formatter.debug_list().entries(elements).finish(),
            Self::Struct(members) => formatter.debug_map().entries(members).finish(),
            Self::Nil => formatter.write_str("Nil"),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The method's name.
    pub method: String,
    /// The arguments.
    pub params: Vec<Value>,
}

/// A method that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fault {code}: {text}")]
pub struct Fault {
    /// `faultCode`; the original server's codes are negative.
    pub code: i64,
    /// `faultString`.
    pub text: String,
}

/// A document.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// `methodCall`.
    Call(Call),
    /// `methodResponse`: the result, or a fault.
    Response(Result<Value, Fault>),
    /// Bare `params`, as in a systemid file.
    Params(Vec<Value>),
}
