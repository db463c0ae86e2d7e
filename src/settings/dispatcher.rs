//! The settings of `osa-dispatcher`.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::database::{DatabaseHost, Deployment, PostgresSettings};
use super::error::{SettingsError, SettingsWarning};
use super::layers::{BUILT_IN, ConfigFile, Layer, Values};
use super::legacy::places::Places;
use super::legacy::satellite::{SatelliteReading, TOLD_NAME, ToldName};
use super::legacy::satellite_keys::KEYS;
use super::log::{LogLevel, LogSettings};
use super::names::{DomainName, ListenAddresses};
use super::schema::{Schema, settings};
use super::upstream::{self, Transport, UpstreamSettings};
use super::value::Given;
use super::{Loaded, is_known_elsewhere};

/// Where the dispatcher's configuration is, unless `--config` names another file.
pub const CONFIG_FILE: &str = "/etc/osa/osa-dispatcher.toml";

settings! {
    /// The dispatcher as a whole. Relative paths start at `data_dir`.
    pub struct DispatcherSettings in "" {
        /// This server's full DNS name: what agents connect to, the domain of their accounts, the name in the
        /// certificate. Not an IP address.
        hostname: DomainName = None, Restart;
        /// What the dispatcher belongs to: nothing, or a Satellite, whose database it uses and which answers registrations.
        deployment: Deployment = Some("standalone"), Restart;
        /// How agents are reached, with a Satellite: they connect to the dispatcher (`embedded`), or to the site's own
        /// XMPP server, of which the dispatcher is a client as well (`client`) or a component (`component`); what `xmpp`, `tls`
        /// and `accounts` say is not used then.
        transport: Transport = Some("embedded"), Restart;
        /// Directory of everything the dispatcher writes.
        data_dir: PathBuf = Some("/var/lib/osa"), Restart;
        /// SQLite database of a standalone deployment; created at the first start.
        database: PathBuf = Some("osa.sqlite3"), Restart;
        /// Unix socket through which the other subcommands speak to the running dispatcher; mode 0600.
        control_socket: PathBuf = Some("control.sock"), Restart;
        /// How long SIGTERM waits for what is under way before connections are closed.
        drain_timeout: Duration = Some("10s"), Restart;
    }
    with {
        /// The Satellite's database.
        postgres: PostgresSettings,
        /// The embedded XMPP server.
        xmpp: XmppSettings,
        /// The site's own one, instead.
        upstream: UpstreamSettings,
        /// The registration endpoint.
        registration: RegistrationSettings,
        /// Certificates.
        tls: TlsSettings,
        /// Push.
        push: PushSettings,
        /// Accounts of agents.
        accounts: AccountSettings,
        /// Limits on what peers can use up.
        limits: LimitSettings,
        /// Logs.
        log: LogSettings,
    }
}

settings! {
    /// The embedded XMPP server, to which agents connect.
    pub struct XmppSettings in "xmpp." {
        /// Addresses to listen on. `[::]` takes IPv4 as well, unless the list holds an IPv4 address with the same port.
        listen: ListenAddresses = Some("[::]:5222"), Restart;
        /// Further names under which agents connect, such as those of Proxies that forward port 5222 here. Each needs a
        /// certificate in `tls.names`.
        names: Option<Vec<DomainName>> = None, Restart;
        /// How often an idle connection gets one byte of white space, so that firewalls keep it.
        keepalive_interval: Duration = Some("60s"), Restart;
    }
}

settings! {
    /// The registration endpoint: XML-RPC over HTTPS at the path `/XMLRPC`.
    pub struct RegistrationSettings in "registration." {
        /// Addresses to listen on, as `xmpp.listen`.
        listen: ListenAddresses = Some("[::]:443"), Restart;
    }
}

settings! {
    /// Certificates. The files are read again at SIGHUP; established connections stay.
    pub struct TlsSettings in "tls." {
        /// The server's certificate with its intermediate ones, PEM.
        certificate: PathBuf = Some("tls/server.crt"), Reload;
        /// Its private key, PEM, mode 0600.
        key: PathBuf = Some("tls/server.key"), Reload;
        /// Directory with certificate and key for each of `xmpp.names`: `NAME.crt` and `NAME.key`, PEM.
        names: PathBuf = Some("tls/names"), Restart;
        /// Certificate of the authority that agents are given to trust, PEM.
        ca: PathBuf = Some("tls/ca.crt"), Reload;
    }
}

