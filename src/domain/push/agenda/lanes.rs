//! Store operations to come: what is written first, what may run only after that, and in which batches.
//!
//! ```text
//! entries ──all, in their order──► Record ──► recorded up to a place
//! claims, reads: each with the place of the last entry it must find ──reached?──► Claim, Read
//! opens: ──all entries of its system recorded?──► Open
//! ```
//!
//! A claim must find its system's last request ended, an opening its reports applied, a read the steps that caused it:
//! so each waits for the entries of its own system that were queued before it. Where slots are counted, a claim must find
//! those of all systems.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::{Agenda, Operation};
use crate::domain::ids::SystemId;
use crate::domain::push::policy::{Authority, Policy};
use crate::domain::push::request::{Claim, Entry, Step};
use crate::domain::time::Timestamp;

/// Systems read in one operation at most.
const READ_BATCH_MAX: usize = 500;
/// Claims made in one operation at most; bounds how long one transaction keeps others waiting.
const CLAIM_BATCH_MAX: usize = 500;
/// Entries written in one operation at most.
const RECORD_BATCH_MAX: usize = 2_000;
/// How far back an entry looks for one that it makes pointless.
const LOOK_BACK: usize = 64;
/// How long an entry waits for others beside a Satellite, while nothing but a read waits for it: each record is a
/// transaction that the Satellite's disk has to flush. A crash meanwhile costs what it costs just before a record: a
/// request is made again, a report repeated.
const GATHER: Duration = Duration::from_millis(50);

/// Where an entry stands in the order of all that were ever queued.
type Place = u64;

/// All operations to come.
#[derive(Debug)]
pub(super) struct Lanes {
    gather: Duration,
    /// Claims count slots.
    counts_slots: bool,
    /// The actions' rows are the dispatcher's: what is recorded changes them.
    owns_actions: bool,
    entries: VecDeque<(Place, Entry)>,
    /// The last entry that was queued.
    queued: Place,
    /// The last entry of the record that is under way, or of the one before.
    recording: Place,
    /// Every entry up to here is recorded.
    recorded: Place,
    /// The last entry of each system, of those that are not recorded.
    last: BTreeMap<SystemId, Place>,
    claims: VecDeque<(Place, Claim)>,
    opens: BTreeSet<SystemId>,
    reads: BTreeMap<SystemId, Place>,
    asks_changed: bool,
    recorded_last: bool,
}

impl Lanes {
    pub(super) fn new(policy: &Policy) -> Self {
        let owns_actions = policy.authority == Authority::Dispatcher;
        Self {
            gather: if owns_actions { Duration::ZERO } else { GATHER },
            counts_slots: policy.notify_threshold.is_some(),
            owns_actions,
            entries: VecDeque::new(),
            queued: 0,
            recording: 0,
            recorded: 0,
            last: BTreeMap::new(),
            claims: VecDeque::new(),
            opens: BTreeSet::new(),
            reads: BTreeMap::new(),
            asks_changed: false,
            recorded_last: false,
        }
    }

    /// Queues an entry. Of a system's pauses and signs of life only the last matters.
    pub(super) fn record(&mut self, entry: Entry) {
        if matches!(entry.step, Step::Waiting(_) | Step::Heard) {
            let kind = std::mem::discriminant(&entry.step);
            let from = self.entries.len().saturating_sub(LOOK_BACK);
            let is_old =
                |(_, old): &(Place, Entry)| old.system == entry.system && std::mem::discriminant(&old.step) == kind;
            if let Some(position) = self.entries.range(from..).position(is_old) {
                self.entries.remove(from + position);
            }
        }
        self.queued += 1;
        self.last.insert(entry.system, self.queued);
        self.entries.push_back((self.queued, entry));
    }

    pub(super) fn claim(&mut self, claims: Vec<Claim>) {
        for claim in claims {
            let place = match self.counts_slots {
                true => self.queued,
                false => self.last_of(claim.system),
            };
            self.claims.push_back((place, claim));
        }
    }

    /// Takes back the claims that have not begun.
    pub(super) fn withdraw_claims(&mut self) -> Vec<Claim> {
        self.claims.drain(..).map(|(_, claim)| claim).collect()
    }

    pub(super) fn open(&mut self, system: SystemId) {
        self.opens.insert(system);
    }

    /// Queues a read that is to find what was recorded; one that was queued earlier is superseded.
    pub(super) fn read(&mut self, system: SystemId) {
        self.reads.insert(system, self.last_of(system));
    }

    /// Queues a read because of what others did.
    pub(super) fn look_at(&mut self, system: SystemId) {
        match self.owns_actions {
            true => self.read(system),
            false => drop(self.reads.insert(system, 0)),
        }
    }

