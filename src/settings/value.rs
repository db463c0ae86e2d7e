//! Values on their way from a text to the type of their setting.

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use super::error::Unfit;
use super::names::{DomainName, HostPort, ListenAddresses, ProxyAddress, ServerUrl};
use super::units::parse_duration;
use crate::domain::secret::Secret;

/// Most entries of one list: more would be a mistake.
pub const LIST_LENGTH_MAX: usize = 16;

/// A value as its source gave it. Sources without types (environment, flags, legacy files) give texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Yes or no.
    Switch(bool),
    /// A list of texts.
    List(Vec<String>),
    /// A form that no setting has: a date, a fraction, a nested list.
    Other,
}

impl fmt::Display for Given {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(formatter, "{text:?}"),
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Switch(switch) => write!(formatter, "{switch}"),
            Self::List(list) => write!(formatter, "{list:?}"),
            Self::Other => formatter.write_str("(a value of another kind)"),
        }
    }
}

/// How a type is written in TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// In quotes.
    Quoted,
    /// Without quotes.
    Bare,
    /// As a list of quoted texts; as a text, separated by commas.
    List,
}

/// A type that settings can have.
pub trait SettingValue: Sized {
    /// What is accepted, as the end of "expected …".
    const ACCEPTED: &'static str;
    /// How it is written in TOML.
    const SHAPE: Shape = Shape::Quoted;
    /// Whether it must never be shown.
    const SECRET: bool = false;

    /// Reads the value.
    ///
    /// # Errors
    /// [`Unfit`] if it has another form.
    fn read(given: &Given) -> Result<Self, Unfit>;
}

fn text<T: SettingValue>(given: &Given) -> Result<&str, Unfit> {
    match given {
        Given::Text(text) if !text.trim().is_empty() => Ok(text.trim()),
        Given::Text(_) | Given::Number(_) | Given::Switch(_) | Given::List(_) | Given::Other => {
            Err(Unfit::Form(T::ACCEPTED))
        }
    }
}

/// The parts of a list of usual length.
pub(super) fn list<T: SettingValue>(given: &Given) -> Result<Vec<&str>, Unfit> {
    parts::<T>(given, LIST_LENGTH_MAX)
}

fn parts<T: SettingValue>(given: &Given, most: usize) -> Result<Vec<&str>, Unfit> {
    let list: Vec<&str> = match given {
        Given::Text(text) => text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect(),
        Given::List(list) => list.iter().map(|part| part.trim()).collect(),
        Given::Number(_) | Given::Switch(_) | Given::Other => Vec::new(),
    };
    if list.is_empty() || list.len() > most {
        return Err(Unfit::Form(T::ACCEPTED));
    }
    Ok(list)
}

impl SettingValue for Duration {
    const ACCEPTED: &'static str = "a number and a unit (ms, s, min, h, d), such as \"60s\"";

    fn read(given: &Given) -> Result<Self, Unfit> {
        parse_duration(text::<Self>(given)?).ok_or(Unfit::Form(Self::ACCEPTED))
    }
}

impl SettingValue for NonZeroU32 {
    const ACCEPTED: &'static str = "a whole number from 1 to 4294967295";
    const SHAPE: Shape = Shape::Bare;

    fn read(given: &Given) -> Result<Self, Unfit> {
        let number = match given {
            Given::Number(number) => u32::try_from(*number).ok(),
            Given::Text(text) => text.trim().parse().ok(),
            Given::Switch(_) | Given::List(_) | Given::Other => None,
        };
        number.and_then(Self::new).ok_or(Unfit::Form(Self::ACCEPTED))
    }
}

impl SettingValue for NonZeroU16 {
    const ACCEPTED: &'static str = "a whole number from 1 to 65535";
    const SHAPE: Shape = Shape::Bare;

    fn read(given: &Given) -> Result<Self, Unfit> {
        let number = NonZeroU32::read(given).map_err(|_| Unfit::Form(Self::ACCEPTED))?;
        Self::try_from(number).map_err(|_| Unfit::Form(Self::ACCEPTED))
    }
}

impl SettingValue for bool {
    const ACCEPTED: &'static str = "true or false";
    const SHAPE: Shape = Shape::Bare;

    fn read(given: &Given) -> Result<Self, Unfit> {
        match given {
            Given::Switch(switch) => Ok(*switch),
            Given::Text(text) if text.trim() == "true" => Ok(true),
            Given::Text(text) if text.trim() == "false" => Ok(false),
            Given::Text(_) | Given::Number(_) | Given::List(_) | Given::Other => Err(Unfit::Form(Self::ACCEPTED)),
        }
    }
}

