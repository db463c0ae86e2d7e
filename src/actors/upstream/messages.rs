//! What the upstream is asked.

use actix::Message;

/// How is the login?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "UpstreamReport")]
pub struct DescribeUpstream;

/// The login, and who is seen through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamReport {
    /// The server's domain.
    pub server: String,
    /// Where we stand.
    pub login: LoginReport,
    /// Registrations with a JID, as they were read last.
    pub registrations: usize,
    /// Clients whose presence is there.
    pub available: usize,
}

/// How far the login has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginReport {
    /// On its way for the first time.
    Connecting,
    /// Logged in under this full JID.
    LoggedIn {
        /// The JID.
        jid: String,
    },
    /// Not logged in any more, or not yet; it is tried again.
    Down {
        /// What went wrong last.
        reason: String,
    },
}
