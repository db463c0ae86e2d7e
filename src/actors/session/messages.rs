//! What a session is told.

use actix::Message;
use minidom::Element;

use crate::domain::ids::{RequestNumber, RunId};
use crate::domain::push::client::Client;
use crate::protocol::stream::server::ClientActivity;

/// What a session is told to do. One type, so that one address leads to it.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum SessionOrder {
    /// Sign and send a request; the poller is told whether it went out.
    Request {
        /// The request.
        number: RequestNumber,
        /// What to sign with.
        client: Box<Client>,
    },
    /// Sign and send a ping.
    Ping {
        /// What to sign with.
        client: Box<Client>,
    },
    /// Tell the agent that the report of this run is recorded.
    Acknowledge(RunId),
    /// The router, or the poller, is new: say again who is here.
    Announce(Audience),
    /// End the connection.
    End(EndCause),
}

/// Who asks to be told again which sessions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Audience {
    /// The router, which knows no routes any more.
    Router,
    /// The poller, which knows no pushable systems any more.
    Poller,
}

/// Why a session is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndCause {
    /// The same JID logged in again.
    Conflict,
    /// The administrator reset the account.
    AccountReset,
    /// Another agent registered as the same system.
    Displaced,
    /// The dispatcher stops.
    Shutdown,
    /// The client's presence at its server is gone.
    Unavailable,
}

/// To a relayed session: what its client did. Each stanza has the client's full JID as `from`, which its server proved.
#[derive(Clone, Debug, PartialEq, Message)]
#[rtype(result = "()")]
pub struct Relayed(pub ClientActivity);

/// From a relayed session: send this to its client.
#[derive(Clone, Debug, PartialEq, Message)]
#[rtype(result = "()")]
pub struct SendStanza(pub Element);
