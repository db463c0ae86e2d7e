//! What `osad.conf` and `up2date` mean in terms of our own settings.
//!
//! Source: compatibility contract, section 5.2. Its traps are closed: `enableProxy=0` means off, `httpProxy` may have a
//! scheme, an empty `osa_ssl_cert` counts as absent, `server_url` without `server_name` gives way to `serverURL`.

use super::ini::{Ini, InterpolationError};
use super::switch;
use super::up2date::Up2date;
use crate::settings::error::{SettingsError, SettingsWarning};
use crate::settings::layers::Layer;
use crate::settings::log::LogLevel;
use crate::settings::value::Given;

/// Section of `osad.conf`.
const SECTION: &str = "osad";

/// Every key that `osad.conf` may have, in lower case.
const KNOWN: [&str; 19] = [
    "systemid",
    "debug_level",
    "server_handler",
    "proto",
    "server_name",
    "server_url",
    "enableproxy",
    "enableproxyauth",
    "httpproxy",
    "proxyuser",
    "proxypassword",
    "osa_ssl_cert",
    "logfile",
    "max_time_drift",
    "run_rhn_check",
    "rhn_check_command",
    "enable_failover",
    "tcp_keepalive_timeout",
    "tcp_keepalive_count",
];

/// Known, but not documented.
const UNDOCUMENTED: &str = "auth_file";

/// The legacy files: name for messages and content, where there is one.
#[derive(Clone, Debug, Default)]
pub struct LegacyFiles {
    /// `osad.conf`.
    pub osad: Option<(String, String)>,
    /// `up2date`.
    pub up2date: Option<(String, String)>,
}

/// A legacy value with its place.
struct Found {
    text: String,
    origin: String,
}

impl LegacyFiles {
    /// The values of both files under the names of our own settings, and what in them has no effect.
    ///
    /// # Errors
    /// [`SettingsError`] with file and line.
    pub fn layer(&self) -> Result<(Layer, Vec<SettingsWarning>), SettingsError> {
        let ini = match &self.osad {
            Some((path, text)) => Ini::parse(text).map_err(|error| SettingsError::Syntax {
                origin: format!("{path}:{}", error.line()),
                reason: error.to_string(),
            })?,
            None => Ini::default(),
        };
        let mut reading = Reading {
            files: self,
            warnings: self
                .osad
                .as_ref()
                .map_or_else(Vec::new, |(path, _)| warnings(path, &ini)),
            ini,
            up2date: self
                .up2date
                .as_ref()
                .map(|(_, text)| Up2date::parse(text))
                .unwrap_or_default(),
            layer: Layer::default(),
        };
        reading.server()?;
        reading.files_and_check()?;
        reading.proxy()?;
        reading.numbers()?;
        Ok((reading.layer, reading.warnings))
    }
}

fn warnings(path: &str, ini: &Ini) -> Vec<SettingsWarning> {
    let Some(section) = ini.section(SECTION) else {
        return vec![SettingsWarning::MissingSection {
            origin: path.to_owned(),
            section: SECTION,
        }];
    };
    let is_unknown = |key: &&String| !KNOWN.contains(&key.as_str()) && *key != UNDOCUMENTED;
    // A key that another one refers to is there for that purpose.
    let is_referred = |key: &String| section.values().any(|value| value.text.contains(&format!("%({key})s")));
    let unknown = section.keys().filter(is_unknown).filter(|key| !is_referred(key));
    let warning = |key: &String| SettingsWarning::UnknownLegacyKey {
        origin: format!("{path}:{}", section.get(key).map_or(0, |value| value.line)),
        key: key.clone(),
    };
    unknown.map(warning).collect()
}

struct Reading<'a> {
    files: &'a LegacyFiles,
    ini: Ini,
    up2date: Up2date,
    warnings: Vec<SettingsWarning>,
    layer: Layer,
}

