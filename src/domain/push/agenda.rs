//! The poller's business with the store, one piece at a time and in order.
//!
//! The planner decides; the agenda turns its effects into store operations, batches what can be batched, keeps what
//! failed, and hands the answers back. One operation is under way at a time: that makes "recorded before acknowledged"
//! and "recorded before read again" true by construction.
//!
//! ```text
//! sessions ──events──► Agenda ──► Planner ──effects──► Agenda ──Task::Perform(Operation)──► store
//!                        ▲  └───────Task::Deliver, Ping, Acknowledge──► router                │
//!                        └────────────────────────Outcome────────────────────────────────────┘
//! ```

mod lanes;
mod sessions;
mod walk;

use std::collections::VecDeque;
use std::time::Duration;

use crate::domain::backoff::Backoff;
use crate::domain::ids::{ConnectionId, RequestNumber, RunId, SystemId};
use crate::domain::push::action::SystemWork;
use crate::domain::push::changes::Changes;
use crate::domain::push::client::{Client, ClientEvent};
use crate::domain::push::planner::{Effect, Planner};
use crate::domain::push::policy::Policy;
use crate::domain::push::request::{Claim, ClaimOutcome, Entry, PushRecord, Step};
use crate::domain::time::Timestamp;
use lanes::Lanes;
pub use sessions::Arrival;
use sessions::Arrivals;
use walk::Walk;

/// Pauses while the store fails. Short ones: it is one question of one process, and whoever waits is to wait no longer
/// than the database is away.
const STORE_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    limit: Duration::from_secs(5),
};

/// One use case of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Apply these steps.
    Record(Vec<Entry>),
    /// Record these requests with a lease until the given time.
    Claim(Vec<Claim>, Timestamp),
    /// Read record and work of systems that become pushable.
    Open(Vec<SystemId>),
    /// Read the work of these systems.
    Read(Vec<SystemId>),
    /// Ask which systems may have changed.
    AskChanged,
    /// Make known who is connected, and whether they answer.
    Settle(Vec<(SystemId, bool)>),
}

/// What the store answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The steps are applied.
    Recorded,
    /// One outcome per claim, in order.
    Claimed(Vec<ClaimOutcome>),
    /// Records and work; systems that are gone are missing.
    Opened(Vec<(PushRecord, SystemWork)>),
    /// Work; systems that are gone are missing.
    Read(Vec<SystemWork>),
    /// What may have changed.
    Changed(Changes),
    /// It is known.
    Settled,
    /// Whether the operation took effect is unknown.
    Failed,
}

/// What the poller is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Perform this operation and tell the outcome; none other is under way.
    Perform(Operation),
    /// Sign and send a request.
    Deliver {
        /// The system.
        system: SystemId,
        /// Its connection.
        connection: ConnectionId,
        /// The request's number.
        number: RequestNumber,
        /// What to sign with.
        client: Client,
    },
    /// Send a ping.
    Ping {
        /// The system.
        system: SystemId,
        /// Its connection.
        connection: ConnectionId,
    },
    /// Tell the agent that the report of this run is recorded.
    Acknowledge {
        /// The system.
        system: SystemId,
        /// Its connection.
        connection: ConnectionId,
        /// The run.
        run: RunId,
    },
}

/// The pure half of the poller.
#[derive(Debug)]
pub struct Agenda {
    planner: Planner,
    arrivals: Arrivals,
    lanes: Lanes,
    walk: Walk,
    /// It is time to say who is connected.
    unsettled: bool,
    under_way: Option<(Operation, Timestamp)>,
    tasks: VecDeque<Task>,
    failures: u32,
    blocked_until: Option<Timestamp>,
}

impl Agenda {
    /// An agenda without systems.
    pub fn new(policy: Policy) -> Self {
        Self {
            lanes: Lanes::new(&policy),
            planner: Planner::new(policy),
            arrivals: Arrivals::default(),
            walk: Walk::default(),
            unsettled: false,
            under_way: None,
            tasks: VecDeque::new(),
            failures: 0,
            blocked_until: None,
        }
    }

    /// The planner, to look at.
    pub fn planner(&self) -> &Planner {
        &self.planner
    }

