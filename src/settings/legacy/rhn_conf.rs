//! `/etc/rhn/rhn.conf` and the files of its defaults: `key = value` lines that all programs of a Satellite share.
//!
//! Keys are case-insensitive; `component.key` is for one program, `key` for all. A line that starts with `#` is a comment.
//! Nothing is said of quotes, escapes and continued lines, so there are none: a password is taken as it stands, commas,
//! `#` and quotes included. Source: compatibility contract, section 5.1.

use std::collections::BTreeMap;

/// A value of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RhnValue {
    /// The text; parts of a list are still separated by commas. Empty is the same as none.
    pub text: String,
    /// Line, from 1.
    pub line: usize,
}

/// One file's values by key in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RhnConf {
    values: BTreeMap<String, RhnValue>,
    stray: Vec<usize>,
}

impl RhnConf {
    /// Reads a text. Of several values for one key the last counts.
    pub fn parse(text: &str) -> Self {
        let mut file = Self::default();
        for (index, line) in text.lines().enumerate() {
            let (line, number) = (line.trim(), index + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some((key, value)) if !key.is_empty() => {
                    let value = RhnValue {
                        text: value.to_owned(),
                        line: number,
                    };
                    file.values.insert(key.to_lowercase(), value);
                }
                Some(_) | None => file.stray.push(number),
            }
        }
        file
    }

    /// The value of a key, in lower case; for a program's own key, `component.key`.
    pub fn value(&self, key: &str) -> Option<&RhnValue> {
        self.values.get(key)
    }

    /// The keys of one component, without its prefix.
    pub fn component<'a>(&'a self, component: &'a str) -> impl Iterator<Item = (&'a str, &'a RhnValue)> {
        let own = move |key: &'a str| key.strip_prefix(component)?.strip_prefix('.');
        self.values
            .iter()
            .filter_map(move |(key, value)| Some((own(key)?, value)))
    }

    /// Lines that are neither empty, nor a comment, nor `key = value`.
    pub fn stray_lines(&self) -> &[usize] {
        &self.stray
    }
}
