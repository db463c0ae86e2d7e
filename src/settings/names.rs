//! Names and addresses of hosts, as settings give them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Port of XMPP clients (RFC 6120, section 3.2).
pub const XMPP_PORT: u16 = 5222;
/// Port of HTTPS.
pub const HTTPS_PORT: u16 = 443;
/// Port of an HTTP proxy that is written without one.
const HTTP_PORT: u16 = 80;
/// Longest host name (RFC 1035, section 2.3.4). Units: bytes.
const NAME_BYTES_MAX: usize = 253;
/// Longest part of a host name between dots (RFC 1035, section 2.3.4). Units: bytes.
const LABEL_BYTES_MAX: usize = 63;

/// Why a text is not the name or address that a setting wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// An IP address stands where a certificate must be checked against a name.
    #[error("an IP address cannot be checked against the server's certificate; give the host name in that certificate")]
    IpAddress,
    /// Not a host name.
    #[error("expected a host name, such as \"satellite.example.com\"")]
    Name,
    /// Not a port number.
    #[error("expected a port from 1 to 65535 after the colon")]
    Port,
    /// Not an HTTPS URL.
    #[error("expected an HTTPS URL, such as \"https://satellite.example.com/XMLRPC\"")]
    Url,
    /// Not an HTTP proxy.
    #[error("expected an HTTP proxy as \"host:port\"")]
    Proxy,
    /// User name and password stand where they would be shown.
    #[error(
        "expected an HTTP proxy as \"host:port\", with the user name in proxyUser and the password in proxyPassword"
    )]
    ProxyLogin,
}

/// A host's DNS name: ASCII (IDNA), lower-case, without trailing dot; never an IP address.
///
/// Lower-case, because existing peers compare addresses as plain strings (compatibility contract, section 1.7).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

impl DomainName {
    /// Reads a host name.
    ///
    /// # Errors
    /// [`NameError::IpAddress`] for an address literal, [`NameError::Name`] for anything else that is not a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        if bare.parse::<IpAddr>().is_ok() {
            return Err(NameError::IpAddress);
        }
        let ascii = idna::domain_to_ascii(text).map_err(|_| NameError::Name)?;
        // A numeric last label makes resolvers read the whole as an address, "10.1" as 10.0.0.1.
        let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
        if ascii.rsplit('.').next().is_some_and(is_number) && !ascii.is_empty() {
            return Err(NameError::IpAddress);
        }
        if ascii.len() > NAME_BYTES_MAX || !ascii.split('.').all(is_label) {
            return Err(NameError::Name);
        }
        Ok(Self(ascii))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn is_label(label: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !label.is_empty()
        && label.len() <= LABEL_BYTES_MAX
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(is_inner)
}

/// A server to connect to by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Name of the host; the server's certificate must carry it.
    pub host: DomainName,
    /// TCP port.
    pub port: u16,
}

impl HostPort {
    /// Reads `HOST` or `HOST:PORT`; the port is 5222 where it is left out.
    ///
    /// # Errors
    /// [`NameError`] for an IP address, a bad name or a bad port.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (host, port) = split_port(text)?;
        Ok(Self {
            host: DomainName::parse(host)?,
            port: port.unwrap_or(XMPP_PORT),
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

/// An HTTP proxy. It is not authenticated, so an IP address is as good as a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProxyAddress {
    /// Name or address of the proxy, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl ProxyAddress {
    /// Reads `HOST[:PORT]`, with or without `http://` before it and `/` behind it. The port is 80 where it is left out,
    /// as it is for the other programs that read `up2date`.
    ///
    /// # Errors
    /// [`NameError::Proxy`], [`NameError::ProxyLogin`] or [`NameError::Port`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let lower = text.to_ascii_lowercase();
        let rest = lower.strip_prefix("http://").unwrap_or(&lower).trim_end_matches('/');
        if rest.contains('@') {
            return Err(NameError::ProxyLogin);
        }
        if rest.contains("//") {
            return Err(NameError::Proxy);
        }
        let (host, port) = split_port(rest)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.parse::<IpAddr>().is_err() {
            DomainName::parse(host).map_err(|_| NameError::Proxy)?;
        }
        Ok(Self {
            host: host.to_owned(),
            port: port.unwrap_or(HTTP_PORT),
        })
    }
}

impl fmt::Display for ProxyAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(formatter, "[{}]:{}", self.host, self.port),
            false => write!(formatter, "{}:{}", self.host, self.port),
        }
    }
}

/// Where a registration server answers. Always HTTPS: the calls carry the system's identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerUrl {
    /// Name of the host; its certificate must carry it.
    pub host: DomainName,
    /// TCP port.
    pub port: u16,
    /// Path, starting with a slash.
    pub path: String,
}

impl ServerUrl {
    /// Reads `https://HOST[:PORT][/PATH]`; the path is `/XMLRPC` where it is left out.
    ///
    /// # Errors
    /// [`NameError`] for another scheme, an IP address, a bad name or a bad port.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let scheme = text.get(..8).ok_or(NameError::Url)?;
        if !scheme.eq_ignore_ascii_case("https://") {
            return Err(NameError::Url);
        }
        let rest = text.get(8..).unwrap_or("");
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/XMLRPC"),
        };
        let is_path = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        if authority.contains('@') || !path.bytes().all(is_path) {
            return Err(NameError::Url);
        }
        let (host, port) = split_port(authority)?;
        Ok(Self {
            host: DomainName::parse(host)?,
            port: port.unwrap_or(HTTPS_PORT),
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            HTTPS_PORT => write!(formatter, "https://{}{}", self.host, self.path),
            port => write!(formatter, "https://{}:{port}{}", self.host, self.path),
        }
    }
}

