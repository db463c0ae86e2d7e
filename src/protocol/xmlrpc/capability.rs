//! Capability headers: `name(version)=value`. Compatibility contract, sections 2.2 and 2.7.

use std::fmt;
use std::str::FromStr;

/// The response header; one line per capability.
pub const SERVER_HEADER: &str = "X-RHN-Server-Capability";
/// The request header; a comma-separated list.
pub const CLIENT_HEADER: &str = "X-RHN-Client-Capability";
/// The capability without which there is no push on a server.
pub const REGISTER_OSAD: &str = "registration.register_osad";
/// Longest part that is accepted. Units: bytes; four times the width of `rhnClientCapabilityName.name`.
const PART_LEN_MAX: usize = 128;
/// How many capabilities of one header are read. The original server has 19.
const LIST_MAX: usize = 128;

/// One capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name.
    pub name: String,
    /// Its version; some are ranges, such as `1-2`.
    pub version: String,
    /// Its value; `1` for all that are known.
    pub value: String,
}

/// A text that is no capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a capability is written name(version)=value")]
pub struct ParseCapabilityError;

impl Capability {
    /// Version 1 with value 1, as nearly all have.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: "1".to_owned(),
            value: "1".to_owned(),
        }
    }

    /// Reads a comma-separated list; what is no capability is skipped, as original servers do.
    pub fn parse_list(header: &str) -> Vec<Self> {
        let parsed = header.split(',').filter_map(|part| part.parse().ok());
        parsed.take(LIST_MAX).collect()
    }
}

impl FromStr for Capability {
    type Err = ParseCapabilityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (head, value) = text.trim().split_once('=').ok_or(ParseCapabilityError)?;
        let (name, version) = head.trim_end().split_once('(').ok_or(ParseCapabilityError)?;
        let version = version.strip_suffix(')').ok_or(ParseCapabilityError)?;
        let [name, version, value] = [name, version, value].map(str::trim);
        let parts = [name, version, value];
        let is_fine = |part: &&str| !part.is_empty() && part.len() <= PART_LEN_MAX && part.bytes().all(is_plain);
        if !parts.iter().all(is_fine) {
            return Err(ParseCapabilityError);
        }
        Ok(Self {
            name: name.to_owned(),
            version: version.to_owned(),
            value: value.to_owned(),
        })
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}({})={}", self.name, self.version, self.value)
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'(' | b')' | b'=' | b',')
}
