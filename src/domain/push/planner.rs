//! All connected systems: whose request is next, how many at once, how many a second.
//!
//! The planner is told what happened and when; what it wants done it leaves as [`Effect`]s, to be performed in order.
//! It owns no truth: it can be dropped at any time and built again from the store and the living sessions.

mod rate;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use crate::domain::ids::{ConnectionId, RequestNumber, SystemId};
use crate::domain::push::action::SystemWork;
use crate::domain::push::client::{AgentKind, Client, ClientEvent};
use crate::domain::push::policy::Policy;
use crate::domain::push::request::{Claim, ClaimOutcome, Entry, LossReason, Step};
use crate::domain::push::system::{Due, Opening, Snapshot, SystemPush, Turn};
use crate::domain::time::Timestamp;
use rate::Rate;

/// What the planner wants done. Effects are performed in order; a later one may rely on an earlier one's success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Record these requests with a lease, then call [`Planner::claimed`] for each.
    Claim(Vec<Claim>),
    /// Sign and send a granted request, then call [`Planner::sent`] or [`Planner::not_sent`].
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
    /// Send a ping beside whatever is outstanding.
    Ping {
        /// The system.
        system: SystemId,
        /// Its connection.
        connection: ConnectionId,
    },
    /// Record a step. A recorded [`Step::Finished`] is then acknowledged to the agent.
    Record(Entry),
    /// Read the system's pending work, after everything before this is recorded, and call [`Planner::observe`].
    Reread(SystemId),
    /// The claim found other facts than the planner's: read record and work anew and call [`Planner::open`], with no
    /// announcement.
    Reload(SystemId),
}

/// One system as the planner keeps it.
#[derive(Debug)]
struct Seat {
    push: SystemPush,
    /// Its place among the requests that are due.
    ready: Option<ReadyKey>,
    /// When to look at it again.
    timer: Option<Timestamp>,
    /// Whether it is counted among the used slots.
    slot: bool,
}

/// First requests before retries, then the earliest action, then the lowest id.
type ReadyKey = (bool, Timestamp, SystemId);

/// The push life cycle of all systems connected to this node.
#[derive(Debug)]
pub struct Planner {
    policy: Policy,
    seats: BTreeMap<SystemId, Seat>,
    ready: BTreeSet<ReadyKey>,
    timers: BTreeSet<(Timestamp, SystemId)>,
    slots_used: usize,
    rate: Rate,
    effects: VecDeque<Effect>,
    scratch: Vec<Effect>,
}

impl Planner {
    /// A planner without systems.
    pub fn new(policy: Policy) -> Self {
        let rate = Rate::new(policy.pushes_per_second);
        Self {
            policy,
            seats: BTreeMap::new(),
            ready: BTreeSet::new(),
            timers: BTreeSet::new(),
            slots_used: 0,
            rate,
            effects: VecDeque::new(),
            scratch: Vec::new(),
        }
    }

    /// The settings in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// A client became pushable, or its session goes on under a new poller.
    pub fn open(&mut self, system: SystemId, opening: Opening, now: Timestamp) {
        let before = self.unseat(system);
        let mut turn = Turn {
            now,
            policy: &self.policy,
            effects: &mut self.scratch,
        };
        let push = SystemPush::open(system, opening, before.as_ref(), &mut turn);
        self.seats.insert(
            system,
            Seat {
                push,
                ready: None,
                timer: None,
                slot: false,
            },
        );
        self.resettle(system, now);
    }

    /// A connection ended; without effect if the system has a newer one.
    pub fn close(&mut self, system: SystemId, connection: ConnectionId, now: Timestamp) {
        if self.connection(system) != Some(connection) {
            return;
        }
        if let Some(push) = self.unseat(system) {
            push.close(&mut Turn {
                now,
                policy: &self.policy,
                effects: &mut self.scratch,
            });
            self.effects.extend(self.scratch.drain(..));
        }
    }

