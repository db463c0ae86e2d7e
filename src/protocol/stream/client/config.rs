//! What a client needs to log in.

use std::time::Duration;

use crate::domain::secret::Secret;
use crate::protocol::codec::Limits;

/// As what we log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// As a client, inside TLS.
    Client,
    /// As a component (XEP-0114): `domain` is all ours, and `password` is the secret that the server knows of it.
    Component {
        /// The server's own domain, which answers pings.
        server: String,
        /// Whether TLS comes before the first byte. To be left out only where nobody can listen.
        tls: bool,
    },
}

/// Account and patience of one connection.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// As what we log in.
    pub role: Role,
    /// The server's domain, as it was connected to; a component's own.
    pub domain: String,
    /// The account.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// The resource; agents use `osad`, which the dispatcher counts on.
    pub resource: String,
    /// Whether SASL may be used; without, `jabber:iq:auth` is the only login, as for existing clients.
    pub sasl: bool,
    /// Whether to make the account when the server refuses it.
    pub may_register: bool,
    /// From connect to login.
    pub login_timeout: Duration,
    /// Longest time without a byte from the server, once logged in. Some servers send white space every 60 s; one that
    /// has said nothing for five sixths of this is asked for a sign of life (XEP-0199).
    pub silence_timeout: Duration,
    /// What the server may send once we are logged in.
    pub limits: Limits,
}

impl ClientConfig {
    /// An agent's defaults.
    pub fn new(domain: &str, username: &str, password: Secret) -> Self {
        Self {
            role: Role::Client,
            domain: domain.to_owned(),
            username: username.to_owned(),
            password,
            resource: "osad".to_owned(),
            sasl: true,
            may_register: true,
            login_timeout: Duration::from_secs(60),
            silence_timeout: Duration::from_secs(90),
            limits: Limits::AFTER_LOGIN,
        }
    }
}
