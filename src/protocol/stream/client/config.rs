//! What a client needs to log in.

use std::time::Duration;

use crate::domain::secret::Secret;
use crate::protocol::codec::Limits;

/// Account and patience of one connection.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The server's domain, as it was connected to.
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
