//! What sessions and their parent tell the router.

use std::net::IpAddr;
use std::sync::Arc;

use actix::{Message, Recipient};

use super::Rivalry;
use crate::actors::session::SessionOrder;
use crate::domain::ids::{ConnectionId, SystemId};

/// A session has logged in. Of two with one JID the newer connection stays and the other ends with `<conflict/>`.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RegisterSession {
    /// The connection.
    pub connection: ConnectionId,
    /// The full JID it logged in as.
    pub jid: Arc<str>,
    /// Where its client connects from.
    pub address: IpAddr,
    /// Where its orders go.
    pub route: Recipient<SessionOrder>,
}

/// A registered session has become pushable. The reply says whether requests for the system go there: not if a newer
/// connection serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "bool")]
pub struct OpenSession {
    /// The connection.
    pub connection: ConnectionId,
    /// The system its client belongs to.
    pub system: SystemId,
}

/// These connections are gone.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct UnregisterSessions(pub Vec<ConnectionId>);

/// End every session of an account, since the administrator reset it.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct EndAccountSessions {
    /// The node part of its JIDs.
    pub username: String,
}

/// Whether agents of a system take it from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Option<Rivalry>")]
pub struct DescribeRivals(pub SystemId);
