//! The layers of a configuration, from the built-in defaults up to the flags, each value with its origin.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use config::{Config, ConfigError, Map, Source, Value, ValueKind};

use super::access::file_access;
use super::error::{SettingsError, SettingsWarning, Unfit};
use super::own_file;
use super::schema::{Field, Key, Schema};
use super::value::{Given, Shape};
use crate::domain::file_access::FileKind;

/// Largest configuration file: the shipped ones have less than 20 KiB.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The mark that some editors put before a text in UTF-8; no part of it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What [`Entry::origin`] says of a built-in default.
pub const BUILT_IN: &str = "default";

/// A value and where it comes from. Its `Debug` leaves the value out: it may be a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The setting's name with those of its tables.
    pub key: String,
    /// File and line, variable or flag.
    pub origin: String,
    /// The value.
    pub given: Given,
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, origin, given: _ } = self;
        write!(formatter, "{key} from {origin}")
    }
}

/// The values of one source.
#[derive(Clone, Debug, Default)]
pub struct Layer(pub Vec<Entry>);

impl Layer {
    /// Adds a value.
    pub fn push(&mut self, key: &str, given: Given, origin: impl Into<String>) {
        self.0.push(Entry {
            key: key.to_owned(),
            origin: origin.into(),
            given,
        });
    }

    /// The built-in defaults of a program.
    pub fn defaults<S: Schema>() -> Self {
        let mut layer = Self::default();
        for key in S::keys() {
            if let Some(default) = key.default {
                layer.push(key.path, Given::Text(default.to_owned()), BUILT_IN);
            }
        }
        layer
    }

    /// The environment variables that set something, and warnings about those with our prefix that mean nothing to
    /// any of our programs.
    pub fn environment<S: Schema>(
        variables: impl IntoIterator<Item = (String, String)>,
        is_known_elsewhere: impl Fn(&str) -> bool,
    ) -> (Self, Vec<SettingsWarning>) {
        let keys: BTreeMap<String, &Key> = S::keys().map(|key| (key.variable(), key)).collect();
        let mut layer = Self::default();
        let mut warnings = Vec::new();
        for (name, text) in variables {
            match keys.get(&name) {
                Some(key) => layer.push(key.path, Given::Text(text), format!("environment variable {name}")),
                None if name.starts_with("OSA_") && !is_known_elsewhere(&name) => {
                    warnings.push(SettingsWarning::UnknownVariable { name });
                }
                None => {}
            }
        }
        (layer, warnings)
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let value = |entry: &Entry| match &entry.given {
            Given::Text(text) => ValueKind::String(text.clone()),
            Given::Number(number) => ValueKind::I64(*number),
            Given::Switch(switch) => ValueKind::Boolean(*switch),
            Given::List(list) => list.clone().into(),
            Given::Other => ValueKind::Nil,
        };
        let entries = self.0.iter();
        Ok(entries
            .map(|entry| (entry.key.clone(), Value::new(Some(&entry.origin), value(entry))))
            .collect())
    }
}

/// The values in force, each with its origin.
#[derive(Clone, Debug)]
pub struct Values {
    own_file: String,
    entries: BTreeMap<String, Entry>,
    keys: Vec<&'static Key>,
}

impl Values {
    /// Lays the layers over each other, lowest first, and checks every value in force. `own_file` is where the
    /// operator is told to set what is missing.
    ///
    /// # Errors
    /// The first value that does not fit, even if a higher layer replaces it.
    pub fn stack<S: Schema>(layers: Vec<Layer>, own_file: &str) -> Result<Self, SettingsError> {
        let keys: Vec<&'static Key> = S::keys().collect();
        for entry in layers.iter().flat_map(|layer| &layer.0) {
            if let Some(key) = keys.iter().find(|key| key.path == entry.key) {
                (key.check)(&entry.given).map_err(|unfit| wrong_value(entry, key.secret, unfit))?;
            }
        }
        let builder = layers
            .into_iter()
            .fold(Config::builder(), |builder, layer| builder.add_source(layer));
        let config = builder.build().map_err(|error| SettingsError::Syntax {
            origin: own_file.to_owned(),
            reason: error.to_string(),
        })?;
        let entries = keys.iter().filter_map(|key| entry_at(&config.cache, key.path));
        Ok(Self {
            own_file: own_file.to_owned(),
            entries: entries.map(|entry| (entry.key.clone(), entry)).collect(),
            keys,
        })
    }

    /// Reads one setting.
    ///
    /// # Errors
    /// It has no value but needs one, or the value does not fit.
    pub fn read<F: Field>(&self, path: &'static str) -> Result<F, SettingsError> {
        let entry = self.entries.get(path);
        let read = F::read_field(entry.map(|entry| &entry.given));
        match (read, entry) {
            (Ok(Some(value)), _) => Ok(value),
            (Err(unfit), Some(entry)) => Err(wrong_value(entry, F::SECRET, unfit)),
            (Ok(None) | Err(_), _) => Err(SettingsError::Missing {
                key: path,
                file: self.own_file.clone(),
                wanted: F::ACCEPTED,
            }),
        }
    }

    /// Shows no default of a setting that nothing uses here; where somebody set it, it is shown.
    pub fn hide_default(&mut self, path: &str) {
        if self.origin(path) == BUILT_IN {
            self.entries.remove(path);
        }
    }

    /// The same for all settings that nothing uses.
    pub fn hide_defaults(&mut self, is_unused: impl Fn(&str) -> bool) {
        self.entries
            .retain(|key, entry| entry.origin != BUILT_IN || !is_unused(key));
    }

