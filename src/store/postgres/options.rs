//! Where the database is and how it is used.

use std::path::PathBuf;
use std::time::Duration;

use crate::domain::push::policy::{EXISTING_SLOT, Policy};
use crate::domain::secret::Secret;
use crate::ports::store::DatabaseLabel;

/// How long a use case may take, waiting for a connection included. A healthy Satellite answers in milliseconds; a
/// server that is paused or cut off is to be noticed while agents still wait for their login.
const DEADLINE: Duration = Duration::from_secs(10);
/// Connections besides the one that listens. A Satellite's server has 400 to 600 for all its programs.
const CONNECTIONS: usize = 4;
/// The port of PostgreSQL.
pub const PORT: u16 = 5432;

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAddress {
    /// The directory of its Unix socket.
    Socket(PathBuf),
    /// A host name or IP address.
    Host(String),
}

/// How far TLS is wanted and checked, with libpq's names and meanings (`sslmode`). Unix sockets have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// If the server has it; nothing is checked.
    #[default]
    Prefer,
    /// Always; checked as [`SslMode::VerifyCa`] if there is a root certificate, else not at all.
    Require,
    /// Always, by a certificate of the known authority.
    VerifyCa,
    /// Always, by a certificate of the known authority for this host. A certificate without alternative names is taken
    /// by its common name, as a Satellite's often has no others.
    VerifyFull,
}

/// The options of [`PostgresStore`](super::PostgresStore).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresOptions {
    /// Where the server is.
    pub address: ServerAddress,
    /// Its port; part of the socket's name as well.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The role.
    pub user: String,
    /// The role's password, if it needs one.
    pub password: Option<Secret>,
    /// How TLS is used.
    pub ssl_mode: SslMode,
    /// Certificates of authorities, PEM.
    pub root_certificate: Option<PathBuf>,
    /// How long a use case may take.
    pub deadline: Duration,
    /// Most connections for use cases.
    pub connections: usize,
    /// Labels of entitlements or features, of which a system needs one for its actions to be pushed; empty: none.
    pub entitlements: Vec<String>,
    /// Systems that may work at once over all nodes; claims of all nodes are serialised then.
    pub notify_threshold: Option<usize>,
    /// How long a system counts as working at most.
    pub slot_age: Duration,
    /// How long an existing agent counts as working after its answer, whatever it does.
    pub answer_slot: Duration,
}

impl PostgresOptions {
    /// The defaults, for a database on a server at this address.
    pub fn new(address: ServerAddress, database: impl Into<String>, user: impl Into<String>) -> Self {
        Self {
            address,
            port: PORT,
            database: database.into(),
            user: user.into(),
            password: None,
            ssl_mode: SslMode::default(),
            root_certificate: None,
            deadline: DEADLINE,
            connections: CONNECTIONS,
            entitlements: Vec::new(),
            notify_threshold: None,
            slot_age: Policy::default().slot_age,
            answer_slot: EXISTING_SLOT,
        }
    }

    /// The database as messages name it.
    pub fn label(&self) -> DatabaseLabel {
        let address = match &self.address {
            ServerAddress::Socket(directory) => directory.display().to_string(),
            ServerAddress::Host(host) if host.contains(':') => format!("[{host}]"),
            ServerAddress::Host(host) => host.clone(),
        };
        DatabaseLabel::new(&format!("{address}:{}/{}", self.port, self.database))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_names_the_server_and_no_secret() {
        let mut options = PostgresOptions::new(ServerAddress::Host("::1".to_owned()), "rhnschema", "rhnuser");
        options.password = Some(Secret::new("hunter2"));

        assert_eq!(options.label().to_string(), "[::1]:5432/rhnschema");
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
