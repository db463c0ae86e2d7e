//! Where the files of a Satellite are.

use std::path::{Path, PathBuf};

use super::satellite::SatelliteFiles;
use crate::domain::file_access::FileKind;
use crate::settings::dispatcher::DispatcherFlags;
use crate::settings::error::SettingsError;
use crate::settings::layers::ConfigFile;

/// The Satellite's configuration, unless `--rhn-conf` names another file.
pub const RHN_CONF: &str = "/etc/rhn/rhn.conf";
/// The packaged defaults, newer releases first.
const DEFAULTS: [&str; 2] = ["/usr/share/rhn/config-defaults", "/etc/rhn/default"];
/// Certificate and key of the Satellite in one file, newer releases first; compatibility contract, section 6.1.
const SERVER_PEM: [&str; 2] = ["/etc/pki/spacewalk/jabberd/server.pem", "/etc/jabberd/server.pem"];
/// Where systemd puts what `LoadCredential=` hands over (systemd.exec(5)).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Where to look for the files of a Satellite.
pub struct Places {
    rhn_conf: ConfigFile,
    credentials: Option<PathBuf>,
}

impl Places {
    /// Decides by flags and environment. With `--config` alone, the Satellite's files are not looked for: what is named
    /// there is meant. A credential `rhn.conf` goes before the file at its usual place.
    pub fn new(flags: &DispatcherFlags, environment: &[(String, String)]) -> Self {
        let credentials = environment.iter().find(|(name, _)| name == CREDENTIALS);
        let credentials = credentials.map(|(_, directory)| PathBuf::from(directory));
        let handed_over = handed_over(credentials.as_deref(), "rhn.conf");
        let rhn_conf = match (&flags.rhn_conf, &flags.config) {
            (Some(path), _) => ConfigFile::Required(path.clone()),
            (None, Some(_)) => ConfigFile::Unused,
            (None, None) => handed_over.map_or(ConfigFile::IfPresent(RHN_CONF.into()), ConfigFile::Required),
        };
        Self { rhn_conf, credentials }
    }

    /// Reads the files that are there.
    ///
    /// # Errors
    /// One that is there, or must be, cannot be read.
    pub fn files(&self) -> Result<SatelliteFiles, SettingsError> {
        let Some(rhn_conf) = self.rhn_conf.read_shared(FileKind::Credential)? else {
            return Ok(SatelliteFiles::default());
        };
        Ok(SatelliteFiles {
            rhn_conf: Some(rhn_conf),
            own_defaults: defaults("rhn_osa-dispatcher.conf")?,
            defaults: defaults("rhn.conf")?,
            server_pem: self.server_pem(),
        })
    }

    fn server_pem(&self) -> PathBuf {
        let handed_over = handed_over(self.credentials.as_deref(), "server.pem");
        let [newer, older] = SERVER_PEM.map(PathBuf::from);
        // A directory that may not be looked into counts as holding nothing; the newer place is then named in the error.
        handed_over.unwrap_or(if !newer.exists() && older.exists() {
            older
        } else {
            newer
        })
    }
}

fn handed_over(credentials: Option<&Path>, name: &str) -> Option<PathBuf> {
    Some(credentials?.join(name)).filter(|path| path.exists())
}

fn defaults(name: &str) -> Result<Option<(String, String)>, SettingsError> {
    for directory in DEFAULTS {
        let file = ConfigFile::IfPresent(Path::new(directory).join(name)).read_shared(FileKind::Public)?;
        if file.is_some() {
            return Ok(file);
        }
    }
    Ok(None)
}
