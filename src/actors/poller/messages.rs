//! What sessions and the registration endpoint tell the poller, and what it asks of the router.

use std::time::Duration;

use actix::Message;

use crate::actors::supervision::LiveRecipient;
use crate::domain::ids::{ConnectionId, RequestNumber, RunId, SystemId};
use crate::domain::push::client::{AgentKind, Announcement, Client, ClientEvent};
use crate::domain::push::system::Snapshot;
use crate::domain::time::Timestamp;
use crate::ports::registrations::RegistrationObserver;

/// What happened to sessions. One type, so that one mailbox keeps their order.
///
/// Opened and reported are sent awaited: while the poller is full the session reads no more from its client. The
/// others are never waited for; a lost one is made good by the request's lease, or by the next
/// [`AnnounceSessions`](crate::actors::tls_supervisor::AnnounceSessions).
#[derive(Clone, Debug, PartialEq, Message)]
#[rtype(result = "()")]
pub enum SessionEvent {
    /// A client became pushable, or says so again because the poller asked for it.
    Opened(Box<SessionOpened>),
    /// These connections are gone.
    Closed(Vec<(SystemId, ConnectionId)>),
    /// The client said something in validly signed stanzas.
    Reported {
        /// The system.
        system: SystemId,
        /// The connection.
        connection: ConnectionId,
        /// What it said, in order.
        events: Vec<ClientEvent>,
    },
    /// A request was handed to the client's connection.
    RequestSent {
        /// The system.
        system: SystemId,
        /// The request.
        number: RequestNumber,
        /// The connection.
        connection: ConnectionId,
    },
    /// Requests could not be handed to their connections.
    RequestsNotSent(Vec<RequestNotSent>),
}

/// A client that may be pushed.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionOpened {
    /// The system.
    pub system: SystemId,
    /// The connection.
    pub connection: ConnectionId,
    /// Its registration, as read when it became pushable.
    pub client: Client,
    /// Which agent it is.
    pub kind: AgentKind,
    /// What the agent announced; `None` when the session goes on and only the poller is new, since what it announced
    /// has been handled, or when what a new agent announced is old.
    pub announcement: Option<Announcement>,
    /// When it became pushable.
    pub at: Timestamp,
}

/// A request that was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestNotSent {
    /// The system.
    pub system: SystemId,
    /// The request.
    pub number: RequestNumber,
    /// The connection it was meant for.
    pub connection: ConnectionId,
    /// Why.
    pub reason: NotSentReason,
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSentReason {
    /// The connection is gone, or its session is not pushable any more.
    NotConnected,
    /// The client reads too slowly, or its session has too much to do.
    Busy,
}

/// The system's name, key or JID changed: what was sent under the old ones is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct RegistrationChanged {
    /// The system.
    pub system: SystemId,
}

impl RegistrationObserver for LiveRecipient<RegistrationChanged> {
    fn registration_changed(&self, system: SystemId) {
        // The store's list of changed systems says so again.
        self.try_send(RegistrationChanged { system }).ok();
    }
}

/// To the router: hand these requests to their sessions. What cannot be handed over comes back at once.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct DeliverRequests(pub Vec<RequestDelivery>);

/// One request to be signed and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestDelivery {
    /// The system.
    pub system: SystemId,
    /// The connection that the claim was made for.
    pub connection: ConnectionId,
    /// The request.
    pub number: RequestNumber,
    /// What the claim returned: sign with exactly this.
    pub client: Client,
}

/// To the router: have these clients pinged. Nothing comes back; a ping that is not answered is missed anyway.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct DeliverPings(pub Vec<PingDelivery>);

/// One ping to be signed and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingDelivery {
    /// The system.
    pub system: SystemId,
    /// The connection.
    pub connection: ConnectionId,
    /// What to sign with.
    pub client: Client,
}

/// To the router: tell these agents that the reports of these runs are recorded. An agent that does not hear it
/// reports again at its next connection.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct AcknowledgeReports(pub Vec<(SystemId, ConnectionId, RunId)>);

/// Look at these systems now: the caller changed something about them.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct LookAt(pub Vec<SystemId>);

/// Something was changed, by whoever: find out what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct LookForChanges;

/// How do these systems stand; `None` asks for all that are connected.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "PollerStatus")]
pub struct DescribeSystems(pub Option<Vec<SystemId>>);

/// How the poller and its systems stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollerStatus {
    /// Pushable systems.
    pub connected: usize,
    /// Slots in use, of those that `notify_threshold` counts.
    pub slots_used: usize,
    /// What keeps the store from working, if anything does.
    pub store: Option<StoreTrouble>,
    /// The systems asked for that are connected.
    pub systems: Vec<(SystemId, Snapshot)>,
}

/// What keeps the store from working: requests wait, connections stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreTrouble {
    /// Since when.
    pub since: Timestamp,
    /// Whether it does not answer at all.
    pub stalled: bool,
    /// The last error, for people.
    pub error: String,
}

/// Ping a system's agent and say how long its answer took; `None` if it is not connected or did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Option<Duration>")]
pub struct PingSystem {
    /// The system.
    pub system: SystemId,
    /// How long to wait.
    pub within: Duration,
}