    /// The truth about a system's pending work; without effect if the system is not connected.
    pub fn observe(&mut self, work: SystemWork, now: Timestamp) {
        self.turn(work.system, now, |push, turn| push.observe(work, turn));
    }

    /// What a client told over this connection, each in a validly signed stanza.
    pub fn hear(&mut self, system: SystemId, connection: ConnectionId, event: ClientEvent, now: Timestamp) {
        if self.connection(system) == Some(connection) {
            self.turn(system, now, |push, turn| push.hear(event, turn));
        }
    }

    /// The system's name, key or JID changed.
    pub fn renewed(&mut self, system: SystemId, now: Timestamp) {
        self.turn(system, now, |push, turn| push.renewed(turn));
    }

    /// The store settled a claim that was made with the given lease.
    pub fn claimed(&mut self, claim: &Claim, lease_until: Timestamp, outcome: ClaimOutcome, now: Timestamp) {
        let system = claim.system;
        let awaited = self
            .seats
            .get(&system)
            .is_some_and(|seat| seat.push.awaits(claim.number));
        match outcome {
            ClaimOutcome::Granted(client) if awaited => {
                self.turn(system, now, |push, turn| {
                    push.granted(claim, lease_until);
                    let (connection, number) = (push.connection, claim.number);
                    turn.effects.push(Effect::Deliver {
                        system,
                        connection,
                        number,
                        client,
                    });
                });
            }
            ClaimOutcome::Granted(_) => {
                let step = Step::Lost(claim.number, LossReason::Reconnected);
                self.effects.push_back(Effect::Record(Entry { system, at: now, step }));
                self.effects.push_back(Effect::Reload(system));
            }
            ClaimOutcome::Refused if awaited => {
                self.turn(system, now, |push, turn| push.not_claimed(turn));
                self.effects.push_back(Effect::Reload(system));
            }
            ClaimOutcome::Gone if awaited => drop(self.unseat(system)),
            ClaimOutcome::Refused | ClaimOutcome::Gone => {}
        }
    }

    /// The store could not settle a claim; whether it is recorded is unknown.
    pub fn claim_failed(&mut self, claim: &Claim, now: Timestamp) {
        if self
            .seats
            .get(&claim.system)
            .is_some_and(|seat| seat.push.awaits(claim.number))
        {
            self.turn(claim.system, now, |push, turn| push.not_claimed(turn));
        }
    }

    /// A request was written to the connection.
    pub fn sent(&mut self, system: SystemId, number: RequestNumber, now: Timestamp) {
        self.turn(system, now, |push, turn| push.sent(number, turn));
    }

    /// A request could not be handed to its connection.
    pub fn not_sent(&mut self, system: SystemId, number: RequestNumber, now: Timestamp) {
        self.turn(system, now, |push, turn| push.not_sent(number, turn));
    }

    /// Lets time pass and makes every request that may be made now.
    pub fn advance(&mut self, now: Timestamp) {
        while let Some(&(at, system)) = self.timers.first() {
            if at > now {
                break;
            }
            self.turn(system, now, |push, turn| push.pass(turn));
        }
        self.make_claims(now);
    }

    fn make_claims(&mut self, now: Timestamp) {
        let mut claims = Vec::new();
        while let Some(&(_, _, system)) = self.ready.first() {
            if !self.has_free_slot() || !self.rate.take(now) {
                break;
            }
            self.turn(system, now, |push, turn| claims.push(push.claim(turn)));
        }
        if !claims.is_empty() {
            self.effects.push_back(Effect::Claim(claims));
        }
    }

    fn has_free_slot(&self) -> bool {
        self.policy
            .notify_threshold
            .is_none_or(|threshold| self.slots_used < threshold)
    }

