//! Files with `[sections]` in the dialect of Python's ConfigParser: `osad.conf`, `osad-auth.conf`.
//!
//! * Keys are case-insensitive and end at the first `=` or `:`.
//! * Lines that start with `#` or `;` are comments; there are none behind a value.
//! * An indented line continues the value above it.
//! * `%(name)s` inserts the value of another key of the section or of `[DEFAULT]`, `%%` is one `%`. Backslashes are
//!   ordinary characters; so is any other `%`, because passwords contain it.
//! * Of several values for one key the last counts.

use std::collections::BTreeMap;

/// Deepest nesting of `%(name)s`, as in Python.
pub const INTERPOLATION_DEPTH_MAX: usize = 10;
/// Longest value after interpolation: nested references multiply. Units: bytes.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// A text that is not in this format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IniError {
    /// A line that is neither section, key nor continuation.
    #[error("expected \"key = value\" or \"[section]\"")]
    Line {
        /// Its number, from 1.
        line: usize,
    },
    /// A key before the first section.
    #[error("a key before the first [section]")]
    NoSection {
        /// Its line, from 1.
        line: usize,
    },
}

impl IniError {
    /// Line of the error, from 1.
    pub const fn line(&self) -> usize {
        match self {
            Self::Line { line } | Self::NoSection { line } => *line,
        }
    }
}

/// A value that cannot be interpolated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterpolationError {
    /// It refers to a key that is not there.
    #[error("%({name})s refers to a key that is not set; set it, or write the value out")]
    MissingName {
        /// The key referred to.
        name: String,
    },
    /// References nest deeper than [`INTERPOLATION_DEPTH_MAX`], or in a circle.
    #[error("references nest deeper than {INTERPOLATION_DEPTH_MAX} levels, or in a circle; write the value out")]
    TooDeep,
    /// The value grows beyond [`VALUE_BYTES_MAX`].
    #[error("longer than {VALUE_BYTES_MAX} bytes; shorten it")]
    TooLong,
    /// `%(` without `)s` behind it.
    #[error("%( without )s behind the name; write %%( for a literal %(")]
    Unclosed,
}

/// A value as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawValue {
    /// The text, before interpolation.
    pub text: String,
    /// Line of its key, from 1.
    pub line: usize,
}

/// A file's sections with their keys, the latter in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ini {
    sections: BTreeMap<String, BTreeMap<String, RawValue>>,
}

impl Ini {
    /// Reads a text.
    ///
    /// # Errors
    /// [`IniError`] with the line.
    pub fn parse(text: &str) -> Result<Self, IniError> {
        let mut reader = Reader::default();
        for (index, line) in text.lines().enumerate() {
            reader.line(index + 1, line)?;
        }
        Ok(reader.ini)
    }

    /// A section's keys and values as they stand in the file, if the section is there.
    pub fn section(&self, name: &str) -> Option<&BTreeMap<String, RawValue>> {
        self.sections.get(name)
    }

    /// The value of a key as it stands in the file; from `[DEFAULT]` if the section does not have it.
    pub fn raw(&self, section: &str, key: &str) -> Option<&RawValue> {
        let key = key.to_lowercase();
        let in_section = |name: &str| self.sections.get(name)?.get(&key);
        in_section(section).or_else(|| in_section("DEFAULT"))
    }

    /// The interpolated value of a key, if it is there.
    ///
    /// # Errors
    /// [`InterpolationError`].
    pub fn value(&self, section: &str, key: &str) -> Result<Option<String>, InterpolationError> {
        let Some(raw) = self.raw(section, key) else {
            return Ok(None);
        };
        let mut value = String::new();
        self.interpolate(section, &raw.text, 0, &mut value)?;
        Ok(Some(value))
    }

    fn interpolate(&self, section: &str, text: &str, depth: usize, out: &mut String) -> Result<(), InterpolationError> {
        if depth > INTERPOLATION_DEPTH_MAX {
            return Err(InterpolationError::TooDeep);
        }
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            push(out, before)?;
            if let Some(behind) = after.strip_prefix('(') {
                let (name, behind) = behind.split_once(")s").ok_or(InterpolationError::Unclosed)?;
                let missing = || InterpolationError::MissingName { name: name.to_owned() };
                let inserted = self.raw(section, name).ok_or_else(missing)?;
                self.interpolate(section, &inserted.text, depth + 1, out)?;
                rest = behind;
            } else {
                push(out, "%")?;
                rest = after.strip_prefix('%').unwrap_or(after);
            }
        }
        push(out, rest)
    }
}

fn push(out: &mut String, text: &str) -> Result<(), InterpolationError> {
    if out.len() + text.len() > VALUE_BYTES_MAX {
        return Err(InterpolationError::TooLong);
    }
    out.push_str(text);
    Ok(())
}

/// Where the reader is: the open section and the key that an indented line would continue.
#[derive(Default)]
struct Reader {
    ini: Ini,
    section: Option<String>,
    key: Option<String>,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) -> Result<(), IniError> {
        let text = line.trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            return Ok(());
        }
        if line.starts_with([' ', '\t']) && self.continues(text) {
            return Ok(());
        }
        if let Some(name) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            self.ini.sections.entry(name.0.to_owned()).or_default();
            self.section = Some(name.0.to_owned());
            self.key = None;
            return Ok(());
        }
        let section = self.section.as_ref().ok_or(IniError::NoSection { line: number })?;
        let (key, value) = text.split_once(['=', ':']).ok_or(IniError::Line { line: number })?;
        let key = key.trim().to_lowercase();
        if key.is_empty() {
            return Err(IniError::Line { line: number });
        }
        let value = RawValue {
            text: value.trim().to_owned(),
            line: number,
        };
        self.ini
            .sections
            .entry(section.clone())
            .or_default()
            .insert(key.clone(), value);
        self.key = Some(key);
        Ok(())
    }

    /// Adds a line to the value above it, if there is one.
    fn continues(&mut self, text: &str) -> bool {
        let (Some(section), Some(key)) = (&self.section, &self.key) else {
            return false;
        };
        let Some(value) = self.ini.sections.get_mut(section).and_then(|keys| keys.get_mut(key)) else {
            return false;
        };
        value.text.push('\n');
        value.text.push_str(text);
        true
    }
}
