//! Points in time as programs read them.

use std::fmt;

use chrono::{DateTime, Local, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::time::Timestamp;

/// A point in time; as text, RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

impl Time {
    /// Reads RFC 3339, in any zone.
    pub fn parse(text: &str) -> Option<Self> {
        let time = DateTime::parse_from_rfc3339(text).ok()?;
        Some(Self(Timestamp::from_millis(time.timestamp_millis())))
    }

    /// As people read it: this machine's zone, to the second.
    pub fn local(self) -> String {
        self.in_local_zone("%Y-%m-%d %H:%M:%S")
    }

    /// The time of day in this machine's zone, to the millisecond.
    pub fn local_clock(self) -> String {
        self.in_local_zone("%H:%M:%S%.3f")
    }

    fn in_local_zone(self, format: &str) -> String {
        match DateTime::from_timestamp_millis(self.0.as_millis()) {
            Some(time) => time.with_timezone(&Local).format(format).to_string(),
            None => self.0.to_string(),
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::<Utc>::from_timestamp_millis(self.0.as_millis()) {
            Some(time) => formatter.write_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true)),
            None => write!(formatter, "{}", self.0),
        }
    }
}

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        Self(time)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("expected a time such as 2026-11-22T21:59:21.123Z"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_survives_its_text_form() {
        let time = Time(Timestamp::from_millis(1_795_384_761_123));

        assert_eq!(Time::parse(&time.to_string()), Some(time));
        assert_eq!(
            Time::parse("2026-11-22T23:59:21+01:00"),
            Time::parse("2026-11-22T22:59:21Z")
        );
        assert_eq!(Time::parse("tomorrow"), None);
    }
}
