//! Store operations to come: what is written first, what may run only after that, and in which batches.
//!
//! ```text
//! entries ───────────────► Record ──┐ recorded
//! claims, opens, reads ─► with_it ──┴────────► ready ─► Claim, Open, Read
//! ```
//!
//! A claim must find the system's last request ended, an opening its reports applied, a read the steps that caused it:
//! so each waits for the entries that were queued before it, and for no later ones.

use std::collections::{BTreeSet, VecDeque};

use super::Operation;
use crate::domain::ids::SystemId;
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

/// Operations that wait for entries to be recorded.
#[derive(Debug, Default)]
struct Stage {
    claims: VecDeque<Claim>,
    opens: BTreeSet<SystemId>,
    reads: BTreeSet<SystemId>,
    asks_changed: bool,
}

impl Stage {
    fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.opens.is_empty() && self.reads.is_empty() && !self.asks_changed
    }

    fn absorb(&mut self, mut other: Self) {
        self.claims.append(&mut other.claims);
        self.opens.append(&mut other.opens);
        self.reads.append(&mut other.reads);
        self.asks_changed |= other.asks_changed;
    }

    /// What shortens a push most comes first.
    fn take(&mut self, lease_until: Timestamp) -> Option<Operation> {
        if !self.claims.is_empty() {
            let batch = self.claims.len().min(CLAIM_BATCH_MAX);
            return Some(Operation::Claim(self.claims.drain(..batch).collect(), lease_until));
        }
        if !self.reads.is_empty() {
            return Some(Operation::Read(take_batch(&mut self.reads)));
        }
        if std::mem::take(&mut self.asks_changed) {
            return Some(Operation::AskChanged);
        }
        (!self.opens.is_empty()).then(|| Operation::Open(take_batch(&mut self.opens)))
    }
}

fn take_batch(systems: &mut BTreeSet<SystemId>) -> Vec<SystemId> {
    let rest = systems
        .iter()
        .nth(READ_BATCH_MAX)
        .copied()
        .map(|first| systems.split_off(&first));
    std::mem::replace(systems, rest.unwrap_or_default())
        .into_iter()
        .collect()
}

/// All operations to come.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    entries: VecDeque<Entry>,
    /// Queued since the last record began.
    wanted: Stage,
    /// Queued before the record that is under way began.
    with_record: Stage,
    /// Free to run.
    ready: Stage,
    recording: bool,
    recorded_last: bool,
}

impl Lanes {
    /// Queues an entry. Of a system's pauses and signs of life only the last matters.
    pub(super) fn record(&mut self, entry: Entry) {
        if matches!(entry.step, Step::Waiting(_) | Step::Heard) {
            let kind = std::mem::discriminant(&entry.step);
            let from = self.entries.len().saturating_sub(LOOK_BACK);
            let old = self
                .entries
                .range(from..)
                .position(|old| old.system == entry.system && std::mem::discriminant(&old.step) == kind);
            if let Some(position) = old {
                self.entries.remove(from + position);
            }
        }
        self.entries.push_back(entry);
    }

    pub(super) fn claim(&mut self, claims: Vec<Claim>) {
        self.wanted.claims.extend(claims);
    }

    /// Takes back the claims that have not begun.
    pub(super) fn withdraw_claims(&mut self) -> Vec<Claim> {
        let stages = [&mut self.wanted, &mut self.with_record, &mut self.ready];
        stages.into_iter().flat_map(|stage| stage.claims.drain(..)).collect()
    }

    pub(super) fn open(&mut self, system: SystemId) {
        self.wanted.opens.insert(system);
    }

    /// Queues a read; one that has not begun and was queued earlier is superseded.
    pub(super) fn read(&mut self, system: SystemId) {
        self.with_record.reads.remove(&system);
        self.ready.reads.remove(&system);
        self.wanted.reads.insert(system);
    }

    pub(super) fn ask_changed(&mut self) {
        self.wanted.asks_changed = true;
    }

    /// The next operation; a record and another one take turns while both wait. Claims get the given lease.
    pub(super) fn take(&mut self, lease_until: Timestamp) -> Option<Operation> {
        if self.entries.is_empty() {
            self.ready.absorb(std::mem::take(&mut self.wanted));
        }
        if self.recorded_last || self.entries.is_empty() {
            self.recorded_last = false;
            if let Some(operation) = self.ready.take(lease_until) {
                return Some(operation);
            }
        }
        if self.entries.is_empty() {
            return None;
        }
        self.recording = true;
        let batch = self.entries.len().min(RECORD_BATCH_MAX);
        if batch == self.entries.len() {
            self.with_record = std::mem::take(&mut self.wanted);
        }
        Some(Operation::Record(self.entries.drain(..batch).collect()))
    }

    /// The record that was taken is done.
    pub(super) fn recorded(&mut self) {
        self.recording = false;
        self.recorded_last = true;
        self.ready.absorb(std::mem::take(&mut self.with_record));
    }

    /// Puts an operation back that had no effect, or one that may be repeated.
    pub(super) fn put_back(&mut self, operation: Operation) {
        match operation {
            Operation::Record(entries) => {
                self.recording = false;
                entries
                    .into_iter()
                    .rev()
                    .for_each(|entry| self.entries.push_front(entry));
                let mut earlier = std::mem::take(&mut self.with_record);
                earlier.absorb(std::mem::take(&mut self.wanted));
                self.wanted = earlier;
            }
            Operation::Claim(claims, _) => claims
                .into_iter()
                .rev()
                .for_each(|claim| self.wanted.claims.push_front(claim)),
            Operation::Open(systems) => self.wanted.opens.extend(systems),
            Operation::Read(systems) => self.wanted.reads.extend(systems),
            Operation::AskChanged => self.wanted.asks_changed = true,
            // Asked for again with what holds by then.
            Operation::Settle(_) => {}
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.wanted.is_empty() && self.with_record.is_empty() && self.ready.is_empty()
    }
}
