//! A site's own XMPP server, which the dispatcher can work over instead of being one.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Loaded;
use super::database::{Deployment, one_of};
use super::dispatcher::DispatcherSettings;
use super::error::{SettingsError, SettingsWarning, Unfit};
use super::layers::{BUILT_IN, Layer, Values};
use super::names::{DomainName, NameError, XMPP_PORT, split_port};
use super::schema::{Key, settings};
use super::value::{Given, SettingValue, Shape, list};
use crate::domain::secret::Secret;

settings! {
    /// The site's own XMPP server (jabberd2, ejabberd or Prosody), with `transport = "client"` or `"component"`.
    pub struct UpstreamSettings in "upstream." {
        /// Where it is, by name or IP address; the nodes of a cluster are tried in turn. Their certificate is for `hostname` all
        /// the same, which is also the domain of all accounts. Without it: `hostname`, port 5222; for a component 127.0.0.1,
        /// port 5347.
        server: Option<Vec<UpstreamServer>> = None, Restart;
        /// Certificates of the authorities that may sign its certificate, PEM; read at each connection. Needed with
        /// `transport = "client"`, and for a component whose server is not on this machine.
        ca: Option<PathBuf> = None, Restart;
        /// Whether a certificate without any subjectAltName may have the name as its subject's common name, as old ones of
        /// Satellites do. The start warns of it. It helps the dispatcher only: `osad` always wants a subjectAltName.
        common_name: bool = Some("false"), Restart;
        /// Name of the component, as in the server's configuration: a domain of the dispatcher's own, other than `hostname`.
        /// Needed with `transport = "component"`.
        component: Option<DomainName> = None, Restart;
        /// The secret that the server knows of it. A file that holds it should not be readable by every user.
        secret: Option<Secret> = None, Restart;
        /// For tests of whole deployments, which use debug builds: how long it may be silent.
        #[cfg(debug_assertions)]
        silence_timeout: Duration = Some("80s"), Restart;
    }
}

impl UpstreamSettings {
    /// How long the server may be silent; it is asked for a word before. Agents must be shown as offline within 90 s.
    pub const fn silence_timeout(&self) -> Duration {
        #[cfg(debug_assertions)]
        return self.silence_timeout;
        #[cfg(not(debug_assertions))]
        Duration::from_secs(80)
    }
}

/// How the dispatcher reaches the agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// They connect to it.
    Embedded,
    /// It and they are clients of the site's own XMPP server.
    Client,
    /// They are clients of that server, and it is a component of it (XEP-0114).
    Component,
}

impl Transport {
    /// As it is written.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Client => "client",
            Self::Component => "component",
        }
    }
}

impl SettingValue for Transport {
    const ACCEPTED: &'static str = "embedded, client or component";

    fn read(given: &Given) -> Result<Self, Unfit> {
        let named = [Self::Embedded, Self::Client, Self::Component].map(|transport| (transport.as_str(), transport));
        one_of(given, named, Self::ACCEPTED)
    }
}

/// A place to connect to. The name that is verified is another matter, so an IP address is as good as a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamAddress {
    /// Name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// A place as it is given: what the port is without one depends on the transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamServer {
    host: String,
    port: Option<u16>,
}

impl UpstreamServer {
    /// Reads `HOST` or `HOST:PORT`, an IPv6 address with a port in brackets.
    ///
    /// # Errors
    /// [`NameError`] for a bad name or a bad port.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (host, port) = split_port(text)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let host = match bare.parse::<IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => DomainName::parse(host)?.to_string(),
        };
        Ok(Self { host, port })
    }

    fn with_port(&self, usual: u16) -> UpstreamAddress {
        UpstreamAddress {
            host: self.host.clone(),
            port: self.port.unwrap_or(usual),
        }
    }
}

impl UpstreamAddress {
    /// Whether it is on this machine by what it says: no name can be known to lead here, but one.
    fn is_here(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(formatter, "[{}]:{}", self.host, self.port),
            false => write!(formatter, "{}:{}", self.host, self.port),
        }
    }
}

