//! Reads our own TOML files, keeping the line of every value.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::SettingsError;
use super::layers::Layer;
use super::schema::{Key, Schema};
use super::value::Given;

/// Reads the text of a file; `path` is its name in messages.
///
/// # Errors
/// [`SettingsError::Syntax`] for a text that is not TOML, [`SettingsError::UnknownKey`].
pub fn parse<S: Schema>(path: &str, text: &str) -> Result<Layer, SettingsError> {
    let table = DeTable::parse(text).map_err(|error| SettingsError::Syntax {
        origin: origin(path, text, &error.span().unwrap_or(0..0)),
        reason: first_line(error.message()),
    })?;
    let mut walk = Walk {
        path,
        text,
        keys: S::keys().collect(),
        layer: Layer::default(),
    };
    walk.table("", table.get_ref())?;
    Ok(walk.layer)
}

struct Walk<'a> {
    path: &'a str,
    text: &'a str,
    keys: Vec<&'static Key>,
    layer: Layer,
}

impl Walk<'_> {
    /// Adds the values of a table. Nesting is bounded by the TOML reader.
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) -> Result<(), SettingsError> {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            let is_known = self.keys.iter().any(|known| known.path == key);
            match value.get_ref() {
                DeValue::Table(inner) if !is_known && self.is_table(&key) => self.table(&format!("{key}."), inner)?,
                _ if is_known => {
                    let origin = origin(self.path, self.text, &value.span());
                    self.layer.push(&key, given(value), origin);
                }
                _ => return Err(self.unknown(prefix, key, &name.span())),
            }
        }
        Ok(())
    }

    fn is_table(&self, key: &str) -> bool {
        let inside = |known: &&Key| known.path.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
        self.keys.iter().any(inside)
    }

    fn unknown(&self, prefix: &str, key: String, span: &Range<usize>) -> SettingsError {
        let mut known: Vec<&str> = Vec::new();
        for name in self.keys.iter().filter_map(|key| key.path.strip_prefix(prefix)) {
            let name = name.split('.').next().unwrap_or(name);
            if !known.contains(&name) {
                known.push(name);
            }
        }
        SettingsError::UnknownKey {
            origin: origin(self.path, self.text, span),
            key,
            known: known.join(", "),
        }
    }
}

fn given(value: &Spanned<DeValue<'_>>) -> Given {
    match value.get_ref() {
        DeValue::String(text) => Given::Text(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Given::Other, Given::Number)
        }
        DeValue::Boolean(switch) => Given::Switch(*switch),
        DeValue::Array(parts) => {
            let texts = parts.iter().map(|part| part.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>().map_or(Given::Other, Given::List)
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => Given::Other,
    }
}

fn origin(path: &str, text: &str, span: &Range<usize>) -> String {
    let before = text.as_bytes().get(..span.start).unwrap_or(text.as_bytes());
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    format!("{path}:{line}")
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("not TOML").to_owned()
}
