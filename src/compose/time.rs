//! Points in time as programs read them.

use std::fmt;

use chrono::{DateTime, Local, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::time::Timestamp;

/// A point in time; as text, RFC 3339 in UTC with milliseconds. RFC 3339 has years of four digits (section 5.6): what is
/// later, as an action by a slip of the pen, is shown as the last moment of the year 9999, what is earlier as the first of 0.
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
        self.shown().with_timezone(&Local).format(format).to_string()
    }

    fn shown(self) -> DateTime<Utc> {
        let millis = self.0.as_millis().clamp(FIRST_MILLIS, LAST_MILLIS);
        DateTime::from_timestamp_millis(millis).unwrap_or_default()
    }
}

/// 0000-01-01T00:00:00.000Z.
const FIRST_MILLIS: i64 = -62_167_219_200_000;
/// 9999-12-31T23:59:59.999Z.
const LAST_MILLIS: i64 = 253_402_300_799_999;

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown().to_rfc3339_opts(SecondsFormat::Millis, true))
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
    fn text_of_any_time_can_be_read() {
        for (millis, text) in [
            (i64::MIN, "0000-01-01T00:00:00.000Z"),
            (FIRST_MILLIS, "0000-01-01T00:00:00.000Z"),
            (LAST_MILLIS, "9999-12-31T23:59:59.999Z"),
            (LAST_MILLIS + 1, "9999-12-31T23:59:59.999Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            let time = Time(Timestamp::from_millis(millis));

            assert_eq!(time.to_string(), text);
            let read = Time::parse(text).map(|time| time.to_string());
            assert_eq!(read.as_deref(), Some(text));
            assert!(!time.local().is_empty() && !time.local_clock().is_empty());
        }
    }

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
