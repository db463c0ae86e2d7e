//! Registering for push, over XML-RPC (compatibility contract, section 2).

use async_trait::async_trait;

use crate::domain::ids::ClientName;
use crate::domain::secret::Secret;
use crate::ports::transport::LinkError;

/// What `register_osad` gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The name to sign with.
    pub client: ClientName,
    /// The key to sign with; earlier ones are void.
    pub key: Secret,
    /// Full JIDs of the dispatchers; may hold dead ones, may be empty.
    pub dispatchers: Vec<String>,
    /// The server's clock minus ours, measured in the middle of the call. Units: milliseconds.
    pub drift_millis: i64,
}

/// Why a registration failed. Nothing of it is final: servers are repaired, so the caller tries again.
#[derive(Debug, thiserror::Error)]
pub enum RegistrarError {
    /// The server cannot be reached, or its certificate is not trusted.
    #[error("cannot reach {server}: {source}")]
    Unreachable {
        /// Host and port.
        server: String,
        /// The network's or TLS's words.
        source: LinkError,
    },
    /// The server took too long.
    #[error("{0} did not answer in time")]
    TimedOut(String),
    /// HTTP went wrong: the connection broke, or the answer is no HTTP.
    #[error("{server} broke the HTTP exchange: {reason}")]
    Broken {
        /// Host and port.
        server: String,
        /// The library's words.
        reason: String,
    },
    /// An HTTP status other than 200.
    #[error("{server} answered with HTTP status {status}")]
    Status {
        /// Host and port.
        server: String,
        /// The status.
        status: u16,
    },
    /// It sends from place to place, or to one that is no HTTPS URL with a host name.
    #[error("{0} redirects too often, or to somewhere that is no https URL")]
    Redirect(String),
    /// The body of the answer is too large or damaged.
    #[error("{server} sent an unreadable answer: {reason}")]
    Unreadable {
        /// Host and port.
        server: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server's own words for its refusal.
    #[error("{server} refused {method}: {text} (fault {code})")]
    Fault {
        /// Host and port.
        server: String,
        /// The method.
        method: String,
        /// The number, negative as on the wire; -9 is an invalid systemid.
        code: i64,
        /// The text.
        text: String,
    },
    /// The server has no push, or it is not configured.
    #[error("{0} offers no push; enable it there, it is tried again")]
    NoPush(String),
}

/// The registration service of one server.
#[async_trait]
pub trait Registrar: Send + Sync {
    /// `registration.welcome_message`, then `registration.register_osad`: gets a new name and key.
    ///
    /// # Errors
    /// [`RegistrarError`].
    async fn register(&self, systemid: &Secret) -> Result<Registration, RegistrarError>;

    /// `registration.register_osad_jid`: says under which full JID the system is reached.
    ///
    /// # Errors
    /// [`RegistrarError`].
    async fn register_jid(&self, systemid: &Secret, jid: &str) -> Result<(), RegistrarError>;
}
