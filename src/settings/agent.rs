//! The settings of `osad`.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::SettingsError;
use super::layers::{BUILT_IN, ConfigFile, Layer, Values};
use super::legacy::osad::LegacyFiles;
use super::log::{LogLevel, LogSettings};
use super::names::{HostPort, ProxyAddress, ServerUrl, XMPP_PORT};
use super::schema::{Schema, settings};
use super::units::format_duration;
use super::value::{CommandLine, Given};
use super::{Loaded, is_known_elsewhere};
use crate::domain::secret::Secret;

/// Where the agent's own configuration is, unless `--config` names another file.
pub const CONFIG_FILE: &str = "/etc/osa/osad.toml";
/// Where existing agents have theirs, unless `--cfg` names another file.
pub const LEGACY_FILE: &str = "/etc/sysconfig/rhn/osad.conf";
/// Where a managed system says who its server is.
pub const UP2DATE_FILE: &str = "/etc/sysconfig/rhn/up2date";

settings! {
    /// The agent as a whole.
    pub struct AgentSettings in "" {
        /// Registration servers, best first. Each also names the host of its XMPP server. Not an IP address.
        /// In `osad.conf`: `server_url`; in `up2date`: `serverURL`.
        server_url: Vec<ServerUrl> = None, Restart;
        /// XMPP server to try first, if it is not the host of `server_url` at port 5222. Not an IP address.
        jabber_server: Option<HostPort> = None, Restart;
        /// Whether to try the other servers of `server_url` if the first does not answer.
        enable_failover: bool = Some("false"), Restart;
        /// The system's identity, written when the system was registered. In `up2date`: `systemIdPath`.
        systemid: PathBuf = Some("/etc/sysconfig/rhn/systemid"), Restart;
        /// The agent's XMPP account; the agent writes it, mode 0600.
        auth_file: PathBuf = Some("/etc/sysconfig/rhn/osad-auth.conf"), Restart;
        /// Directory of runs and their results; they survive the agent.
        state_dir: PathBuf = Some("/var/lib/osad"), Restart;
        /// Identity of the machine. A change means that the system is a clone, which needs an account of its own.
        machine_id_path: PathBuf = Some("/etc/machine-id"), Restart;
        /// How far the time in a request may be from ours; requests beyond it are refused.
        max_time_drift: Duration = Some("120s"), Restart;
        /// How long the server may be silent before the agent connects anew.
        silence_timeout: Duration = Some("90s"), Restart;
        /// How long SIGTERM waits for reports to be sent. A running check is never waited for, nor stopped.
        drain_timeout: Duration = Some("5s"), Restart;
        /// A file whose existence says that the dispatcher is enabled on this machine; then the agent does not start.
        dispatcher_marker: PathBuf = Some("/etc/systemd/system/multi-user.target.wants/osa-dispatcher.service"), Restart;
        /// Start even so.
        run_beside_dispatcher: bool = Some("false"), Restart;
    }
    with {
        /// The check.
        check: CheckSettings,
        /// Certificates.
        tls: TlsSettings,
        /// HTTP proxy.
        proxy: ProxySettings,
        /// Reconnecting.
        reconnect: ReconnectSettings,
        /// TCP keepalive.
        keepalive: KeepaliveSettings,
        /// Logs.
        log: LogSettings,
    }
}

settings! {
    /// What a request starts.
    pub struct CheckSettings in "check." {
        /// Whether requests start the command; `false` only acknowledges them. In `osad.conf`: `run_rhn_check`.
        enabled: bool = Some("true"), Restart;
        /// The program to run and its arguments, split at white space; no shell reads them. It must be idempotent: a
        /// request can arrive twice. In `osad.conf`: `rhn_check_command`.
        command: CommandLine = Some("/usr/sbin/rhn_check"), Restart;
    }
}

settings! {
    /// Whom to trust.
    pub struct TlsSettings in "tls." {
        /// Certificates of the authorities that may sign the servers' certificates, PEM. In `osad.conf`:
        /// `osa_ssl_cert`; in `up2date`: `sslCACert`.
        ca: PathBuf = Some("/usr/share/rhn/RHN-ORG-TRUSTED-SSL-CERT"), Restart;
    }
}

settings! {
    /// The HTTP proxy between this system and its servers. In `osad.conf` and `up2date`: `enableProxy`, `httpProxy`,
    /// `enableProxyAuth`, `proxyUser`, `proxyPassword`. An empty text takes back what those files set.
    pub struct ProxySettings in "proxy." {
        /// The proxy. Without it: direct connections. It must let us CONNECT to the ports of registration and XMPP
        /// (443, 5222), and resolves the servers' names.
        server: Option<ProxyAddress> = None, Restart;
        /// User name at the proxy.
        user: Option<String> = None, Restart;
        /// Password at the proxy. A file that holds it should have mode 0600.
        password: Option<Secret> = None, Restart;
    }
}

settings! {
    /// How to come back after a lost connection: after a random time between zero and a bound that doubles from
    /// `min` to `max` with every failure.
    pub struct ReconnectSettings in "reconnect." {
        /// The bound after the first failure.
        min: Duration = Some("1s"), Restart;
        /// The bound after many failures; at least `min`. Also how often, at most and at first, an agent with several servers looks
        /// for the first while it is on another.
        max: Duration = Some("5min"), Restart;
        /// How long a connection must last for the bound to start at `min` again.
        stable_after: Duration = Some("60s"), Restart;
    }
}

