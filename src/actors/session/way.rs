//! How a session reaches its client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use minidom::Element;

use super::relay::RelayWay;
use super::socket::SocketWay;
use crate::actors::poller::messages::NotSentReason;

/// The way to the client. Boxed, so that a session takes no more memory than its own way needs.
pub(super) enum Way {
    /// Its connection ends here.
    Socket(Box<SocketWay>),
    /// It is logged in to the site's own server, and so are we.
    Relay(Box<RelayWay>),
}

impl Way {
    /// Where the client connects from; behind another server, where that one is.
    pub fn peer_addr(&self) -> SocketAddr {
        match self {
            Self::Socket(socket) => socket.link.peer_addr(),
            Self::Relay(relay) => relay.address,
        }
    }

    /// The dispatcher's full JID, if it is another than where clients connect to it.
    pub fn dispatcher(&self) -> Option<&Arc<str>> {
        match self {
            Self::Socket(_) => None,
            Self::Relay(relay) => Some(&relay.dispatcher),
        }
    }

    /// Whether so much waits for the client that nothing more should be added without need.
    pub fn is_congested(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.link.outgoing.is_congested(),
            Self::Relay(relay) => *relay.congested.borrow(),
        }
    }

    /// Sends a stanza, or loses it: see [`Way::last_sent`].
    pub fn send(&mut self, stanza: Element, now: Instant) {
        match self {
            Self::Socket(socket) => socket.stream.send(&stanza, now),
            Self::Relay(relay) => relay.send(stanza),
        }
    }

    /// Whether the last stanza could be sent. A socket keeps what cannot be written yet.
    pub fn last_sent(&self) -> Result<(), NotSentReason> {
        match self {
            Self::Socket(_) => Ok(()),
            Self::Relay(relay) => relay.last_sent(),
        }
    }
}