    /// A client became pushable. Its announced reports are recorded first, then its record is read.
    pub fn session_opened(&mut self, arrival: Arrival, now: Timestamp) {
        let system = arrival.system;
        if self.arrivals.repeats(&arrival, self.planner.connection(system)) {
            return;
        }
        if let Some(announcement) = &arrival.announcement {
            for report in &announcement.reports {
                self.lanes.record(Entry {
                    system,
                    at: now,
                    step: Step::Finished(*report),
                });
            }
        }
        self.arrivals.insert(arrival);
        self.lanes.open(system);
    }

    /// A connection ended.
    pub fn session_closed(&mut self, system: SystemId, connection: ConnectionId, now: Timestamp) {
        self.arrivals.remove(system, connection);
        self.planner.close(system, connection, now);
    }

    /// A client told something in a validly signed stanza.
    pub fn client_reported(&mut self, system: SystemId, connection: ConnectionId, event: ClientEvent, now: Timestamp) {
        if let Some(event) = self.arrivals.keep_for_later(system, connection, event) {
            self.planner.hear(system, connection, event, now);
        }
    }

    /// A request was written to its connection.
    pub fn request_sent(&mut self, system: SystemId, number: RequestNumber, now: Timestamp) {
        self.planner.sent(system, number, now);
    }

    /// A request could not be handed to its connection.
    pub fn request_not_sent(&mut self, system: SystemId, number: RequestNumber, now: Timestamp) {
        self.planner.not_sent(system, number, now);
    }

    /// A system registered anew: name, key or JID changed.
    pub fn registration_changed(&mut self, system: SystemId, now: Timestamp) {
        self.planner.renewed(system, now);
    }

    /// Looks for new work: what [`Operation::AskChanged`] names is read.
    pub fn look_for_changes(&mut self) {
        self.lanes.ask_changed();
    }

    /// Reads the work of these systems, those that are not connected left out.
    pub fn look_at(&mut self, systems: impl IntoIterator<Item = SystemId>) {
        for system in systems {
            if self.planner.connection(system).is_some() {
                self.lanes.look_at(system);
            }
        }
    }

    /// Reads the work of every connected system, piece by piece: the truth that repairs all else.
    pub fn reconcile(&mut self) {
        self.walk.begin();
    }

    /// Tells the store who is connected, whatever it was told before.
    pub fn settle_presence(&mut self) {
        self.unsettled = true;
    }

    /// The store answered.
    pub fn performed(&mut self, outcome: Outcome, now: Timestamp) {
        let Some((operation, began)) = self.under_way.take() else {
            return;
        };
        if outcome == Outcome::Failed {
            return self.failed(operation, now);
        }
        self.failures = 0;
        match (operation, outcome) {
            (Operation::Record(entries), Outcome::Recorded) => {
                self.lanes.recorded();
                self.acknowledge(&entries);
            }
            (Operation::Claim(claims, lease_until), Outcome::Claimed(outcomes)) => {
                for (claim, outcome) in claims.iter().zip(outcomes) {
                    self.planner.claimed(claim, lease_until, outcome, now);
                }
            }
            (Operation::Open(systems), Outcome::Opened(found)) => self.opened(&systems, found, now),
            (Operation::Read(systems), Outcome::Read(found)) => {
                self.walk.read(&systems, began, now);
                found.into_iter().for_each(|work| self.planner.observe(work, now));
            }
            (Operation::AskChanged, Outcome::Changed(changes)) => self.changed(changes, now),
            (Operation::Settle(_), Outcome::Settled) => {}
            // An answer to another question is the store adapter's bug; asking again is the only repair.
            (operation, _) => self.failed(operation, now),
        }
    }

    /// What is to be done next, if anything.
    pub fn poll_task(&mut self, now: Timestamp) -> Option<Task> {
        self.planner.advance(now);
        self.take_effects();
        if let Some(task) = self.tasks.pop_front() {
            return Some(task);
        }
        if self.under_way.is_some() || self.blocked_until.is_some_and(|until| until > now) {
            return None;
        }
        self.blocked_until = None;
        let operation = self.take_operation(now)?;
        if let Operation::Open(systems) = &operation {
            systems.iter().for_each(|&system| self.arrivals.mark_asked(system));
        }
        self.under_way = Some((operation.clone(), now));
        Some(Task::Perform(operation))
    }

