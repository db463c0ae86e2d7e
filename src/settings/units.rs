//! Durations as people write them: `60s`, `10min`.

use std::time::Duration;

/// Longest duration a setting may have: ten years. Keeps additions to a clock reading from overflowing.
pub const DURATION_MAX: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// Units of durations in milliseconds, smallest first.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

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
    }

    proptest! {
        #[test]
        fn written_duration_reads_back(millis in 1_u64..315_360_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".*") {
            let _ = parse_duration(&text);
        }
    }
}