    /// The values in force in the order of the documentation: key, value as shown to people, origin.
    pub fn shown(&self) -> impl Iterator<Item = (&'static str, String, &str)> + '_ {
        self.keys.iter().filter_map(|key| {
            let entry = self.entries.get(key.path)?;
            let value = match (&entry.given, key.shape) {
                (_, _) if key.secret => shown(&entry.given, true),
                // Sources without types give texts; shown is what would be written in TOML.
                (Given::Text(text), Shape::Bare) => text.clone(),
                (Given::Text(text), Shape::List) => {
                    Given::List(text.split(',').map(str::to_owned).collect()).to_string()
                }
                (given, _) => given.to_string(),
            };
            Some((key.path, value, entry.origin.as_str()))
        })
    }

    /// The operator's file, where what is missing is to be set.
    pub fn own_file(&self) -> &str {
        &self.own_file
    }

    /// Where the value in force comes from; as a default, where there is none.
    pub fn origin(&self, path: &str) -> &str {
        self.entries.get(path).map_or(BUILT_IN, |entry| &entry.origin)
    }

    /// Keys whose values differ between two readings of the configuration.
    pub fn changed<'a>(&'a self, newer: &'a Self) -> impl Iterator<Item = &'static Key> + 'a {
        let given = |values: &'a Self, key: &Key| values.entries.get(key.path).map(|entry| &entry.given);
        let keys = self.keys.iter().copied();
        keys.filter(move |key| given(self, key) != given(newer, key))
    }
}

fn shown(given: &Given, secret: bool) -> String {
    if secret { "***".to_owned() } else { given.to_string() }
}

fn wrong_value(entry: &Entry, secret: bool, unfit: Unfit) -> SettingsError {
    SettingsError::WrongValue {
        origin: entry.origin.clone(),
        key: entry.key.clone(),
        given: shown(&entry.given, secret || unfit.holds_secret()),
        wanted: unfit.to_string(),
    }
}

fn entry_at(root: &Value, path: &str) -> Option<Entry> {
    let mut value = root;
    for name in path.split('.') {
        let ValueKind::Table(table) = &value.kind else {
            return None;
        };
        value = table.get(name)?;
    }
    let text = |part: &Value| match &part.kind {
        ValueKind::String(text) => text.clone(),
        other => other.to_string(),
    };
    let given = match &value.kind {
        ValueKind::String(text) => Given::Text(text.clone()),
        ValueKind::I64(number) => Given::Number(*number),
        ValueKind::Boolean(switch) => Given::Switch(*switch),
        ValueKind::Array(parts) => Given::List(parts.iter().map(text).collect()),
        _ => Given::Other,
    };
    Some(Entry {
        key: path.to_owned(),
        origin: value.origin().unwrap_or(BUILT_IN).to_owned(),
        given,
    })
}

/// A configuration file that may or may not have to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigFile {
    /// Named by the operator: must be there.
    Required(PathBuf),
    /// At its usual place: read if there.
    IfPresent(PathBuf),
    /// Not read.
    Unused,
}

impl ConfigFile {
    /// Path and text of the file, if it is to be read and there.
    ///
    /// # Errors
    /// It must be there and is not, or it is there and cannot be read.
    pub fn read(&self) -> Result<Option<(String, String)>, SettingsError> {
        let Some((path, bytes)) = self.bytes(FileKind::Own)? else {
            return Ok(None);
        };
        Ok(Some((path.display().to_string(), utf8(path, bytes)?)))
    }

    /// As [`ConfigFile::read`], for a file that other programs own: what is not UTF-8 in it is replaced by U+FFFD.
    ///
    /// # Errors
    /// It must be there and is not, or it is there and cannot be read.
    pub fn read_shared(&self, kind: FileKind) -> Result<Option<(String, String)>, SettingsError> {
        let file = self.bytes(kind)?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(file.map(|(path, bytes)| (path.display().to_string(), text(bytes))))
    }

    fn bytes(&self, kind: FileKind) -> Result<Option<(&Path, Vec<u8>)>, SettingsError> {
        let (path, must_exist) = match self {
            Self::Required(path) => (path, true),
            Self::IfPresent(path) => (path, false),
            Self::Unused => return Ok(None),
        };
        match read_limited(path) {
            Ok(bytes) if bytes.len() as u64 > FILE_BYTES_MAX => Err(SettingsError::TooLarge {
                path: path.clone(),
                limit: FILE_BYTES_MAX,
            }),
            Ok(bytes) => Ok(Some((path, bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => Ok(None),
            Err(source) => Err(unreadable(path, kind, source)),
        }
    }

    /// The values of the file, read as our own TOML.
    ///
    /// # Errors
    /// As [`ConfigFile::read`]; a text that is not TOML; an unknown key.
    pub fn read_own<S: Schema>(&self) -> Result<Layer, SettingsError> {
        match self.read()? {
            Some((path, text)) => own_file::parse::<S>(&path, &text),
            None => Ok(Layer::default()),
        }
    }
}

fn unreadable(path: &Path, kind: FileKind, source: io::Error) -> SettingsError {
    let is_forbidden = source.kind() == io::ErrorKind::PermissionDenied;
    let path = path.to_owned();
    match file_access(&path, kind).filter(|_| is_forbidden) {
        Some(access) => SettingsError::Forbidden { path, access },
        None => SettingsError::Unreadable { path, source },
    }
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(bytes)
}

fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String, SettingsError> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or(&[]);
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        SettingsError::Syntax {
            origin: format!("{}:{line}", path.display()),
            reason: "not UTF-8; save the file in UTF-8".to_owned(),
        }
    })
}