impl SettingValue for Vec<UpstreamServer> {
    const ACCEPTED: &'static str = "1 to 16 hosts with or without port, such as [\"satellite.example.com:5222\"]";
    const SHAPE: Shape = Shape::List;

    fn read(given: &Given) -> Result<Self, Unfit> {
        let servers = list::<Self>(given)?.into_iter().map(UpstreamServer::parse);
        Ok(servers.collect::<Result<_, _>>()?)
    }
}

/// Port of components (XEP-0114, section 2).
const COMPONENT_PORT: u16 = 5347;
/// The only place where nobody can listen to a connection without TLS.
const LOOPBACK: &str = "127.0.0.1";

/// What a Satellite's files say of the transport that is not in use: of the other server, or of our own.
const OF_OTHERS: [(Transport, &[&str]); 3] = [
    (Transport::Embedded, &["upstream."]),
    (Transport::Client, &["tls."]),
    // Its port for clients is not the one for components.
    (Transport::Component, &["tls.", "upstream.server"]),
];
/// Groups whose defaults nothing uses with another transport than the embedded one.
const OF_EMBEDDED: [&str; 3] = ["xmpp.", "tls.", "accounts."];
/// Single ones of them.
const OF_LISTENERS: [&str; 3] = [
    "limits.logging_in",
    "limits.logging_in_per_address",
    "limits.login_timeout",
];

/// Keys that are about components.
const OF_COMPONENTS: [&str; 2] = ["upstream.component", "upstream.secret"];

/// Leaves out of a Satellite's values what is for the other transport.
pub(super) fn keep_used(satellite: &mut Layer, transport: Transport) {
    let unused = OF_OTHERS.iter().filter(|(used, _)| *used == transport);
    for prefix in unused.flat_map(|(_, prefixes)| *prefixes) {
        satellite.0.retain(|entry| !entry.key.starts_with(prefix));
    }
}

/// Whether nothing uses a setting with this transport.
pub(super) fn is_unused(transport: Transport, key: &str) -> bool {
    let of_embedded = OF_LISTENERS.contains(&key) || OF_EMBEDDED.iter().any(|prefix| key.starts_with(prefix));
    match transport {
        Transport::Embedded => key.starts_with("upstream."),
        Transport::Client => OF_COMPONENTS.contains(&key) || of_embedded,
        Transport::Component => of_embedded,
    }
}

impl Loaded<DispatcherSettings> {
    /// Keys whose values differ in a newer reading, but for those that one of the two transports does not use: with the
    /// transport, their defaults come and go.
    pub fn changed_to<'a>(&'a self, newer: &'a Self) -> impl Iterator<Item = &'static Key> + 'a {
        let transports = [self.settings.transport, newer.settings.transport];
        let is_unused = move |key: &str| transports.iter().any(|transport| is_unused(*transport, key));
        self.values
            .changed(&newer.values)
            .filter(move |key| !is_unused(key.path))
    }
}

impl DispatcherSettings {
    /// Where the site's own XMPP server is, in the order of trial; at least one place.
    pub fn upstream_servers(&self) -> Vec<UpstreamAddress> {
        let (host, port) = match self.transport {
            Transport::Embedded | Transport::Client => (self.hostname.as_str(), XMPP_PORT),
            Transport::Component => (LOOPBACK, COMPONENT_PORT),
        };
        match &self.upstream.server {
            Some(servers) => servers.iter().map(|server| server.with_port(port)).collect(),
            None => vec![UpstreamAddress {
                host: host.to_owned(),
                port,
            }],
        }
    }

    /// Whom to trust there; nobody, if a component's server is on this machine.
    pub fn upstream_authority(&self) -> Option<&Path> {
        self.upstream.ca.as_deref().filter(|_| self.upstream_has_tls())
    }

    fn upstream_has_tls(&self) -> bool {
        match self.transport {
            Transport::Embedded | Transport::Client => true,
            Transport::Component => !self.upstream_servers().iter().all(UpstreamAddress::is_here),
        }
    }

    /// The domain of the dispatcher's JID.
    pub fn dispatcher_domain(&self) -> &DomainName {
        match (self.transport, &self.upstream.component) {
            (Transport::Component, Some(component)) => component,
            (Transport::Component, None) | (Transport::Embedded | Transport::Client, _) => &self.hostname,
        }
    }

