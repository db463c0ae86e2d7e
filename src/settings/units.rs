//! Durations and sizes as people write them: `60s`, `10min`, `64KiB`.

use std::fmt;
use std::time::Duration;

/// Longest duration a setting may have: ten years. Keeps additions to a clock reading from overflowing.
pub const DURATION_MAX: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// Largest size a setting may have: 1 TiB.
pub const SIZE_MAX: ByteSize = ByteSize(1 << 40);

/// Units of durations in milliseconds, smallest first.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Units of sizes in bytes, smallest first.
const SIZE_UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// An amount of memory or disk. Units: bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// The size as a number of bytes in memory; the largest possible one where the machine's words are too short.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&in_largest_unit(self.0, &SIZE_UNITS))
    }
}

/// Reads a duration: a whole number and a unit (`ms`, `s`, `min`, `h`, `d`), from 1 ms to [`DURATION_MAX`].
///
/// ```
/// use std::time::Duration;
/// use osa::settings::units::parse_duration;
///
/// assert_eq!(parse_duration("10min"), Some(Duration::from_secs(600)));
/// assert_eq!(parse_duration("60"), None);
/// ```
pub fn parse_duration(text: &str) -> Option<Duration> {
    let duration = Duration::from_millis(with_unit(text, &DURATION_UNITS)?);
    (duration > Duration::ZERO && duration <= DURATION_MAX).then_some(duration)
}

/// Reads a size: a whole number and a unit (`B`, `KiB`, `MiB`, `GiB`), from 1 B to [`SIZE_MAX`].
pub fn parse_size(text: &str) -> Option<ByteSize> {
    let size = ByteSize(with_unit(text, &SIZE_UNITS)?);
    (size.0 > 0 && size <= SIZE_MAX).then_some(size)
}

/// Writes a duration of whole milliseconds in the largest unit that shows it exactly.
pub fn format_duration(duration: Duration) -> String {
    in_largest_unit(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &DURATION_UNITS)
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits_end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits_end);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn in_largest_unit(amount: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, factor): &&(&str, u64)| amount >= *factor && amount.is_multiple_of(*factor);
    match units.iter().rev().find(fits).or(units.first()) {
        Some((name, factor)) => format!("{}{name}", amount / factor),
        None => amount.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn number_without_unit_or_with_unknown_unit_is_refused() {
        for text in [
            "",
            "60",
            "s",
            "60 sec",
            "-1s",
            "1.5h",
            "0s",
            "99999999999999999999s",
            "4000d",
            "60S",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        for text in ["64", "64kb", "64K", "0B", "2000GiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn written_duration_reads_back(millis in 1_u64..315_360_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }

        #[test]
        fn written_size_reads_back(bytes in 1_u64..(1 << 40)) {
            prop_assert_eq!(parse_size(&ByteSize(bytes).to_string()), Some(ByteSize(bytes)));
        }

        #[test]
        fn no_text_makes_the_readers_panic(text in ".*") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