settings! {
    /// When systems are woken.
    pub struct PushSettings in "push." {
        /// How often the database is asked for new actions. Actions scheduled through this dispatcher do not wait for it.
        poll_interval: Duration = Some("1s"), Restart;
        /// How often everything due is searched for, whatever may have been missed.
        reconcile_interval: Duration = Some("30s"), Restart;
        /// Most systems that run their check at the same time. Without it: no limit.
        notify_threshold: Option<NonZeroU32> = None, Restart;
        /// Most requests sent per second. Without it: no limit, or 200 with a Satellite, which every check asks for work.
        pushes_per_second: Option<NonZeroU32> = None, Restart;
        /// With a Satellite: labels of entitlements or features, of which a system needs one to be pushed. Without it: none
        /// is needed.
        entitlements: Option<Vec<String>> = None, Restart;
        /// How long a system counts towards `notify_threshold` at most.
        slot_age: Duration = Some("30min"), Restart;
        /// How long a request waits for an answer before it is sent again.
        lease: Duration = Some("60s"), Restart;
        /// How far the time in an existing agent's answers may be off before they are ignored. Without it: any, as those
        /// agents' clocks are often wrong, and nobody ever enforced a limit.
        existing_drift_max: Option<Duration> = None, Restart;
        /// How often an action whose check fails is tried before it counts as failed.
        max_tries: NonZeroU32 = Some("5"), Restart;
        /// For tests of whole deployments, which use debug builds: what the pauses between requests that are no settings
        /// (15 s, 30 s, 60 s, 15 min and 30 min of the push life cycle), and between renewals of the dispatcher's row
        /// beside a Satellite (60 s), are divided by.
        #[cfg(debug_assertions)]
        pause_divisor: NonZeroU32 = Some("1"), Restart;
        /// How long finished requests and runs are kept for `actions` and `status`.
        history_retention: Duration = Some("30d"), Restart;
    }
}

impl PushSettings {
    /// What pauses are divided by: nothing, but in tests.
    pub const fn pauses_divided_by(&self) -> u32 {
        #[cfg(debug_assertions)]
        return self.pause_divisor.get();
        #[cfg(not(debug_assertions))]
        1
    }
}

settings! {
    /// XMPP accounts, which agents register themselves.
    pub struct AccountSettings in "accounts." {
        /// Whether new accounts can be registered. Without, only agents that have one can log in.
        registration_open: bool = Some("true"), Restart;
        /// Whether existing agents may log in by digest. Their passwords are then kept, encrypted with a key in
        /// `passwords.key` in `data_dir`; without, that file is removed. Agents log in with the password inside TLS otherwise.
        digest_login: bool = Some("false"), Restart;
        /// How long an account may exist without belonging to a registered system.
        expire_after: Duration = Some("24h"), Restart;
    }
}

settings! {
    /// Limits on what peers can use up.
    pub struct LimitSettings in "limits." {
        /// Most connections at the same time. Each needs a file descriptor (`LimitNOFILE=` of the service), unless it is at
        /// the site's own server.
        connections: NonZeroU32 = Some("50000"), Restart;
        /// Most connections that have not logged in yet.
        logging_in: NonZeroU32 = Some("4096"), Restart;
        /// Most connections from one address that have not logged in yet. A whole site may stand behind one address.
        logging_in_per_address: NonZeroU32 = Some("2048"), Restart;
        /// How long a connection may take from its first byte to the end of its login.
        login_timeout: Duration = Some("30s"), Restart;
    }
}