/// Separates `HOST:PORT`, `HOST`, `[V6]:PORT`, `[V6]` and bare `V6`.
pub(super) fn split_port(text: &str) -> Result<(&str, Option<u16>), NameError> {
    let colon = match text.rfind(']') {
        Some(bracket) => text
            .get(bracket..)
            .and_then(|rest| rest.find(':'))
            .map(|at| at + bracket),
        None if text.matches(':').count() > 1 => None,
        None => text.find(':'),
    };
    let Some((host, port)) = colon.and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?))) else {
        return Ok((text, None));
    };
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok((host, Some(port))),
        Ok(_) | Err(_) => Err(NameError::Port),
    }
}

/// One socket to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenSocket {
    /// Address and port to bind.
    pub address: SocketAddr,
    /// Whether an IPv6 socket must leave IPv4 alone, because the list has an own address for it.
    pub v6_only: bool,
}

/// Addresses to listen on. `[::]` takes IPv4 as well, unless the list holds an IPv4 address with the same port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddresses(pub Vec<SocketAddr>);

impl ListenAddresses {
    /// The sockets to open.
    pub fn sockets(&self) -> impl Iterator<Item = ListenSocket> + '_ {
        self.0.iter().map(|address| ListenSocket {
            address: *address,
            v6_only: self
                .0
                .iter()
                .any(|other| other.is_ipv4() && other.port() == address.port())
                && address.is_ipv6(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ip_addresses_are_refused_as_names_of_servers() {
        for text in [
            "10.0.0.1",
            "::1",
            "[::1]",
            "10.0.0.1:5222",
            "[2001:db8::1]:5222",
            "10.1",
            "127.0.0.1.",
        ] {
            assert_eq!(HostPort::parse(text), Err(NameError::IpAddress), "{text}");
        }
        assert_eq!(ServerUrl::parse("https://10.0.0.1/XMLRPC"), Err(NameError::IpAddress));
    }

    #[test]
    fn names_become_lower_case_ascii() {
        let name = |text: &str| DomainName::parse(text).map(|name| name.as_str().to_owned());

        assert_eq!(name("Satellite.Example.COM."), Ok("satellite.example.com".to_owned()));
        assert_eq!(name("bücher.example"), Ok("xn--bcher-kva.example".to_owned()));
        for text in ["", ".", "a..b", "-a.example", "a b", &"a".repeat(64), "a/b", "a\nb"] {
            assert_eq!(name(text), Err(NameError::Name), "{text}");
        }
    }

    #[test]
    fn ports_default_by_kind_of_server() {
        assert_eq!(HostPort::parse("sat.example").map(|server| server.port), Ok(5222));
        assert_eq!(HostPort::parse("sat.example:5223").map(|server| server.port), Ok(5223));
        assert_eq!(HostPort::parse("sat.example:0"), Err(NameError::Port));
        assert_eq!(
            ServerUrl::parse("https://sat.example").map(|url| url.to_string()),
            Ok("https://sat.example/XMLRPC".to_owned())
        );
        assert_eq!(
            ServerUrl::parse("https://sat.example:8443/x").map(|url| url.port),
            Ok(8443)
        );
        for text in [
            "http://sat.example/XMLRPC",
            "sat.example",
            "https://a@b/",
            "https://b/ x",
            "https://é",
        ] {
            assert!(ServerUrl::parse(text).is_err() || text.contains('é'), "{text}");
        }
    }

    #[test]
    fn proxy_is_read_with_and_without_scheme() {
        let wanted = Ok(ProxyAddress {
            host: "squid.example".to_owned(),
            port: 3128,
        });

        assert_eq!(ProxyAddress::parse("squid.example:3128"), wanted);
        assert_eq!(ProxyAddress::parse("http://Squid.example:3128/"), wanted);
        for without_port in ["http://squid.example", "squid.example", "squid.example/"] {
            assert_eq!(ProxyAddress::parse(without_port).map(|proxy| proxy.port), Ok(80));
        }
        assert_eq!(
            ProxyAddress::parse("10.0.0.9:3128").map(|proxy| proxy.host),
            Ok("10.0.0.9".to_owned())
        );
        assert_eq!(
            ProxyAddress::parse("http://[2001:db8::9]:3128").map(|proxy| proxy.to_string()),
            Ok("[2001:db8::9]:3128".to_owned())
        );
        for (text, error) in [
            ("https://squid.example:3128", NameError::Proxy),
            ("socks://squid.example:3128", NameError::Proxy),
            ("http://a b:3128", NameError::Proxy),
            ("http://user:hunter2@squid.example:3128", NameError::ProxyLogin),
            ("squid.example:0", NameError::Port),
        ] {
            assert_eq!(ProxyAddress::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn ipv6_socket_leaves_ipv4_alone_when_the_list_has_it() {
        let sockets = |list: &[&str]| {
            let list = ListenAddresses(list.iter().map(|text| text.parse().expect("address")).collect());
            list.sockets().map(|socket| socket.v6_only).collect::<Vec<_>>()
        };

        assert_eq!(sockets(&["[::]:5222"]), [false]);
        assert_eq!(sockets(&["[::]:5222", "0.0.0.0:5222"]), [true, false]);
        assert_eq!(sockets(&["[::]:5222", "0.0.0.0:5223"]), [false, false]);
    }
}