    pub(super) fn ask_changed(&mut self) {
        self.asks_changed = true;
    }

    /// The next operation; a record and another one take turns while both wait. Claims get the given lease.
    pub(super) fn take(&mut self, lease_until: Timestamp, now: Timestamp) -> Option<Operation> {
        let is_due = self.record_is_due(now);
        if !is_due || std::mem::take(&mut self.recorded_last) {
            let operation = self.take_ready(lease_until);
            if operation.is_some() {
                return operation;
            }
        }
        is_due.then(|| self.take_entries())
    }

    fn take_entries(&mut self) -> Operation {
        let batch = self.entries.len().min(RECORD_BATCH_MAX);
        let mut entries = Vec::with_capacity(batch);
        for (place, entry) in self.entries.drain(..batch) {
            self.recording = place;
            entries.push(entry);
        }
        Operation::Record(entries)
    }

    /// The record that was taken is done.
    pub(super) fn recorded(&mut self) {
        self.recorded = self.recording;
        self.recorded_last = true;
        self.last.retain(|_, place| *place > self.recording);
    }

    /// Puts an operation back that had no effect, or one that may be repeated.
    pub(super) fn put_back(&mut self, operation: Operation) {
        match operation {
            // They will be taken together again: no place in between is asked for.
            Operation::Record(entries) => {
                for entry in entries.into_iter().rev() {
                    self.entries.push_front((self.recording, entry));
                }
            }
            Operation::Open(systems) => systems.into_iter().for_each(|system| self.open(system)),
            Operation::Read(systems) => systems.into_iter().for_each(|system| self.read(system)),
            Operation::AskChanged => self.asks_changed = true,
            // Decided or asked for again, with what holds by then.
            Operation::Claim(..) | Operation::Settle(_) => {}
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        let waits = !self.claims.is_empty() || !self.opens.is_empty() || !self.reads.is_empty();
        self.entries.is_empty() && !waits && !self.asks_changed
    }

    /// What shortens a push most comes first.
    fn take_ready(&mut self, lease_until: Timestamp) -> Option<Operation> {
        let claims = self.take_claims();
        if !claims.is_empty() {
            return Some(Operation::Claim(claims, lease_until));
        }
        let reads = take_batch(&mut self.reads, self.recorded);
        if !reads.is_empty() {
            return Some(Operation::Read(reads));
        }
        if std::mem::take(&mut self.asks_changed) {
            return Some(Operation::AskChanged);
        }
        let opens = self.take_opens();
        (!opens.is_empty()).then_some(Operation::Open(opens))
    }

    fn take_claims(&mut self) -> Vec<Claim> {
        let (mut taken, mut left) = (Vec::new(), VecDeque::new());
        for (place, claim) in self.claims.drain(..) {
            match place <= self.recorded && taken.len() < CLAIM_BATCH_MAX {
                true => taken.push(claim),
                false => left.push_back((place, claim)),
            }
        }
        self.claims = left;
        taken
    }

    /// What an opening reads is all that is known of its system: it also waits for entries that came after it, as from an
    /// older connection's last words.
    fn take_opens(&mut self) -> Vec<SystemId> {
        let ready = self.opens.iter().filter(|system| !self.last.contains_key(system));
        let batch: Vec<SystemId> = ready.copied().take(READ_BATCH_MAX).collect();
        for system in &batch {
            self.opens.remove(system);
        }
        batch
    }

    fn record_is_due(&self, now: Timestamp) -> bool {
        let Some((_, first)) = self.entries.front() else {
            return false;
        };
        // A clock that was set back makes nobody wait.
        let is_time = now < first.at || first.at + self.gather <= now;
        let is_awaited = |place: &Place| *place > self.recorded;
        is_time
            || self.entries.len() >= RECORD_BATCH_MAX
            || self.claims.iter().any(|(place, _)| is_awaited(place))
            || self.opens.iter().any(|system| self.last.contains_key(system))
    }

    /// When entries are to be recorded though nobody waits for them.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.entries.front().map(|(_, first)| first.at + self.gather)
    }

    fn last_of(&self, system: SystemId) -> Place {
        self.last.get(&system).copied().unwrap_or(0)
    }
}

impl Agenda {
    /// The end is near: what is to be recorded waits for nothing more.
    pub fn hurry(&mut self) {
        self.lanes.gather = Duration::ZERO;
    }
}

/// The first of those that need not wait.
fn take_batch(systems: &mut BTreeMap<SystemId, Place>, recorded: Place) -> Vec<SystemId> {
    let ready = systems.iter().filter(|(_, place)| **place <= recorded);
    let batch: Vec<SystemId> = ready.map(|(&system, _)| system).take(READ_BATCH_MAX).collect();
    for system in &batch {
        systems.remove(system);
    }
    batch
}