    /// When [`Agenda::poll_task`] must be called at the latest.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let idle = self.under_way.is_none();
        let wants = !self.lanes.is_empty() || self.unsettled || self.walk.is_under_way();
        let waits = [self.walk.deadline(), self.lanes.deadline()];
        let next = match self.blocked_until {
            Some(until) => Some(until).filter(|_| wants),
            None => waits.into_iter().flatten().min(),
        };
        let next = next.filter(|_| idle);
        next.into_iter().chain(self.planner.next_deadline()).min()
    }

    /// Whether nothing is under way or waiting to be done.
    pub fn is_idle(&self) -> bool {
        self.under_way.is_none() && self.lanes.is_empty() && self.tasks.is_empty()
    }

    fn take_operation(&mut self, now: Timestamp) -> Option<Operation> {
        if std::mem::take(&mut self.unsettled) {
            return Some(Operation::Settle(self.planner.presence().collect()));
        }
        let piece = self.walk.piece(|after| self.planner.systems_after(after), now);
        piece.into_iter().for_each(|system| self.lanes.look_at(system));
        self.lanes.take(now + self.planner.policy().lease, now)
    }

    fn changed(&mut self, changes: Changes, now: Timestamp) {
        self.look_at(changes.systems);
        for system in changes.renewed {
            self.planner.renewed(system, now);
        }
        for system in changes.pinged {
            if let Some(connection) = self.planner.connection(system) {
                self.tasks.push_back(Task::Ping { system, connection });
            }
        }
    }

    fn take_effects(&mut self) {
        while let Some(effect) = self.planner.poll_effect() {
            match effect {
                Effect::Claim(claims) => self.lanes.claim(claims),
                Effect::Deliver {
                    system,
                    connection,
                    number,
                    client,
                } => {
                    self.tasks.push_back(Task::Deliver {
                        system,
                        connection,
                        number,
                        client,
                    });
                }
                Effect::Ping { system, connection } => self.tasks.push_back(Task::Ping { system, connection }),
                Effect::Record(entry) => self.lanes.record(entry),
                Effect::Reread(system) => self.lanes.read(system),
                Effect::Reload(system) => self.reload(system),
            }
        }
    }

    fn reload(&mut self, system: SystemId) {
        let Some((connection, kind)) = self.planner.seat(system) else {
            return;
        };
        if self.arrivals.is_absent(system) {
            self.arrivals.insert(Arrival {
                system,
                connection,
                kind,
                announcement: None,
            });
            self.lanes.open(system);
        }
    }

    fn opened(&mut self, asked: &[SystemId], found: Vec<(PushRecord, SystemWork)>, now: Timestamp) {
        for (record, work) in found {
            let system = work.system;
            let Some((arrival, words)) = self.arrivals.take_asked(system) else {
                continue;
            };
            let connection = arrival.connection;
            self.planner.open(system, arrival.into_opening(record, work), now);
            words
                .into_iter()
                .for_each(|event| self.planner.hear(system, connection, event, now));
        }
        // Whoever was asked for and not found is gone from the database; its session learns that by itself.
        asked.iter().for_each(|&system| drop(self.arrivals.take_asked(system)));
        self.keep_to_threshold(now);
    }

    /// A client that comes back with its check running takes a slot: claims that have not begun are decided anew.
    fn keep_to_threshold(&mut self, now: Timestamp) {
        let threshold = self.planner.policy().notify_threshold;
        if threshold.is_some_and(|threshold| self.planner.slots_used() > threshold) {
            let claims = self.lanes.withdraw_claims();
            claims.iter().for_each(|claim| self.planner.claim_failed(claim, now));
        }
    }

    fn acknowledge(&mut self, entries: &[Entry]) {
        for entry in entries {
            let Step::Finished(report) = entry.step else { continue };
            let system = entry.system;
            let arriving = self.arrivals.connection(system);
            let connection = arriving.or_else(|| self.planner.connection(system));
            if let Some(connection) = connection {
                self.tasks.push_back(Task::Acknowledge {
                    system,
                    connection,
                    run: report.run,
                });
            }
        }
    }

    /// Claims are decided anew; everything else is done again after a pause, before what came later.
    fn failed(&mut self, operation: Operation, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        self.blocked_until = Some(now + STORE_BACKOFF.after(self.failures));
        if let Operation::Claim(claims, _) = &operation {
            return claims.iter().for_each(|claim| self.planner.claim_failed(claim, now));
        }
        self.unsettled |= matches!(operation, Operation::Settle(_));
        self.lanes.put_back(operation);
    }
}
