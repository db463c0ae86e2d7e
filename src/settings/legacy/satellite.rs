//! What a Satellite's `rhn.conf` and its defaults mean in terms of our own settings.
//!
//! Source: compatibility contract, sections 5.1 and 6.1.

use std::path::PathBuf;

use super::rhn_conf::RhnConf;
use super::satellite_keys::{self, COMPONENT, IGNORED, KEYS, LegacyKey, OWN_NAME, Unusable};
use crate::settings::error::{SettingsError, SettingsWarning};
use crate::settings::layers::Layer;
use crate::settings::value::Given;

/// Where a Satellite keeps the certificate of its database's authority unless `db_sslrootcert` says otherwise.
const DATABASE_AUTHORITY: &str = "/etc/rhn/postgresql-db-root-ca.cert";
/// Key of the name that the Satellite tells its clients.
pub const TOLD_NAME: &str = "server.jabber_server";
/// Stands in a text that was not UTF-8.
const REPLACED: char = '\u{fffd}';

/// The files of a Satellite: name for messages and content, where there is one.
#[derive(Clone, Debug, Default)]
pub struct SatelliteFiles {
    /// `rhn.conf`. Without it, nothing else counts.
    pub rhn_conf: Option<(String, String)>,
    /// `rhn_osa-dispatcher.conf`: the defaults of the dispatcher.
    pub own_defaults: Option<(String, String)>,
    /// `rhn.conf` of the defaults: those of all programs.
    pub defaults: Option<(String, String)>,
    /// The Satellite's certificate and key, in one file.
    pub server_pem: PathBuf,
}

/// What the files say.
#[derive(Clone, Debug, Default)]
pub struct SatelliteReading {
    /// The values under the names of our own settings; none if this is no Satellite.
    pub layer: Layer,
    /// What in them has no effect, or will not work.
    pub warnings: Vec<SettingsWarning>,
    /// The Satellite's `rhn.conf`, if this is one.
    pub rhn_conf: Option<PathBuf>,
    /// An `rhn.conf` without `db_backend`, in which nothing counts.
    pub unused: Option<PathBuf>,
    /// The name that the Satellite tells its clients, and where it says so.
    pub told: Option<ToldName>,
}

/// The name that the Satellite tells its clients to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldName {
    /// The name as it stands there.
    pub name: String,
    /// File, line and key.
    pub origin: String,
}

impl SatelliteFiles {
    /// Reads the files. An `rhn.conf` without `db_backend` is not that of a Satellite (a Proxy has one too): nothing in it
    /// counts.
    ///
    /// # Errors
    /// [`SettingsError`] with file, line and key.
    pub fn read(&self) -> Result<SatelliteReading, SettingsError> {
        let Some((name, text)) = &self.rhn_conf else {
            return Ok(SatelliteReading::default());
        };
        let parsed = |file: &Option<(String, String)>| {
            let file = file.as_ref();
            file.map(|(name, text)| (name.clone(), RhnConf::parse(text)))
        };
        let mut reading = Reading {
            main: (name.clone(), RhnConf::parse(text)),
            defaults: [parsed(&self.own_defaults), parsed(&self.defaults)],
            result: SatelliteReading::default(),
        };
        if reading.found("db_backend", true)?.is_none() {
            reading.result.unused = Some(PathBuf::from(name));
            return Ok(reading.result);
        }
        reading.result.rhn_conf = Some(PathBuf::from(name));
        reading.question();
        for key in &KEYS {
            reading.take(key)?;
        }
        reading.names()?;
        reading.certificates(self);
        Ok(reading.result)
    }
}

/// A value with its place.
#[derive(Clone)]
struct Found {
    text: String,
    origin: String,
}

struct Reading {
    main: (String, RhnConf),
    /// The more particular one first.
    defaults: [Option<(String, RhnConf)>; 2],
    result: SatelliteReading,
}

impl Reading {
    /// Lines and keys without effect. Keys of other components are theirs to know.
    fn question(&mut self) {
        let (path, file) = &self.main;
        let is_known =
            |name: &str| KEYS.iter().any(|key| key.name == name) || name == OWN_NAME || IGNORED.contains(&name);
        let stray = file.stray_lines().iter().map(|line| SettingsWarning::StrayLine {
            origin: format!("{path}:{line}"),
        });
        let unknown = file.component(COMPONENT).filter(|(name, _)| !is_known(name));
        let unknown = unknown.map(|(name, value)| SettingsWarning::UnknownLegacyKey {
            origin: format!("{path}:{}", value.line),
            key: format!("{COMPONENT}.{name}"),
        });
        self.result.warnings.extend(stray.chain(unknown));
    }

