//! The sessions that live, shared between generations of their parent.
//!
//! A session must be counted, found and cleaned up after also when it ends while its parent is being restarted.
//! So each holds a [`Ticket`], whose drop is recorded here and handled by whichever generation of the parent comes
//! next. Nothing but counting happens under the lock.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::WeakRecipient;
use tokio::sync::Notify;

use crate::actors::session::SessionOrder;
use crate::actors::supervision::ExitReason;
use crate::domain::admission::{Admission, AdmissionLimits, Origin, Refusal};
use crate::domain::ids::{ConnectionId, SystemId};
use crate::domain::tally::{Tally, Untold};

/// A session that has ended and is to be cleaned up after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departed {
    /// Its connection.
    pub connection: ConnectionId,
    /// The system it was pushable for, if it was.
    pub system: Option<SystemId>,
    /// How it ended.
    pub reason: ExitReason,
}

struct Members {
    admission: Admission,
    orders: HashMap<ConnectionId, Option<WeakRecipient<SessionOrder>>>,
    departed: Vec<Departed>,
    /// How many left without having logged in, by cause, since that was last told.
    strangers: BTreeMap<&'static str, u64>,
    /// Those of them that know no TLS 1.2.
    legacy: Tally<()>,
    last: ConnectionId,
}

/// All sessions of the process.
pub struct Roster {
    members: Mutex<Members>,
    /// Somebody departed.
    departure: Notify,
    /// Somebody logged in or departed, so that the listener may go on.
    room: Notify,
}

impl Roster {
    /// A roster without sessions.
    pub fn new(limits: AdmissionLimits) -> Arc<Self> {
        Arc::new(Self {
            members: Mutex::new(Members {
                admission: Admission::new(limits),
                orders: HashMap::new(),
                departed: Vec::new(),
                strangers: BTreeMap::new(),
                legacy: Tally::default(),
                last: ConnectionId(0),
            }),
            departure: Notify::new(),
            room: Notify::new(),
        })
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        // A panic under the lock would leave at worst a count that is off by one.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the limits.
    pub fn set_limits(&self, limits: AdmissionLimits) {
        self.members().admission.set_limits(limits);
        self.room.notify_waiters();
    }

    /// Admits a connection from this origin, or refuses it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn admit(self: &Arc<Self>, origin: Origin) -> Result<Ticket, Refusal> {
        let mut members = self.members();
        members.admission.admit(origin)?;
        members.last.0 += 1;
        let connection = members.last;
        members.orders.insert(connection, None);
        Ok(Ticket {
            roster: Arc::clone(self),
            connection,
            origin,
            logged_in: false,
            system: None,
            reason: ExitReason::Normal,
        })
    }

    /// Keeps where the orders of a session go; without effect if it has ended already.
    pub fn enrol(&self, connection: ConnectionId, orders: WeakRecipient<SessionOrder>) {
        if let Some(member) = self.members().orders.get_mut(&connection) {
            *member = Some(orders);
        }
    }

    /// Where the orders of all sessions go.
    pub fn orders(&self) -> Vec<WeakRecipient<SessionOrder>> {
        self.members().orders.values().flatten().cloned().collect()
    }

    /// Whether the listener should wait, see [`Roster::wait_for_room`].
    pub fn is_full(&self) -> bool {
        self.members().admission.is_full()
    }

    /// How many connections there are, and how many of them have not logged in.
    pub fn counts(&self) -> (usize, usize) {
        self.members().admission.counts()
    }

    /// Returns when too many are logging in no longer.
    pub async fn wait_for_room(&self) {
        loop {
            let changed = self.room.notified();
            if !self.is_full() {
                return;
            }
            changed.await;
        }
    }

    /// Returns when somebody has departed.
    pub async fn wait_for_departure(&self) {
        self.departure.notified().await;
    }

    /// Those who departed and have not been settled, oldest first.
    pub fn departed(&self) -> Vec<Departed> {
        self.members().departed.clone()
    }

    /// The oldest `count` of the departed have been cleaned up after. Not before: whoever cleans up may panic.
    pub fn settle(&self, count: usize) {
        let mut members = self.members();
        let count = count.min(members.departed.len());
        members.departed.drain(..count);
    }

    /// Who left without having logged in since the last call: causes and how many.
    pub fn take_strangers(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.members().strangers)
    }

    /// How many without TLS 1.2 left and were not told at once, since the last call.
    pub fn take_legacy(&self) -> Option<Untold> {
        self.members().legacy.take().pop().map(|((), untold)| untold)
    }

    fn leave(&self, ticket: &Ticket, reason: ExitReason) {
        let mut members = self.members();
        members.admission.left(ticket.origin, ticket.logged_in);
        members.orders.remove(&ticket.connection);
        members.departed.push(Departed {
            connection: ticket.connection,
            system: ticket.system,
            reason,
        });
        drop(members);
        self.departure.notify_one();
        self.room.notify_waiters();
    }
}

/// A session's place in the roster, given up when dropped, also by a panic.
pub struct Ticket {
    roster: Arc<Roster>,
    connection: ConnectionId,
    origin: Origin,
    logged_in: bool,
    system: Option<SystemId>,
    reason: ExitReason,
}

impl Ticket {
    /// The connection's id.
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// The client has logged in: it no longer counts as a stranger.
    pub fn log_in(&mut self) {
        if !self.logged_in {
            self.logged_in = true;
            self.roster.members().admission.logged_in(self.origin);
            self.roster.room.notify_waiters();
        }
    }

    /// The client is pushable for this system: whoever cleans up must say so.
    pub fn open(&mut self, system: SystemId) {
        self.system = Some(system);
    }

    /// The client never logged in; it is counted under this cause.
    pub fn leave_as_stranger(&self, cause: &'static str) {
        *self.roster.members().strangers.entry(cause).or_default() += 1;
    }

    /// The client knows no TLS 1.2. Whether that is to be told at once.
    pub fn leave_as_legacy(&self, peer: SocketAddr) -> bool {
        self.roster.members().legacy.count((), peer)
    }

    /// Sets how the session ends if no panic comes first.
    pub fn end_as(&mut self, reason: ExitReason) {
        self.reason = reason;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let reason = if std::thread::panicking() {
            ExitReason::Panicked
        } else {
            self.reason
        };
        self.roster.leave(self, reason);
    }
}
