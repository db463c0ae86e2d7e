//! What is reported, and how.

use std::fmt::Display;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

/// Several values of one quantity.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Vec<f64>);

impl Samples {
    pub(super) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(super) fn append(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value that a share of all values does not exceed (nearest rank).
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a few thousand samples"
        )]
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    /// Median with the smallest and largest value.
    pub(super) fn spread(&self) -> String {
        let (median, low, high) = (self.quantile(0.5), self.quantile(0.0), self.quantile(1.0));
        format!("{median:.2} [{low:.2}–{high:.2}]")
    }
}

impl From<f64> for Samples {
    fn from(value: f64) -> Self {
        Self(vec![value])
    }
}

impl From<usize> for Samples {
    fn from(count: usize) -> Self {
        Self::from(super::connect::count(count))
    }
}

/// Lines for people, collected for programs.
pub(super) struct Report {
    json: bool,
    values: Map<String, Value>,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            values: Map::new(),
        }
    }

    /// A quantity, under a name that carries its unit.
    pub(super) fn say(&mut self, name: &str, samples: &Samples) {
        self.line(format_args!("{name:<42} {}", samples.spread()));
        for value in &samples.0 {
            self.collect(name, (*value).into());
        }
    }

    /// A quantity of many samples: p50, p99, maximum.
    pub(super) fn distribution(&mut self, name: &str, samples: &Samples) {
        let (p50, p99, max) = (samples.quantile(0.5), samples.quantile(0.99), samples.quantile(1.0));
        let count = samples.len();
        self.line(format_args!(
            "{name:<42} p50 {p50:.2}  p99 {p99:.2}  max {max:.2}  (n = {count})"
        ));
        let values = serde_json::json!({ "p50": p50, "p99": p99, "max": max, "count": count });
        self.values.insert(name.to_owned(), values);
    }

    /// One of several things of a kind, for programs.
    pub(super) fn collect(&mut self, name: &str, value: Value) {
        let list = self.values.entry(name).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(value);
        }
    }

    /// How far it is, for people.
    pub(super) fn progress(&self, what: impl Display) {
        self.line(format_args!("# {what}"));
    }

    /// Ends the report.
    pub(super) fn finish(self) {
        if self.json {
            print(format_args!("{}", Value::Object(self.values)));
        }
    }

    fn line(&self, text: impl Display) {
        if !self.json {
            print(text);
        }
    }
}

fn print(text: impl Display) {
    // Whoever closed our output wants no more of it.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// To standard error.
pub(super) fn complain(error: impl Display) {
    // As above.
    let _ = writeln!(std::io::stderr(), "osa-swarm: {error}");
}

/// The wall clock to the nanosecond: the one clock that two processes share and the standard library shows.
pub(super) fn wall_clock() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "measures; nothing is decided by it")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Milliseconds with their fraction.
pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: impl IntoIterator<Item = u32>) -> Samples {
        let mut samples = Samples::default();
        values.into_iter().for_each(|value| samples.push(value.into()));
        samples
    }

    #[test]
    fn quantiles_are_samples_in_any_order() {
        let hundred = samples((1..=100).rev());

        let quantiles = [0.0, 0.5, 0.99, 1.0].map(|share| hundred.quantile(share));

        assert_eq!(quantiles, [1.0, 50.0, 99.0, 100.0]);
        assert_eq!(samples([3, 1, 2]).spread(), "2.00 [1.00–3.00]");
    }

    #[test]
    fn nothing_measured_is_no_number() {
        assert!(samples([]).quantile(0.5).is_nan());
    }
}
