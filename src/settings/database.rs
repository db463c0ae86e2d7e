//! Which database the dispatcher works on, and how it gets there.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use super::error::Unfit;
use super::names::DomainName;
use super::schema::settings;
use super::value::{Given, SettingValue};
use crate::domain::secret::Secret;

settings! {
    /// The Satellite's PostgreSQL, in a satellite deployment. `rhn.conf` names it there.
    pub struct PostgresSettings in "postgres." {
        /// Host of the database: a name, an IP address, or the directory of its Unix socket. Without it: the Unix socket
        /// at its usual place.
        host: Option<DatabaseHost> = None, Restart;
        /// Its TCP port; part of the socket's name as well.
        port: NonZeroU16 = Some("5432"), Restart;
        /// Name of the database. Needed in a satellite deployment.
        name: Option<String> = None, Restart;
        /// Role to log in as. Needed in a satellite deployment.
        user: Option<String> = None, Restart;
        /// The role's password. A file that holds it should not be readable by every user.
        password: Option<Secret> = None, Restart;
        /// How far TLS is wanted and checked, with libpq's meanings: `prefer` checks nothing, `verify-full` wants a
        /// certificate for `host` from an authority in `root_certificate`. Unix sockets have no TLS.
        ssl_mode: SslMode = Some("prefer"), Restart;
        /// Certificates of the authorities that may sign the database's certificate, PEM.
        root_certificate: Option<PathBuf> = None, Restart;
    }
}

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseHost {
    /// In the directory of this Unix socket.
    Socket(PathBuf),
    /// At this host name or IP address.
    Server(String),
}

impl SettingValue for DatabaseHost {
    const ACCEPTED: &'static str = "a host name, an IP address or the directory of a Unix socket; the port has a key of its \
        own (db_port, postgres.port)";

    fn read(given: &Given) -> Result<Self, Unfit> {
        let text = String::read(given).map_err(|_| Unfit::Form(Self::ACCEPTED))?;
        if text.starts_with('/') {
            return Ok(Self::Socket(PathBuf::from(text)));
        }
        match text.parse::<IpAddr>().is_ok() || DomainName::parse(&text).is_ok() {
            true => Ok(Self::Server(text)),
            false => Err(Unfit::Form(Self::ACCEPTED)),
        }
    }
}

/// What the dispatcher belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deployment {
    /// To nothing: own database, own registration endpoint.
    Standalone,
    /// To a Satellite, which has the database and answers registrations.
    Satellite,
}

impl SettingValue for Deployment {
    const ACCEPTED: &'static str = "standalone or satellite";

    fn read(given: &Given) -> Result<Self, Unfit> {
        let named = [("standalone", Self::Standalone), ("satellite", Self::Satellite)];
        one_of(given, named, Self::ACCEPTED)
    }
}

/// How far TLS to the database is wanted and checked, with libpq's names and meanings (`sslmode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// If the server has it; nothing is checked.
    Prefer,
    /// Always; checked as `verify-ca` if there is a root certificate, else not at all.
    Require,
    /// Always, by a certificate of a known authority.
    VerifyCa,
    /// Always, by a certificate of a known authority for this host.
    VerifyFull,
}

impl SslMode {
    /// Whether the server must show a certificate of a known authority.
    pub const fn wants_authority(self) -> bool {
        match self {
            Self::Disable | Self::Prefer | Self::Require => false,
            Self::VerifyCa | Self::VerifyFull => true,
        }
    }
}

impl SettingValue for SslMode {
    const ACCEPTED: &'static str = "disable, prefer, require, verify-ca or verify-full";

    fn read(given: &Given) -> Result<Self, Unfit> {
        let named = [
            ("disable", Self::Disable),
            ("prefer", Self::Prefer),
            ("require", Self::Require),
            ("verify-ca", Self::VerifyCa),
            ("verify-full", Self::VerifyFull),
        ];
        one_of(given, named, Self::ACCEPTED)
    }
}

/// The value with this name.
pub(super) fn one_of<T, const N: usize>(
    given: &Given,
    named: [(&str, T); N],
    accepted: &'static str,
) -> Result<T, Unfit> {
    let is_meant = |(name, _): &(&str, T)| matches!(given, Given::Text(text) if text.trim() == *name);
    let found = named.into_iter().find(is_meant);
    found.map(|(_, value)| value).ok_or(Unfit::Form(accepted))
}