/// What the command line says about settings.
#[derive(Clone, Debug, Default)]
pub struct DispatcherFlags {
    /// `--config FILE`: instead of [`CONFIG_FILE`].
    pub config: Option<PathBuf>,
    /// `--rhn-conf FILE`: instead of [`RHN_CONF`](super::legacy::places::RHN_CONF).
    pub rhn_conf: Option<PathBuf>,
    /// `--hostname NAME`.
    pub hostname: Option<String>,
    /// `--data-dir DIR`.
    pub data_dir: Option<PathBuf>,
    /// `--logfile FILE`.
    pub logfile: Option<PathBuf>,
    /// How often `-v` was given.
    pub verbose: u8,
}

impl DispatcherFlags {
    fn layer(&self) -> Layer {
        let mut layer = Layer::default();
        let path = |path: &Path| Given::Text(path.display().to_string());
        if let Some(name) = &self.hostname {
            layer.push("hostname", Given::Text(name.clone()), "flag --hostname");
        }
        if let Some(directory) = &self.data_dir {
            layer.push("data_dir", path(directory), "flag --data-dir");
        }
        if let Some(file) = &self.logfile {
            layer.push("log.file", path(file), "flag --logfile");
        }
        if self.verbose > 0 {
            let level = LogLevel::from_verbosity(self.verbose).as_str();
            layer.push("log.level", Given::Text(level.to_owned()), "flag -v");
        }
        layer
    }
}

/// Requests a second with a Satellite: each starts a check, and all checks ask the Satellite's web server.
const SATELLITE_PUSHES_PER_SECOND: i64 = 200;

/// Lays the layers over each other; a Satellite's files are read for the transport in use, and some defaults are others beside it.
fn stacked(mut layers: Vec<Layer>, own_file: &str) -> Result<Values, SettingsError> {
    let values = Values::stack::<DispatcherSettings>(layers.clone(), own_file)?;
    if let Some(satellite) = layers.get_mut(1) {
        upstream::keep_used(satellite, values.read("transport")?);
    }
    if values.read::<Deployment>("deployment")? == Deployment::Satellite {
        let mut defaults = Layer::default();
        let pushes = Given::Number(SATELLITE_PUSHES_PER_SECOND);
        defaults.push("push.pushes_per_second", pushes, "default with a Satellite");
        layers.insert(1, defaults);
    }
    Values::stack::<DispatcherSettings>(layers, own_file)
}

/// On a Satellite, what is missing belongs into its own file; one that is not used may be why it is missing.
fn in_rhn_conf(error: SettingsError, rhn_conf: Option<&Path>, unused: Option<&Path>) -> SettingsError {
    match (error, rhn_conf.or(unused)) {
        (SettingsError::Missing { key, wanted, file }, Some(path)) if rhn_conf.is_none() => {
            let file = format!("{file} ({} has no db_backend, so it is not used)", path.display());
            SettingsError::Missing { key, file, wanted }
        }
        (SettingsError::Missing { key, wanted, file }, Some(path)) => {
            let legacy = KEYS.iter().find(|legacy| legacy.sets == key).map(|legacy| legacy.name);
            let file = match legacy.or((key == "hostname").then_some(TOLD_NAME)) {
                Some(name) => format!("{} as {name}", path.display()),
                None => file,
            };
            SettingsError::Missing { key, file, wanted }
        }
        (error, _) => error,
    }
}

