//! `/etc/sysconfig/rhn/up2date`: `key=value` lines, written by the registration tools of managed systems.
//!
//! `key[comment]=…` explains a key and is passed over, `;` separates the parts of a list, a `\` at the end of a line
//! continues it. Lines that are none of this are passed over too: other programs own this file.

use std::collections::BTreeMap;

/// A value of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Up2dateValue {
    /// The text; parts of a list are still separated by `;`.
    pub text: String,
    /// Line of its key, from 1.
    pub line: usize,
}

impl Up2dateValue {
    /// The parts of a list, without empty ones.
    pub fn list(&self) -> impl Iterator<Item = &str> {
        self.text.split(';').map(str::trim).filter(|part| !part.is_empty())
    }
}

/// The file's values by key; keys are case-sensitive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Up2date(BTreeMap<String, Up2dateValue>);

impl Up2date {
    /// Reads a text. Of several values for one key the last counts.
    pub fn parse(text: &str) -> Self {
        let mut values = BTreeMap::new();
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            let mut whole = line.trim().to_owned();
            if whole.starts_with('#') {
                continue;
            }
            while let Some(part) = whole.strip_suffix('\\') {
                let next = lines.next().map_or("", |(_, line)| line.trim());
                whole = format!("{part}{next}");
            }
            let Some((key, value)) = whole.split_once('=') else {
                continue;
            };
            let key = key.trim();
            if key.is_empty() || key.contains('[') {
                continue;
            }
            let value = Up2dateValue {
                text: value.trim().to_owned(),
                line: index + 1,
            };
            values.insert(key.to_owned(), value);
        }
        Self(values)
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&Up2dateValue> {
        self.0.get(key)
    }
}