    /// Whether there is what the transport needs.
    pub(super) fn check_transport(&self, values: &Values) -> Result<(), SettingsError> {
        match (self.transport, self.deployment) {
            (Transport::Embedded, _) => return Ok(()),
            (Transport::Client | Transport::Component, Deployment::Satellite) => return self.check_upstream(values),
            (Transport::Client | Transport::Component, Deployment::Standalone) => {}
        }
        Err(SettingsError::Contradiction {
            origin: values.origin("transport").to_owned(),
            key: "transport",
            given: format!("{:?}", self.transport.as_str()),
            rule: "used with",
            other: "deployment",
            bound: "\"satellite\"; a standalone dispatcher is the server itself, with transport = \"embedded\""
                .to_owned(),
        })
    }

    fn check_upstream(&self, values: &Values) -> Result<(), SettingsError> {
        let UpstreamSettings {
            ca, component, secret, ..
        } = &self.upstream;
        let is_component = self.transport == Transport::Component;
        let needed = [
            (
                "upstream.component",
                !is_component || component.is_some(),
                "the name of the component in the configuration of the XMPP server",
            ),
            (
                "upstream.secret",
                !is_component || secret.is_some(),
                "the secret of the component in the configuration of the XMPP server",
            ),
            (
                "upstream.ca",
                !self.upstream_has_tls() || ca.is_some(),
                "the path of the CA certificate of the XMPP server",
            ),
        ];
        if let Some((key, _, wanted)) = needed.into_iter().find(|(_, is_there, _)| !is_there) {
            let file = values.own_file().to_owned();
            return Err(SettingsError::Missing { key, file, wanted });
        }
        match component
            .as_ref()
            .filter(|name| is_component && **name == self.hostname)
        {
            None => Ok(()),
            Some(name) => Err(SettingsError::Contradiction {
                origin: values.origin("upstream.component").to_owned(),
                key: "upstream.component",
                given: format!("\"{name}\""),
                rule: "another name than",
                other: "hostname",
                bound: format!("\"{name}\""),
            }),
        }
    }

    /// What somebody set that nothing uses: one warning for each table.
    pub(super) fn without_effect(&self, values: &Values) -> Vec<SettingsWarning> {
        let mut tables: BTreeMap<&str, (&str, Vec<&str>)> = BTreeMap::new();
        for (key, _, origin) in values.shown() {
            if origin != BUILT_IN && is_unused(self.transport, key) {
                let table = key.split('.').next().unwrap_or(key);
                tables.entry(table).or_insert((origin, Vec::new())).1.push(key);
            }
        }
        let warning = |(origin, keys): (&str, Vec<&str>)| SettingsWarning::WithoutEffect {
            origin: origin.to_owned(),
            transport: self.transport.as_str(),
            keys: keys.join(", "),
        };
        tables.into_values().map(warning).collect()
    }

    /// That certificates are accepted by what modern clients do not look at.
    pub(super) fn common_name_accepted(&self, values: &Values) -> Option<SettingsWarning> {
        let is_accepted = self.transport != Transport::Embedded && self.upstream.common_name;
        let origin = values.origin("upstream.common_name").to_owned();
        is_accepted.then_some(SettingsWarning::CommonNameAccepted { origin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_names_or_addresses() {
        let parsed = |text: &str| UpstreamServer::parse(text).map(|server| server.with_port(5222).to_string());

        assert_eq!(parsed("Sat.example."), Ok("sat.example:5222".to_owned()));
        assert_eq!(parsed("sat.example:5223"), Ok("sat.example:5223".to_owned()));
        assert_eq!(parsed("127.0.0.1:5299"), Ok("127.0.0.1:5299".to_owned()));
        assert_eq!(parsed("::1"), Ok("[::1]:5222".to_owned()));
        assert_eq!(parsed("[2001:db8::1]:5223"), Ok("[2001:db8::1]:5223".to_owned()));
        assert_eq!(parsed("a b"), Err(NameError::Name));
        assert_eq!(parsed("sat.example:0"), Err(NameError::Port));
    }
}
