//! Sessions whose record is still being read.

use std::collections::BTreeMap;

use crate::domain::ids::{ConnectionId, SystemId};
use crate::domain::push::action::SystemWork;
use crate::domain::push::client::{AgentKind, Announcement, ClientEvent};
use crate::domain::push::request::PushRecord;
use crate::domain::push::system::Opening;

/// What one client may say before its record is read; more is dropped, and agents repeat what is not acknowledged.
const WORDS_MAX: usize = 32;

/// A client that just became pushable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The system.
    pub system: SystemId,
    /// The connection that made it pushable.
    pub connection: ConnectionId,
    /// Which agent it is.
    pub kind: AgentKind,
    /// What it announced; `None` if the session merely goes on under a new poller, or what it announced is old.
    pub announcement: Option<Announcement>,
}

impl Arrival {
    pub(super) fn into_opening(self, record: PushRecord, work: SystemWork) -> Opening {
        Opening {
            connection: self.connection,
            kind: self.kind,
            announcement: self.announcement,
            record,
            work,
        }
    }
}

/// Arrivals by system.
#[derive(Debug, Default)]
pub(super) struct Arrivals(BTreeMap<SystemId, Guest>);

/// An arrival, and what its client said meanwhile.
#[derive(Debug)]
struct Guest {
    arrival: Arrival,
    words: Vec<ClientEvent>,
    /// The read that will answer for this arrival, not for an earlier one, has begun.
    asked: bool,
}

impl Arrivals {
    pub(super) fn insert(&mut self, arrival: Arrival) {
        self.0.insert(
            arrival.system,
            Guest {
                arrival,
                words: Vec::new(),
                asked: false,
            },
        );
    }

    /// Whether a session merely says again that it is here. It changes nothing then: its request may be on its way.
    pub(super) fn repeats(&self, arrival: &Arrival, seated: Option<ConnectionId>) -> bool {
        let known = [seated, self.connection(arrival.system)];
        arrival.announcement.is_none() && known.contains(&Some(arrival.connection))
    }

    pub(super) fn remove(&mut self, system: SystemId, connection: ConnectionId) {
        if self.connection(system) == Some(connection) {
            self.0.remove(&system);
        }
    }

    pub(super) fn mark_asked(&mut self, system: SystemId) {
        if let Some(guest) = self.0.get_mut(&system) {
            guest.asked = true;
        }
    }

    pub(super) fn take_asked(&mut self, system: SystemId) -> Option<(Arrival, Vec<ClientEvent>)> {
        self.0.get(&system).filter(|guest| guest.asked)?;
        self.0.remove(&system).map(|guest| (guest.arrival, guest.words))
    }

    pub(super) fn is_absent(&self, system: SystemId) -> bool {
        !self.0.contains_key(&system)
    }

    pub(super) fn connection(&self, system: SystemId) -> Option<ConnectionId> {
        self.0.get(&system).map(|guest| guest.arrival.connection)
    }

    /// Keeps the event if the system's record is being read for this very connection; else gives it back.
    pub(super) fn keep_for_later(
        &mut self,
        system: SystemId,
        connection: ConnectionId,
        event: ClientEvent,
    ) -> Option<ClientEvent> {
        match self.0.get_mut(&system) {
            Some(guest) if guest.arrival.connection == connection => {
                if guest.words.len() < WORDS_MAX {
                    guest.words.push(event);
                }
                None
            }
            Some(_) | None => Some(event),
        }
    }
}
