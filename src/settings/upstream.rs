//! A site's own XMPP server, which the dispatcher can work over instead of being one.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::database::{Deployment, one_of};
use super::dispatcher::DispatcherSettings;
use super::error::{SettingsError, SettingsWarning, Unfit};
use super::layers::{Layer, Values};
use super::names::{DomainName, NameError, XMPP_PORT, split_port};
use super::schema::settings;
use super::value::{Given, SettingValue, Shape, list};

settings! {
    /// The site's own XMPP server (jabberd2, ejabberd or Prosody), with `transport = "client"`.
    pub struct UpstreamSettings in "upstream." {
        /// Where it is, by name or IP address; the nodes of a cluster are tried in turn. Their certificate is for `hostname` all
        /// the same, which is also the domain of all accounts. Without it: `hostname`, port 5222.
        server: Option<Vec<UpstreamAddress>> = None, Restart;
        /// Certificates of the authorities that may sign its certificate, PEM; read at each connection. Needed with
        /// `transport = "client"`.
        ca: Option<PathBuf> = None, Restart;
        /// Whether a certificate without any subjectAltName may have the name as its subject's common name, as old ones of
        /// Satellites do. The start warns of it.
        common_name: bool = Some("false"), Restart;
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
}

impl SettingValue for Transport {
    const ACCEPTED: &'static str = "embedded or client";

    fn read(given: &Given) -> Result<Self, Unfit> {
        let named = [("embedded", Self::Embedded), ("client", Self::Client)];
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

impl UpstreamAddress {
    /// Reads `HOST` or `HOST:PORT`, an IPv6 address with a port in brackets; the port is 5222 where it is left out.
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
        Ok(Self {
            host,
            port: port.unwrap_or(XMPP_PORT),
        })
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

impl SettingValue for Vec<UpstreamAddress> {
    const ACCEPTED: &'static str = "1 to 16 hosts with or without port, such as [\"satellite.example.com:5222\"]";
    const SHAPE: Shape = Shape::List;

    fn read(given: &Given) -> Result<Self, Unfit> {
        let servers = list::<Self>(given)?.into_iter().map(UpstreamAddress::parse);
        Ok(servers.collect::<Result<_, _>>()?)
    }
}

/// What a Satellite's files say of the transport that is not in use: of the other server, or of our own.
const OF_OTHERS: [(Transport, &[&str]); 2] = [(Transport::Embedded, &["upstream."]), (Transport::Client, &["tls."])];
/// Groups whose defaults nothing uses with `transport = "client"`.
const OF_EMBEDDED: [&str; 3] = ["xmpp.", "tls.", "accounts."];
/// Single ones of them.
const OF_LISTENERS: [&str; 3] = [
    "limits.logging_in",
    "limits.logging_in_per_address",
    "limits.login_timeout",
];

/// Leaves out of a Satellite's values what is for the other transport.
pub(super) fn keep_used(satellite: &mut Layer, transport: Transport) {
    let unused = OF_OTHERS.iter().filter(|(used, _)| *used == transport);
    for prefix in unused.flat_map(|(_, prefixes)| *prefixes) {
        satellite.0.retain(|entry| !entry.key.starts_with(prefix));
    }
}

/// Shows no default that nothing uses with this transport.
pub(super) fn hide_unused(transport: Transport, values: &mut Values) {
    let is_unused = |key: &str| match transport {
        Transport::Embedded => key.starts_with("upstream."),
        Transport::Client => OF_LISTENERS.contains(&key) || OF_EMBEDDED.iter().any(|prefix| key.starts_with(prefix)),
    };
    values.hide_defaults(is_unused);
}

impl DispatcherSettings {
    /// Where the site's own XMPP server is, in the order of trial; at least one place.
    pub fn upstream_servers(&self) -> Vec<UpstreamAddress> {
        self.upstream.server.clone().unwrap_or_else(|| {
            vec![UpstreamAddress {
                host: self.hostname.to_string(),
                port: XMPP_PORT,
            }]
        })
    }

    /// Whether there is what the transport needs.
    pub(super) fn check_transport(&self, file: &str) -> Result<(), SettingsError> {
        match (self.transport, self.deployment, &self.upstream.ca) {
            (Transport::Embedded, _, _) | (Transport::Client, Deployment::Satellite, Some(_)) => Ok(()),
            (Transport::Client, Deployment::Standalone, _) => Err(SettingsError::Contradiction {
                key: "transport",
                given: "\"client\"".to_owned(),
                rule: "used with",
                other: "deployment",
                bound: "\"satellite\"; a standalone dispatcher is the server itself, with transport = \"embedded\""
                    .to_owned(),
            }),
            (Transport::Client, Deployment::Satellite, None) => Err(SettingsError::Missing {
                key: "upstream.ca",
                file: file.to_owned(),
                wanted: "the path of the CA certificate of the XMPP server",
            }),
        }
    }

    /// That certificates are accepted by what modern clients do not look at.
    pub(super) fn common_name_accepted(&self, values: &Values) -> Option<SettingsWarning> {
        let is_accepted = self.transport == Transport::Client && self.upstream.common_name;
        let origin = values.origin("upstream.common_name").to_owned();
        is_accepted.then_some(SettingsWarning::CommonNameAccepted { origin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_names_or_addresses() {
        let parsed = |text: &str| UpstreamAddress::parse(text).map(|server| server.to_string());

        assert_eq!(parsed("Sat.example."), Ok("sat.example:5222".to_owned()));
        assert_eq!(parsed("sat.example:5223"), Ok("sat.example:5223".to_owned()));
        assert_eq!(parsed("127.0.0.1:5299"), Ok("127.0.0.1:5299".to_owned()));
        assert_eq!(parsed("::1"), Ok("[::1]:5222".to_owned()));
        assert_eq!(parsed("[2001:db8::1]:5223"), Ok("[2001:db8::1]:5223".to_owned()));
        assert_eq!(parsed("a b"), Err(NameError::Name));
        assert_eq!(parsed("sat.example:0"), Err(NameError::Port));
    }
}