settings! {
    /// TCP keepalive of the connection. In `osad.conf`: `tcp_keepalive_timeout`, `tcp_keepalive_count`.
    pub struct KeepaliveSettings in "keepalive." {
        /// How long a connection is idle before the first probe.
        timeout: Duration = Some("30min"), Restart;
        /// How many probes go unanswered before the connection is dead.
        count: NonZeroU32 = Some("3"), Restart;
    }
}

/// What the command line says about settings.
#[derive(Clone, Debug, Default)]
pub struct AgentFlags {
    /// `--config FILE`: instead of [`CONFIG_FILE`]; then the legacy files are read only if they are named as well, so
    /// that the file alone decides.
    pub config: Option<PathBuf>,
    /// `--cfg FILE`: instead of [`LEGACY_FILE`].
    pub cfg: Option<PathBuf>,
    /// `--up2date FILE`: instead of [`UP2DATE_FILE`].
    pub up2date: Option<PathBuf>,
    /// `--jabber-server HOST[:PORT]`.
    pub jabber_server: Option<String>,
    /// `--logfile FILE`.
    pub logfile: Option<PathBuf>,
    /// How often `-v` was given.
    pub verbose: u8,
}

impl AgentFlags {
    fn own_file(&self) -> ConfigFile {
        match &self.config {
            Some(path) => ConfigFile::Required(path.clone()),
            None => ConfigFile::IfPresent(PathBuf::from(CONFIG_FILE)),
        }
    }

    fn legacy_file(&self, named: Option<&PathBuf>, usual: &str) -> ConfigFile {
        match (named, &self.config) {
            (Some(path), _) => ConfigFile::Required(path.clone()),
            (None, Some(_)) => ConfigFile::Unused,
            (None, None) => ConfigFile::IfPresent(PathBuf::from(usual)),
        }
    }

    fn layer(&self) -> Layer {
        let mut layer = Layer::default();
        if let Some(server) = &self.jabber_server {
            layer.push("jabber_server", Given::Text(server.clone()), "flag --jabber-server");
        }
        if let Some(file) = &self.logfile {
            layer.push("log.file", Given::Text(file.display().to_string()), "flag --logfile");
        }
        if self.verbose > 0 {
            let level = LogLevel::from_verbosity(self.verbose).as_str();
            layer.push("log.level", Given::Text(level.to_owned()), "flag -v");
        }
        layer
    }
}

/// Where the agent registers and connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentServer {
    /// The registration server.
    pub url: ServerUrl,
    /// Its XMPP server.
    pub jabber: HostPort,
}

impl AgentSettings {
    /// Loads the settings from the files, the environment and the flags.
    ///
    /// # Errors
    /// [`SettingsError`], naming file and line, variable or flag.
    pub fn load(
        flags: &AgentFlags,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded<Self>, SettingsError> {
        let legacy = LegacyFiles {
            osad: flags.legacy_file(flags.cfg.as_ref(), LEGACY_FILE).read()?,
            up2date: flags.legacy_file(flags.up2date.as_ref(), UP2DATE_FILE).read()?,
        };
        let (legacy, mut warnings) = legacy.layer()?;
        let own = flags.own_file().read_own::<Self>()?;
        let (environment, unknown) = Layer::environment::<Self>(environment, is_known_elsewhere);
        warnings.extend(unknown);
        let name = flags
            .config
            .as_deref()
            .unwrap_or(Path::new(CONFIG_FILE))
            .display()
            .to_string();
        let layers = vec![Layer::defaults::<Self>(), legacy, own, environment, flags.layer()];
        let values = Values::stack::<Self>(layers, &name)?;
        let settings = Self::from_values(&values)?;
        settings.check(&values)?;
        Ok(Loaded {
            settings,
            warnings,
            values,
        })
    }

    /// The servers to try, in this order: one, or with `enable_failover` all of them. A `jabber_server` belongs to the
    /// URL with its host, else to the first.
    ///
    /// Source: compatibility contract, section 4.5.
    pub fn servers(&self) -> Vec<AgentServer> {
        let at_url = |url: &ServerUrl| AgentServer {
            url: url.clone(),
            jabber: HostPort {
                host: url.host.clone(),
                port: XMPP_PORT,
            },
        };
        let mut servers: Vec<AgentServer> = self.server_url.iter().map(at_url).collect();
        if let Some(jabber) = &self.jabber_server {
            let matching = servers.iter().position(|server| server.url.host == jabber.host);
            if matching.unwrap_or(0) < servers.len() {
                let mut primary = servers.remove(matching.unwrap_or(0));
                primary.jabber = jabber.clone();
                servers.insert(0, primary);
            }
        }
        if !self.enable_failover {
            servers.truncate(1);
        }
        servers
    }

    fn check(&self, values: &Values) -> Result<(), SettingsError> {
        if self.reconnect.min <= self.reconnect.max {
            return Ok(());
        }
        Err(SettingsError::Contradiction {
            origin: match values.origin("reconnect.min") {
                BUILT_IN => values.origin("reconnect.max").to_owned(),
                origin => origin.to_owned(),
            },
            key: "reconnect.min",
            given: format_duration(self.reconnect.min),
            rule: "at most",
            other: "reconnect.max",
            bound: format_duration(self.reconnect.max),
        })
    }
}