    fn take(&mut self, key: &LegacyKey) -> Result<(), SettingsError> {
        let Some(found) = self.found(key.name, key.from_defaults)? else {
            return Ok(());
        };
        if is_quoted(&found.text) {
            let quoted = SettingsWarning::Quoted {
                origin: found.origin.clone(),
            };
            // A key may set several of ours.
            self.result.warnings.retain(|warning| *warning != quoted);
            self.result.warnings.push(quoted);
        }
        match (key.read)(&found.text) {
            Ok(Some(text)) => self.push(key.sets, text, found.origin),
            Ok(None) => {}
            Err(_) if is_quoted(&found.text) => return Err(wrong(key, &found, &Unusable::Quoted)),
            Err(wanted) => return Err(wrong(key, &found, &wanted)),
        }
        Ok(())
    }

    /// The name of this server: the dispatcher's own key, else what clients are told.
    fn names(&mut self) -> Result<(), SettingsError> {
        let (path, file) = &self.main;
        let told = file.value(TOLD_NAME).filter(|value| !value.text.is_empty());
        let told = told.map(|value| Found {
            text: value.text.clone(),
            origin: format!("{path}:{} ({TOLD_NAME})", value.line),
        });
        if told.is_none() {
            let file = path.clone();
            self.result.warnings.push(SettingsWarning::NobodyIsTold { file });
        }
        // The packaged default is a placeholder.
        let own = self.found(OWN_NAME, false)?;
        for found in told.iter().chain(&own) {
            readable(found, OWN_NAME)?;
            if found.text.chars().any(char::is_uppercase) {
                self.result.warnings.push(SettingsWarning::Capitals {
                    origin: found.origin.clone(),
                    name: found.text.clone(),
                });
            }
        }
        if let Some(name) = own.or_else(|| told.clone()) {
            if let Some(server) = satellite_keys::with_port(&name.text) {
                self.push("upstream.server", server, name.origin.clone());
            }
            self.push("hostname", satellite_keys::host(&name.text), name.origin);
        }
        self.result.told = told.map(|told| ToldName {
            name: satellite_keys::host(&told.text),
            origin: told.origin,
        });
        Ok(())
    }

    fn certificates(&mut self, files: &SatelliteFiles) {
        let pem = files.server_pem.display().to_string();
        for key in ["tls.certificate", "tls.key"] {
            self.push(key, pem.clone(), "usual place on a Satellite".to_owned());
        }
        let sets = |key: &str| self.result.layer.0.iter().any(|entry| entry.key == key);
        if sets("postgres.ssl_mode") && !sets("postgres.root_certificate") {
            let origin = "usual place on a Satellite, for db_ssl_enabled".to_owned();
            self.push("postgres.root_certificate", DATABASE_AUTHORITY.to_owned(), origin);
        }
    }

    /// A program's own key wins over the one for all, any file over its defaults; an empty value is none, and takes back
    /// what the defaults say.
    fn found(&self, name: &str, from_defaults: bool) -> Result<Option<Found>, SettingsError> {
        let own = format!("{COMPONENT}.{name}");
        let defaults = self.defaults.iter().flatten().filter(|_| from_defaults);
        for (path, file) in std::iter::once(&self.main).chain(defaults) {
            for key in [own.as_str(), name] {
                let Some(value) = file.value(key) else { continue };
                let found = Found {
                    text: value.text.clone(),
                    origin: format!("{path}:{} ({key})", value.line),
                };
                readable(&found, name)?;
                return Ok(Some(found).filter(|found| !found.text.is_empty()));
            }
        }
        Ok(None)
    }

    fn push(&mut self, key: &str, text: String, origin: String) {
        self.result.layer.push(key, Given::Text(text), origin);
    }
}

/// Other programs of the Satellite take the quotes as part of the value, so its own passwords are right with them.
fn is_quoted(text: &str) -> bool {
    let is_within = |quote| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    is_within('"') || is_within('\'')
}

/// The file is read even where others have put bytes into it that are no text; our values must be.
fn readable(found: &Found, name: &str) -> Result<(), SettingsError> {
    match found.text.contains(REPLACED) {
        true => Err(SettingsError::Syntax {
            origin: found.origin.clone(),
            reason: format!("the value of {name} is not UTF-8; write it in UTF-8"),
        }),
        false => Ok(()),
    }
}

fn wrong(key: &LegacyKey, found: &Found, wanted: &Unusable) -> SettingsError {
    SettingsError::WrongValue {
        origin: found.origin.clone(),
        key: key.name.to_owned(),
        given: format!("{:?}", found.text),
        wanted: wanted.to_string(),
    }
}
