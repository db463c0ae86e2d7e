//! What all streams of a server have in common.

use crate::domain::dispatcher_rows::{NODE, RESOURCE};
use crate::protocol::register::AccountName;
use std::time::Duration;

use crate::protocol::codec::Limits;
use crate::protocol::sasl::ITERATIONS_DEFAULT;

/// Settings of the embedded server's streams, shared by all of them.
#[derive(Clone)]
pub struct ServerConfig {
    /// The domains that are served, lower case; the first one names the server where a client named none.
    pub domains: Vec<String>,
    /// The dispatcher's bare JID, lower case.
    pub dispatcher: String,
    /// The dispatcher's resource.
    pub dispatcher_resource: String,
    /// Whether clients may make accounts (XEP-0077).
    pub registration: bool,
    /// From accept to login, whatever the client does meanwhile.
    pub login_timeout: Duration,
    /// Failed logins and registration requests on one connection before it ends.
    pub login_attempts_max: u8,
    /// Longest time without a byte from us.
    pub white_space_interval: Duration,
    /// Time between two pings of an agent that answers them.
    pub ping_interval: Duration,
    /// Time within which anything must arrive after a ping.
    pub ping_timeout: Duration,
    /// Iterations shown for accounts that do not exist; those of accounts that do must be the same.
    pub scram_iterations: u32,
    /// Random bytes, kept over restarts, from which the salts of accounts that do not exist are made.
    pub decoy_secret: [u8; 32],
    /// Limits for strangers.
    pub limits_before_login: Limits,
    /// Limits for clients that are logged in.
    pub limits_after_login: Limits,
}

impl ServerConfig {
    /// The defaults, for one domain with the dispatcher's usual name.
    pub fn new(domain: &str, decoy_secret: [u8; 32]) -> Self {
        let domain = domain.to_ascii_lowercase();
        Self {
            dispatcher: format!("{NODE}@{domain}"),
            dispatcher_resource: RESOURCE.to_owned(),
            domains: vec![domain],
            registration: true,
            login_timeout: Duration::from_secs(30),
            login_attempts_max: 8,
            white_space_interval: Duration::from_secs(60),
            ping_interval: Duration::from_secs(600),
            ping_timeout: Duration::from_secs(60),
            scram_iterations: ITERATIONS_DEFAULT,
            decoy_secret,
            limits_before_login: Limits::BEFORE_LOGIN,
            limits_after_login: Limits::AFTER_LOGIN,
        }
    }

    /// Whether a JID, with or without resource, is the dispatcher's.
    pub(super) fn is_dispatcher(&self, jid: &str) -> bool {
        crate::protocol::stanza::bare(jid).eq_ignore_ascii_case(&self.dispatcher)
    }

    /// Whether an account would have the dispatcher's own name: clients would take its owner for the dispatcher.
    pub(super) fn is_reserved(&self, name: &AccountName) -> bool {
        self.dispatcher
            .split_once('@')
            .is_some_and(|(node, _)| node.eq_ignore_ascii_case(name.as_str()))
    }

    /// Whether `name` is a domain served here.
    pub(super) fn serves(&self, name: &str) -> bool {
        self.domains.iter().any(|domain| domain.eq_ignore_ascii_case(name))
    }

    /// The name of the server for clients that named none.
    pub(super) fn first_domain(&self) -> &str {
        self.domains.first().map_or("", String::as_str)
    }
}