impl DispatcherSettings {
    /// Loads the settings from the Satellite's files, our own, the environment and the flags.
    ///
    /// # Errors
    /// [`SettingsError`], naming file and line, variable or flag.
    pub fn load(
        flags: &DispatcherFlags,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded<Self>, SettingsError> {
        let environment: Vec<(String, String)> = environment.into_iter().collect();
        let satellite = Places::new(flags, &environment).files()?.read()?;
        let file = match &flags.config {
            Some(path) => ConfigFile::Required(path.clone()),
            None => ConfigFile::IfPresent(PathBuf::from(CONFIG_FILE)),
        };
        let (environment, unknown) = Layer::environment::<Self>(environment, is_known_elsewhere);
        let SatelliteReading {
            layer,
            mut warnings,
            told,
            rhn_conf,
            unused,
        } = satellite;
        warnings.extend(unknown);
        let own = flags.config.as_deref().unwrap_or(Path::new(CONFIG_FILE));
        let name = own.display().to_string();
        let located = |error| in_rhn_conf(error, rhn_conf.as_deref(), unused.as_deref());
        let layers = vec![
            Layer::defaults::<Self>(),
            layer,
            file.read_own::<Self>()?,
            environment,
            flags.layer(),
        ];
        let mut values = stacked(layers, &name)?;
        let settings = Self::from_values(&values).map_err(located)?.resolved();
        let checked = settings.check(&name).and_then(|()| settings.check_transport(&values));
        checked.map_err(located)?;
        warnings.extend(unused.as_deref().and_then(|file| settings.unused(file, name, &values)));
        warnings.extend(settings.no_password(&values));
        warnings.extend(settings.common_name_accepted(&values));
        warnings.extend(told.and_then(|told| settings.other_name(told, &values)));
        settings.hide_unopened(&mut values);
        warnings.extend(settings.without_effect(&values));
        Ok(Loaded {
            settings,
            warnings,
            values,
        })
    }

    /// Whether what only a satellite deployment needs is there.
    fn check(&self, file: &str) -> Result<(), SettingsError> {
        let PostgresSettings {
            name,
            user,
            ssl_mode,
            root_certificate,
            ..
        } = &self.postgres;
        let needed = [
            ("postgres.name", name.is_some(), "a text"),
            ("postgres.user", user.is_some(), "a text"),
            (
                "postgres.root_certificate",
                root_certificate.is_some() || !ssl_mode.wants_authority(),
                "a path",
            ),
        ];
        let missing = needed.into_iter().find(|(_, is_there, _)| !is_there);
        match (self.deployment, missing) {
            (Deployment::Satellite, Some((key, _, wanted))) => Err(SettingsError::Missing {
                key,
                file: file.to_owned(),
                wanted,
            }),
            (Deployment::Satellite | Deployment::Standalone, _) => Ok(()),
        }
    }

    /// What is never opened in this deployment, over this transport.
    fn hide_unopened(&self, values: &mut Values) {
        if self.deployment == Deployment::Satellite {
            values.hide_default("database");
            values.hide_default("registration.listen");
        }
        values.hide_defaults(|key| upstream::is_unused(self.transport, key));
    }

    /// That an `rhn.conf` is not used, unless our own configuration says that there is no Satellite.
    fn unused(&self, rhn_conf: &Path, own: String, values: &Values) -> Option<SettingsWarning> {
        let is_meant = self.deployment == Deployment::Standalone && values.origin("deployment") != BUILT_IN;
        let file = rhn_conf.display().to_string();
        (!is_meant).then_some(SettingsWarning::Unused { file, own })
    }

    /// What is odd about a database that is asked over the network.
    fn no_password(&self, values: &Values) -> Option<SettingsWarning> {
        let is_asked = self.deployment == Deployment::Satellite
            && matches!(self.postgres.host, Some(DatabaseHost::Server(_)))
            && self.postgres.password.is_none();
        let origin = values.origin("postgres.host").to_owned();
        is_asked.then_some(SettingsWarning::NoPassword { origin })
    }

    /// What is wrong if clients are told another name than this server has.
    fn other_name(&self, told: ToldName, values: &Values) -> Option<SettingsWarning> {
        let ToldName { name, origin } = told;
        let from = values.origin("hostname");
        let differs = self.deployment == Deployment::Satellite && name != self.hostname.as_str();
        differs.then(|| SettingsWarning::OtherNameTold {
            origin,
            told: name,
            hostname: self.hostname.to_string(),
            from: from.to_owned(),
        })
    }

    /// Makes the relative paths start at the data directory.
    fn resolved(mut self) -> Self {
        let tls = &mut self.tls;
        let paths = [
            &mut self.database,
            &mut self.control_socket,
            &mut tls.certificate,
            &mut tls.key,
            &mut tls.names,
            &mut tls.ca,
        ];
        let paths = paths
            .into_iter()
            .chain(&mut self.postgres.root_certificate)
            .chain(&mut self.upstream.ca);
        for path in paths.chain(&mut self.log.file) {
            *path = self.data_dir.join(&*path);
        }
        self
    }
}