impl SettingValue for PathBuf {
    const ACCEPTED: &'static str = "a path";

    fn read(given: &Given) -> Result<Self, Unfit> {
        let path = text::<Self>(given)?;
        match path.contains('\0') {
            true => Err(Unfit::Form(Self::ACCEPTED)),
            false => Ok(Self::from(path)),
        }
    }
}

/// A text for people or peers, such as a user name.
impl SettingValue for String {
    const ACCEPTED: &'static str = "a text";

    fn read(given: &Given) -> Result<Self, Unfit> {
        text::<Self>(given).map(str::to_owned)
    }
}

impl SettingValue for Secret {
    const ACCEPTED: &'static str = "a text";
    const SECRET: bool = true;

    fn read(given: &Given) -> Result<Self, Unfit> {
        text::<Self>(given).map(Self::new)
    }
}

impl SettingValue for DomainName {
    const ACCEPTED: &'static str = "a host name, such as \"satellite.example.com\"";

    fn read(given: &Given) -> Result<Self, Unfit> {
        Ok(Self::parse(text::<Self>(given)?)?)
    }
}

impl SettingValue for HostPort {
    const ACCEPTED: &'static str = "a host name, or host name and port, such as \"satellite.example.com:5222\"";

    fn read(given: &Given) -> Result<Self, Unfit> {
        Ok(Self::parse(text::<Self>(given)?)?)
    }
}

impl SettingValue for ProxyAddress {
    const ACCEPTED: &'static str = "a proxy as \"host:port\"";

    fn read(given: &Given) -> Result<Self, Unfit> {
        Ok(Self::parse(text::<Self>(given)?)?)
    }
}

impl SettingValue for Vec<ServerUrl> {
    const ACCEPTED: &'static str = "1 to 16 HTTPS URLs, such as [\"https://satellite.example.com/XMLRPC\"]";
    const SHAPE: Shape = Shape::List;

    fn read(given: &Given) -> Result<Self, Unfit> {
        let urls = list::<Self>(given)?.into_iter().map(ServerUrl::parse);
        Ok(urls.collect::<Result<_, _>>()?)
    }
}

/// Labels, such as those of entitlements.
impl SettingValue for Vec<String> {
    const ACCEPTED: &'static str = "1 to 16 labels, such as [\"enterprise_entitled\"]";
    const SHAPE: Shape = Shape::List;

    fn read(given: &Given) -> Result<Self, Unfit> {
        Ok(list::<Self>(given)?.into_iter().map(str::to_owned).collect())
    }
}

/// Most names one server can have; a big site has a Proxy per location.
pub const NAMES_MAX: usize = 256;

impl SettingValue for Vec<DomainName> {
    const ACCEPTED: &'static str = "1 to 256 host names, such as [\"proxy.example.com\"]";
    const SHAPE: Shape = Shape::List;

    fn read(given: &Given) -> Result<Self, Unfit> {
        let names = parts::<Self>(given, NAMES_MAX)?.into_iter().map(DomainName::parse);
        Ok(names.collect::<Result<_, _>>()?)
    }
}

impl SettingValue for ListenAddresses {
    const ACCEPTED: &'static str = "1 to 16 IP addresses with port, such as [\"[::]:5222\"]";
    const SHAPE: Shape = Shape::List;

    fn read(given: &Given) -> Result<Self, Unfit> {
        let addresses = list::<Self>(given)?.into_iter().map(str::parse::<SocketAddr>);
        let addresses: Result<_, _> = addresses.collect();
        Ok(Self(addresses.map_err(|_| Unfit::Form(Self::ACCEPTED))?))
    }
}

/// A program and its arguments, split at white space; no shell reads it.
///
/// Source: compatibility contract, section 4.7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The program's absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

impl SettingValue for CommandLine {
    const ACCEPTED: &'static str =
        "an absolute path and arguments, split at white space, such as \"/usr/sbin/rhn_check\"";

    fn read(given: &Given) -> Result<Self, Unfit> {
        let mut words = text::<Self>(given)?.split_whitespace();
        match words.next() {
            Some(program) if program.starts_with('/') && !program.contains('\0') => Ok(Self {
                program: PathBuf::from(program),
                arguments: words.map(str::to_owned).collect(),
            }),
            Some(_) | None => Err(Unfit::Form(Self::ACCEPTED)),
        }
    }
}
