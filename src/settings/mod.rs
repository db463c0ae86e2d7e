//! Configuration: files first, typed, every value with its origin.
//!
//! Layers, each over the one before: built-in defaults, the files of existing installations, our own TOML file,
//! environment variables (`OSA_` and the key), flags. [`schema`] holds the one description of all keys;
//! `docs/config.md` and the files in `config/` are checked against it.

pub mod access;
#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "dispatcher")]
pub mod database;
#[cfg(feature = "dispatcher")]
pub mod dispatcher;
pub mod error;
pub mod layers;
pub mod legacy;
pub mod log;
pub mod names;
pub mod own_file;
pub mod schema;
pub mod units;
#[cfg(feature = "dispatcher")]
pub mod upstream;
pub mod value;

use error::SettingsWarning;
use layers::Values;
use schema::{Key, Schema};

/// Environment variables with our prefix that are no settings.
const OTHER_VARIABLES: [&str; 1] = ["OSA_LOG"];

/// Settings with what the operator may want to know about them.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The settings.
    pub settings: T,
    /// What was passed over.
    pub warnings: Vec<SettingsWarning>,
    /// Every value with its origin.
    pub values: Values,
}

/// Whether a variable belongs to another of our programs, which may share an environment file.
fn is_known_elsewhere(name: &str) -> bool {
    let in_keys = |mut keys: Box<dyn Iterator<Item = &'static Key>>| keys.any(|key| key.variable() == name);
    #[cfg(feature = "agent")]
    if in_keys(Box::new(agent::AgentSettings::keys())) {
        return true;
    }
    #[cfg(feature = "dispatcher")]
    if in_keys(Box::new(dispatcher::DispatcherSettings::keys())) {
        return true;
    }
    OTHER_VARIABLES.contains(&name)
}