    /// The next thing to be done.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Planner::advance`] must be called at the latest.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let timer = self.timers.first().map(|&(at, _)| at);
        let slot_free = self
            .policy
            .notify_threshold
            .is_none_or(|threshold| self.slots_used < threshold);
        let token = self.rate.next_token().filter(|_| slot_free && !self.ready.is_empty());
        timer.into_iter().chain(token).min()
    }

    /// The systems connected to this node, by id.
    pub fn systems(&self) -> impl Iterator<Item = SystemId> {
        self.seats.keys().copied()
    }

    /// The systems connected to this node after this one, by id.
    pub(super) fn systems_after(&self, after: Option<SystemId>) -> impl Iterator<Item = SystemId> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.seats.range((start, Bound::Unbounded)).map(|(&system, _)| system)
    }

    /// The systems connected to this node, and whether they answer.
    pub(super) fn presence(&self) -> impl Iterator<Item = (SystemId, bool)> {
        self.seats
            .iter()
            .map(|(&system, seat)| (system, seat.push.is_responsive()))
    }

    /// The connection of a system, if it is pushable.
    pub fn connection(&self, system: SystemId) -> Option<ConnectionId> {
        self.seats.get(&system).map(|seat| seat.push.connection)
    }

    /// The connection of a system and the agent at its end, if it is pushable.
    pub(super) fn seat(&self, system: SystemId) -> Option<(ConnectionId, AgentKind)> {
        self.seats
            .get(&system)
            .map(|seat| (seat.push.connection, seat.push.kind))
    }

    /// How the system stands, for people.
    pub fn snapshot(&self, system: SystemId) -> Option<Snapshot> {
        self.seats.get(&system).map(|seat| seat.push.snapshot(&self.policy))
    }

    /// How many slots are used, of those that `notify_threshold` counts.
    pub fn slots_used(&self) -> usize {
        self.slots_used
    }

    /// Changes one system and finds out when it is due again.
    fn turn(&mut self, system: SystemId, now: Timestamp, change: impl FnOnce(&mut SystemPush, &mut Turn<'_>)) {
        let Some(seat) = self.seats.get_mut(&system) else {
            return;
        };
        change(
            &mut seat.push,
            &mut Turn {
                now,
                policy: &self.policy,
                effects: &mut self.scratch,
            },
        );
        self.resettle(system, now);
    }

    fn resettle(&mut self, system: SystemId, now: Timestamp) {
        self.effects.extend(self.scratch.drain(..));
        let Some(seat) = self.seats.get_mut(&system) else {
            return;
        };
        let due = seat.push.due(&self.policy);
        let ready = due
            .filter(|due| due.at <= now)
            .map(|Due { retry, earliest, .. }| (retry, earliest, system));
        if seat.ready != ready {
            if let Some(key) = seat.ready {
                self.ready.remove(&key);
            }
            self.ready.extend(ready);
            seat.ready = ready;
        }
        let slot_until = seat.push.slot_until(now, &self.policy);
        if seat.slot != slot_until.is_some() {
            seat.slot = slot_until.is_some();
            self.slots_used = if seat.slot {
                self.slots_used + 1
            } else {
                self.slots_used.saturating_sub(1)
            };
        }
        let later = due.map(|due| due.at).filter(|&at| at > now);
        let timer = later.into_iter().chain(seat.push.deadline()).chain(slot_until).min();
        if seat.timer != timer {
            if let Some(at) = seat.timer {
                self.timers.remove(&(at, system));
            }
            self.timers.extend(timer.map(|at| (at, system)));
            seat.timer = timer;
        }
    }

    fn unseat(&mut self, system: SystemId) -> Option<SystemPush> {
        let seat = self.seats.remove(&system)?;
        if let Some(key) = seat.ready {
            self.ready.remove(&key);
        }
        if let Some(at) = seat.timer {
            self.timers.remove(&(at, system));
        }
        if seat.slot {
            self.slots_used = self.slots_used.saturating_sub(1);
        }
        Some(seat.push)
    }
}
