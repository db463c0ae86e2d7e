//! Registering for push, over XML-RPC (compatibility contract, section 2).

use async_trait::async_trait;

use crate::domain::ids::ClientName;
use crate::domain::secret::Secret;
use crate::ports::transport::{DialError, LinkError};
use crate::protocol::xmlrpc::registration::Failure;

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

/// Why a registration failed. Nothing of it is final: servers are repaired, so the caller tries again. Each is one line.
#[derive(Debug, thiserror::Error)]
pub enum RegistrarError {
    /// The server cannot be connected to.
    #[error(transparent)]
    Unreachable(#[from] DialError),
    /// TLS did not come about, mostly because the server's certificate is not trusted.
    #[error("{server}: {source}")]
    Link {
        /// Host and port.
        server: String,
        /// TLS's or the network's words.
        source: LinkError,
    },
    /// The server took too long.
    #[error("{0} did not answer in time: see whether its web server is overloaded; it is tried again")]
    TimedOut(String),
    /// HTTP went wrong: the connection broke, or the answer is no HTTP.
    #[error("{server} broke the HTTP exchange ({reason}); it is tried again")]
    Broken {
        /// Host and port.
        server: String,
        /// The library's words.
        reason: String,
    },
    /// An HTTP status other than 200.
    #[error("{server} answered with HTTP status {status}: {remedy}", remedy = remedy_of_status(*.status))]
    Status {
        /// Host and port.
        server: String,
        /// The status.
        status: u16,
    },
    /// It sends from place to place.
    #[error("{0} redirects more than five times: correct its redirections, or serverURL (server_url)")]
    RedirectLoop(String),
    /// It sends to what is no HTTPS URL with a host name. The systemid goes nowhere in the clear.
    #[error(
        "{server} redirects to {location:?}, which is no https URL with a host name: correct its redirection, or \
         serverURL (server_url)"
    )]
    Misdirected {
        /// Host and port.
        server: String,
        /// Where to.
        location: String,
    },
    /// The body of the answer is too large, cut off or damaged.
    #[error("{server} sent an unreadable answer: {reason}")]
    Unreadable {
        /// Host and port.
        server: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer is a document of another kind, mostly a page for people.
    #[error(
        "{server} answered with {content_type:?} instead of XML-RPC: name the right server and path in serverURL \
         (server_url), and see what is between it and this machine"
    )]
    OtherContent {
        /// Host and port.
        server: String,
        /// The document's type.
        content_type: String,
    },
    /// The server's own words for its refusal.
    #[error("{server} refused {method}: {text} (fault {code}): {remedy}", remedy = remedy_of_fault(*.code))]
    Fault {
        /// Host and port.
        server: String,
        /// The method.
        method: String,
        /// The number, negative as on the wire; -9 is an invalid systemid.
        code: i64,
        /// The text, in one line.
        text: String,
    },
    /// The server has no push, or it is not configured.
    #[error(
        "{0} offers no push: set server.jabber_server in its rhn.conf and restart its web server; it is tried again"
    )]
    NoPush(String),
}

const fn remedy_of_status(status: u16) -> &'static str {
    match status {
        401 | 403 => "let this machine use it",
        404 | 405 | 410 => "correct the path in serverURL (server_url), mostly /XMLRPC",
        407 => "correct proxyUser and proxyPassword (proxy.user, proxy.password)",
        500..=599 => "see the log of its web server; it is tried again",
        _ => "see what answers there; it is tried again",
    }
}

/// Compatibility contract, section 2.4. Whatever the fault, the original client tries again.
fn remedy_of_fault(code: i64) -> &'static str {
    match Failure::from_code(code) {
        Failure::InvalidCredentials | Failure::AnonymousCertificate => {
            "the systemid of this machine is not valid there: register the machine anew"
        }
        Failure::JabberIdMissing => "name the server as it calls itself (serverURL, server_url)",
        Failure::UnknownMethod => "it takes no calls now, or has no push; it is tried again",
        Failure::WrongArguments | Failure::Internal => "see its log; it is tried again",
    }
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