impl Reading<'_> {
    fn server(&mut self) -> Result<(), SettingsError> {
        let own = match self.ini.value(SECTION, "server_url") {
            // The packaged file refers to a key it does not define: the sign to ask up2date.
            Err(InterpolationError::MissingName { name }) if name.eq_ignore_ascii_case("server_name") => None,
            Ok(_) | Err(_) => self.osad("server_url")?,
        };
        if let Some(found) = own.or_else(|| self.up2date("serverURL")) {
            let urls: Vec<String> = found.text.split(';').map(|url| url.trim().to_owned()).collect();
            let urls = urls.into_iter().filter(|url| !url.is_empty()).collect();
            self.layer.push("server_url", Given::List(urls), found.origin);
        }
        if let Some(found) = self.osad("enable_failover")? {
            // Anything but 1 has always meant off.
            self.layer
                .push("enable_failover", Given::Switch(found.text == "1"), found.origin);
        }
        Ok(())
    }

    fn files_and_check(&mut self) -> Result<(), SettingsError> {
        let certificate = self.up2date("sslCACert").map(first_of_list);
        for (found, key) in [
            (self.osad("osa_ssl_cert")?.or(certificate), "tls.ca"),
            (
                self.osad("systemid")?.or_else(|| self.up2date("systemIdPath")),
                "systemid",
            ),
            (self.osad("auth_file")?, "auth_file"),
            (self.osad("logfile")?, "log.file"),
            (self.osad("rhn_check_command")?, "check.command"),
        ] {
            if let Some(found) = found {
                self.layer.push(key, Given::Text(found.text), found.origin);
            }
        }
        if let Some(found) = self.osad("run_rhn_check")? {
            let runs = switch(&found.text).ok_or_else(|| wrong("run_rhn_check", &found, "expected 0 or 1"))?;
            self.layer.push("check.enabled", Given::Switch(runs), found.origin);
        }
        Ok(())
    }

    fn proxy(&mut self) -> Result<(), SettingsError> {
        let Some(switch) = self.either("enableProxy")?.filter(is_on) else {
            return Ok(());
        };
        match self.either("httpProxy")? {
            Some(server) => self.layer.push("proxy.server", Given::Text(server.text), server.origin),
            None => self
                .warnings
                .push(SettingsWarning::ProxyNotNamed { origin: switch.origin }),
        }
        if self.either("enableProxyAuth")?.is_some_and(|found| is_on(&found)) {
            for (legacy, key) in [("proxyUser", "proxy.user"), ("proxyPassword", "proxy.password")] {
                if let Some(found) = self.either(legacy)? {
                    self.layer.push(key, Given::Text(found.text), found.origin);
                }
            }
        }
        Ok(())
    }

    fn numbers(&mut self) -> Result<(), SettingsError> {
        for (legacy, key, unit) in [
            ("tcp_keepalive_timeout", "keepalive.timeout", "s"),
            ("tcp_keepalive_count", "keepalive.count", ""),
            ("max_time_drift", "max_time_drift", "s"),
        ] {
            let Some(found) = self.osad(legacy)? else { continue };
            let number: u32 = found
                .text
                .parse()
                .map_err(|_| wrong(legacy, &found, "expected a whole number"))?;
            self.layer
                .push(key, Given::Text(format!("{number}{unit}")), found.origin);
        }
        if let Some(found) = self.osad("debug_level")? {
            let level: u8 = found
                .text
                .parse()
                .map_err(|_| wrong("debug_level", &found, "expected a number from 0 to 255"))?;
            let level = LogLevel::from_verbosity(level).as_str();
            self.layer
                .push("log.level", Given::Text(level.to_owned()), found.origin);
        }
        Ok(())
    }

    fn either(&self, key: &str) -> Result<Option<Found>, SettingsError> {
        Ok(self.osad(key)?.or_else(|| self.up2date(key)))
    }

    /// A value of `osad.conf`; an empty one counts as absent.
    fn osad(&self, key: &str) -> Result<Option<Found>, SettingsError> {
        let path = self.files.osad.as_ref().map_or("", |(path, _)| path.as_str());
        let line = self.ini.raw(SECTION, key).map_or(0, |raw| raw.line);
        let origin = format!("{path}:{line} ({key})");
        match self.ini.value(SECTION, key) {
            Ok(text) => Ok(text.filter(|text| !text.is_empty()).map(|text| Found { text, origin })),
            Err(error) => Err(SettingsError::Syntax {
                origin,
                reason: error.to_string(),
            }),
        }
    }

    /// A value of `up2date`; an empty one counts as absent.
    fn up2date(&self, key: &str) -> Option<Found> {
        let path = self.files.up2date.as_ref().map_or("", |(path, _)| path.as_str());
        let value = self.up2date.value(key).filter(|value| value.list().next().is_some())?;
        Some(Found {
            text: value.text.clone(),
            origin: format!("{path}:{} ({key})", value.line),
        })
    }
}

/// Any non-empty text but those for "off" is on, as it has always been.
fn is_on(found: &Found) -> bool {
    switch(&found.text).unwrap_or(true)
}

fn first_of_list(found: Found) -> Found {
    let first = found.text.split(';').map(str::trim).find(|part| !part.is_empty());
    Found {
        text: first.unwrap_or("").to_owned(),
        origin: found.origin,
    }
}

fn wrong(key: &str, found: &Found, wanted: &str) -> SettingsError {
    SettingsError::WrongValue {
        origin: found.origin.clone(),
        key: key.to_owned(),
        given: format!("{:?}", found.text),
        wanted: wanted.to_owned(),
    }
}
