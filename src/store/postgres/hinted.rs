//! Which connected systems the triggers named, and when it is time to look at them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::hints::{Hints, bucket};
use super::watch::SWEEP_BATCH;
use crate::domain::ids::SystemId;

/// For each unit of time that a look takes, so many pass before the next: 10 % of one core. What is named faster than
/// that waits, for its turn here or in the sweep.
const REST: u32 = 9;
/// The shortest rest: what is named meanwhile, such as pick-up and end of many checks, is compared in one go.
const REST_MIN: Duration = Duration::from_millis(50);
/// The longest rest. A look that took long waited for somebody, more than it worked.
const REST_MAX: Duration = Duration::from_secs(1);

/// What is to be looked at.
#[derive(Debug, Default)]
pub(super) struct Hinted {
    /// Connected systems by their buckets.
    connected: BTreeSet<(i64, SystemId)>,
    actions: BTreeSet<i64>,
    systems: BTreeSet<SystemId>,
    clients: BTreeSet<SystemId>,
    rest_until: Option<Instant>,
    /// Somebody will look at this time.
    wake_at: Option<Instant>,
}

impl Hinted {
    /// A system's client is connected, or not any more.
    pub(super) fn set_connected(&mut self, system: SystemId, is_connected: bool) {
        let place = (bucket(system), system);
        if !is_connected {
            self.connected.remove(&place);
            self.systems.remove(&system);
            self.clients.remove(&system);
        } else {
            self.connected.insert(place);
        }
    }

    /// Takes in what was told; it concerns connected systems only.
    pub(super) fn absorb(&mut self, hints: &Hints) {
        self.actions.extend(&hints.actions);
        let connected = &self.connected;
        let in_bucket = |bucket: &i64| {
            let all = (*bucket, SystemId(i64::MIN))..=(*bucket, SystemId(i64::MAX));
            connected.range(all).map(|(_, system)| *system)
        };
        self.systems.extend(hints.systems.iter().flat_map(in_bucket));
        self.clients.extend(hints.clients.iter().flat_map(in_bucket));
        if hints.all_systems {
            self.systems.extend(connected.iter().map(|(_, system)| *system));
        }
    }

    /// The actions that were named.
    pub(super) fn take_actions(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.actions).into_iter().collect()
    }

    /// These could not be looked at.
    pub(super) fn put_actions_back(&mut self, actions: Vec<i64>) {
        self.actions.extend(actions);
    }

    /// The systems whose pending rows are to be compared, if it is time.
    pub(super) fn take_systems(&mut self, now: Instant) -> Vec<SystemId> {
        match self.rests(now) {
            true => Vec::new(),
            false => take_batch(&mut self.systems),
        }
    }

    /// These could not be compared.
    pub(super) fn put_systems_back(&mut self, systems: Vec<SystemId>) {
        let connected = |system: &SystemId| self.connected.contains(&(bucket(*system), *system));
        self.systems.extend(systems.into_iter().filter(connected));
    }

    /// The systems whose registrations are to be looked at, if it is time.
    pub(super) fn take_clients(&mut self, now: Instant) -> Vec<SystemId> {
        match self.rests(now) {
            true => Vec::new(),
            false => take_batch(&mut self.clients),
        }
    }

    /// All registrations are looked at anyway.
    pub(super) fn forget_clients(&mut self) {
        self.clients.clear();
    }

    /// A look at what was named took this time.
    pub(super) fn looked(&mut self, began: Instant, now: Instant) {
        let rest = (now.duration_since(began) * REST).clamp(REST_MIN, REST_MAX);
        self.rest_until = self.rest_until.max(Some(now + rest));
    }

    /// When somebody is to look at what is left, unless that is arranged already.
    pub(super) fn next_wake(&mut self, now: Instant) -> Option<Instant> {
        let is_arranged = self.wake_at.is_some_and(|at| at > now);
        if is_arranged || (self.systems.is_empty() && self.clients.is_empty()) {
            return None;
        }
        self.wake_at = Some(self.rest_until.map_or(now, |until| until.max(now)));
        self.wake_at
    }

    fn rests(&self, now: Instant) -> bool {
        self.rest_until.is_some_and(|until| until > now)
    }
}

fn take_batch(systems: &mut BTreeSet<SystemId>) -> Vec<SystemId> {
    let rest = systems.iter().nth(SWEEP_BATCH).copied();
    let rest = rest.map(|first| systems.split_off(&first)).unwrap_or_default();
    std::mem::replace(systems, rest).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::hints::BUCKETS;
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn told(payload: &str) -> Hints {
        let mut hints = Hints::default();
        hints.hear(payload);
        hints
    }

    fn connected(systems: &[SystemId]) -> Hinted {
        let mut hinted = Hinted::default();
        for &system in systems {
            hinted.set_connected(system, true);
        }
        hinted
    }

    #[test]
    fn only_connected_systems_of_the_bucket_are_looked_at() {
        let now = Instant::now();
        let (there, same, gone) = (SystemId(7), SystemId(7 + BUCKETS), SystemId(7 + 2 * BUCKETS));
        let mut hinted = connected(&[there, same, SystemId(8), gone]);
        hinted.set_connected(gone, false);

        hinted.absorb(&told("s7"));

        assert_eq!(hinted.take_systems(now), [there, same]);
        assert!(hinted.take_clients(now).is_empty());
        hinted.absorb(&told("c8"));
        assert_eq!(hinted.take_clients(now), [SystemId(8)]);
    }

    #[test]
    fn looks_rest_and_somebody_is_woken_for_what_is_left() {
        let now = Instant::now();
        let mut hinted = connected(&[SystemId(1), SystemId(2)]);
        hinted.absorb(&told("s1"));
        assert_eq!(hinted.next_wake(now), Some(now));
        assert_eq!(hinted.take_systems(now), [SystemId(1)]);
        let ended = now + 10 * MILLISECOND;
        hinted.looked(now, ended);
        assert_eq!(hinted.next_wake(ended), None, "nothing is left");

        hinted.absorb(&told("s2"));

        assert!(hinted.take_systems(ended).is_empty());
        let rested = ended + 90 * MILLISECOND;
        assert_eq!(hinted.next_wake(ended), Some(rested));
        assert_eq!(hinted.next_wake(ended), None, "it is arranged");
        assert_eq!(hinted.take_systems(rested), [SystemId(2)]);
    }

    #[test]
    fn what_was_missed_is_looked_for_in_batches() {
        let now = Instant::now();
        let all: Vec<SystemId> = (1..=700).map(SystemId).collect();
        let mut hinted = connected(&all);
        let mut hints = Hints::default();
        hints.miss();

        hinted.absorb(&hints);

        let first = hinted.take_systems(now);
        assert_eq!(first.len(), SWEEP_BATCH);
        hinted.put_systems_back(first);
        assert_eq!(hinted.take_systems(now).len(), SWEEP_BATCH);
        assert_eq!(hinted.take_systems(now).len(), 200);
        assert!(hinted.take_systems(now).is_empty());
    }
}
