//! Finding out cheaply what changed, with no index but the Satellite's own.
//!
//! | What | How | How often |
//! |---|---|---|
//! | new actions | `rhnAction.id` above a watermark, then `rhnServerAction.action_id` | every call |
//! | everything else about actions of connected systems: reschedules, chains, cancellations, pick-ups, ends | their pending rows, by `(server_id, action_id, status)`, compared with the last time | in turns, beside everything else, for 2 % of one core at most |
//! | names, keys, JIDs, pings of connected systems | `rhnPushClient.server_id` | every 5 s |
//! | what triggers named, if there are any | the same, for [these](super::hinted) first | at once, 50 ms apart, for 10 % of one core at most |
//!
//! Commits come late and out of order: an id below the watermark may appear after one above. So the watermark lags by
//! 15 minutes, and the systems of an action are counted again, less and less often, until then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::hinted::Hinted;
use super::hints::Hints;
use crate::domain::ids::SystemId;

/// How long after its first sight an action is still looked at.
const OVERLAP: Duration = Duration::from_secs(15 * 60);
/// Before an action's systems are counted a second time; doubled after each count.
const COUNT_AGAIN: Duration = Duration::from_secs(1);
/// Actions that are remembered at most. More within 15 minutes push the oldest out, to be found by reconciliation.
const ACTIONS_MAX: usize = 50_000;
/// Systems whose pending rows are compared in one statement.
pub(super) const SWEEP_BATCH: usize = 500;
/// For each unit of time that a comparison takes, so many pass before the next: 2 % of one core.
const SWEEP_REST: u32 = 49;
/// Between two looks at ids while triggers say where to look.
const IDS_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at names, keys and pings.
const CLIENTS_EVERY: Duration = Duration::from_secs(5);

/// An action above the watermark.
#[derive(Clone, Copy, Debug)]
struct Seen {
    first: Instant,
    next: Instant,
    pause: Duration,
    rows: usize,
}

/// What is remembered between two calls.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Every id up to here is settled.
    watermark: i64,
    actions: BTreeMap<i64, Seen>,
    /// Ids are not asked for before this while triggers say where to look.
    ids_at: Option<Instant>,
    /// Connected systems, with a mark of their pending rows; none, if they were read since it was made.
    connected: BTreeMap<SystemId, Option<i64>>,
    /// Names and JIDs of connected systems as they were seen last.
    clients: BTreeMap<SystemId, (String, String)>,
    /// The comparison goes on after this system.
    swept: Option<SystemId>,
    sweep_at: Option<Instant>,
    /// Systems that are being compared in their turn, those left out that are known better since it began.
    sweeping: Option<BTreeSet<SystemId>>,
    clients_at: Option<Instant>,
    /// What triggers named.
    pub(super) hinted: Hinted,
    /// Systems that were found to have changed, until somebody is told.
    untold: BTreeSet<SystemId>,
}

impl Watch {
    /// Begins after this action.
    pub(super) fn starting_at(newest: i64) -> Self {
        Self {
            watermark: newest,
            ..Self::default()
        }
    }

    /// A system's client is connected, or not any more.
    pub(super) fn set_connected(&mut self, system: SystemId, is_connected: bool) {
        self.hinted.set_connected(system, is_connected);
        self.end_sweep_of(system);
        if is_connected {
            self.connected.entry(system).or_default();
        } else {
            self.connected.remove(&system);
            self.clients.remove(&system);
        }
    }

    /// These systems are about to be connected, and were read with these marks: whatever happens from then on is a change.
    pub(super) fn opened(&mut self, systems: impl Iterator<Item = SystemId>, marks: &[(i64, i64)]) {
        let marks: BTreeMap<i64, i64> = marks.iter().copied().collect();
        for system in systems {
            self.set_connected(system, true);
            let mark = marks.get(&system.0).copied().unwrap_or_default();
            self.connected.insert(system, Some(mark));
        }
    }

    /// Exactly these systems are connected.
    pub(super) fn set_all_connected(&mut self, systems: &[SystemId]) {
        let wanted: BTreeSet<SystemId> = systems.iter().copied().collect();
        let gone = self.connected.keys().filter(|system| !wanted.contains(system));
        let gone: Vec<SystemId> = gone.copied().collect();
        gone.into_iter().for_each(|system| self.set_connected(system, false));
        wanted.into_iter().for_each(|system| self.set_connected(system, true));
    }

    /// Takes in what triggers told.
    pub(super) fn hint(&mut self, hints: &Hints) {
        self.hinted.absorb(hints);
        if hints.all_clients {
            self.clients_at = None;
        }
    }

    /// Actions of these systems were named or are new. They will be read with what their marks do not show yet: whatever
    /// their rows are like at the next comparison, that has changed.
    pub(super) fn named(&mut self, systems: impl IntoIterator<Item = SystemId>) {
        for system in systems {
            self.end_sweep_of(system);
            if let Some(mark) = self.connected.get_mut(&system) {
                *mark = None;
            }
            self.untold.insert(system);
        }
    }

    /// These systems changed. They are kept until [`Watch::take_changed`], however the rest of a look ends.
    pub(super) fn changed(&mut self, systems: impl IntoIterator<Item = SystemId>) {
        self.untold.extend(systems);
    }

    /// The systems that changed.
    pub(super) fn take_changed(&mut self) -> Vec<SystemId> {
        std::mem::take(&mut self.untold).into_iter().collect()
    }

    /// Only ids above this are asked for.
    pub(super) fn watermark(&self) -> i64 {
        self.watermark
    }

    /// Whether ids above the watermark are to be asked for: unless triggers said where to look, and it was done within a
    /// second. Of ids there are as many as were scheduled in 15 minutes.
    pub(super) fn wants_ids(&mut self, are_named: bool, now: Instant) -> bool {
        if are_named && self.ids_at.is_some_and(|at| at > now) {
            return false;
        }
        self.ids_at = Some(now + IDS_EVERY);
        true
    }

    /// These actions are above the watermark; those of them whose systems are to be counted now.
    pub(super) fn actions_seen(&mut self, ids: &[i64], now: Instant) -> Vec<i64> {
        for &id in ids {
            self.actions.entry(id).or_insert(Seen {
                first: now,
                next: now,
                pause: COUNT_AGAIN,
                rows: 0,
            });
        }
        while let Some((&id, seen)) = self.actions.first_key_value() {
            if now.duration_since(seen.first) < OVERLAP && self.actions.len() <= ACTIONS_MAX {
                break;
            }
            self.watermark = self.watermark.max(id);
            self.actions.remove(&id);
        }
        let due = self.actions.iter().filter(|(_, seen)| seen.next <= now);
        due.map(|(&id, _)| id).collect()
    }

    /// The pending systems of the actions that were asked for; those of actions that have more or fewer than before.
    pub(super) fn actions_counted(&mut self, asked: &[i64], rows: &[(i64, i64)], now: Instant) -> Vec<SystemId> {
        let mut systems: BTreeMap<i64, Vec<SystemId>> = asked.iter().map(|&id| (id, Vec::new())).collect();
        for &(action, system) in rows {
            systems.entry(action).or_default().push(SystemId(system));
        }
        let mut told = BTreeSet::new();
        for (id, systems) in systems {
            let Some(seen) = self.actions.get_mut(&id) else {
                continue;
            };
            seen.next = now + seen.pause;
            seen.pause *= 2;
            if seen.rows != systems.len() {
                seen.rows = systems.len();
                told.extend(systems);
            }
        }
        told.into_iter().collect()
    }

    /// The systems whose pending rows are to be compared now, if it is time. Until [`Watch::swept`] is told there are no
    /// others.
    pub(super) fn next_sweep(&mut self, now: Instant) -> Vec<SystemId> {
        if self.connected.is_empty() || self.sweeping.is_some() || self.sweep_at.is_some_and(|at| at > now) {
            return Vec::new();
        }
        let after = self.swept.map_or(i64::MIN, |SystemId(id)| id.saturating_add(1));
        let rest = self.connected.range(SystemId(after)..).map(|(&system, _)| system);
        let mut batch: Vec<SystemId> = rest.take(SWEEP_BATCH).collect();
        if batch.is_empty() {
            batch = self.connected.keys().copied().take(SWEEP_BATCH).collect();
        }
        self.sweeping = Some(batch.iter().copied().collect());
        batch
    }

    /// Marks of the pending rows of these systems, those without any left out, or none if they could not be read; the
    /// systems where they changed.
    pub(super) fn swept(
        &mut self,
        asked: &[SystemId],
        marks: Option<&[(i64, i64)]>,
        began: Instant,
        now: Instant,
    ) -> Vec<SystemId> {
        self.sweep_at = Some(now + now.duration_since(began) * SWEEP_REST);
        let sweeping: Vec<SystemId> = self.sweeping.take().into_iter().flatten().collect();
        let Some(marks) = marks else {
            return Vec::new();
        };
        self.swept = asked.last().copied();
        self.compared(&sweeping, marks)
    }

    /// What the sweep that is under way finds out about a system is out of date.
    fn end_sweep_of(&mut self, system: SystemId) {
        if let Some(sweeping) = &mut self.sweeping {
            sweeping.remove(&system);
        }
    }

    /// The same of systems that triggers named, which does not move the sweep on.
    pub(super) fn compared(&mut self, asked: &[SystemId], marks: &[(i64, i64)]) -> Vec<SystemId> {
        let marks: BTreeMap<i64, i64> = marks.iter().copied().collect();
        let mut changed = Vec::new();
        for &system in asked {
            self.end_sweep_of(system);
            let Some(known) = self.connected.get_mut(&system) else {
                continue;
            };
            let mark = marks.get(&system.0).copied().unwrap_or_default();
            if known.replace(mark) != Some(mark) {
                changed.push(system);
            }
        }
        changed
    }

    /// Connected systems with name and JID as known, whose registrations are to be looked at now; and whether they are
    /// only those that triggers named.
    pub(super) fn next_clients(&mut self, now: Instant) -> (Vec<(SystemId, String, String)>, bool) {
        if self.connected.is_empty() {
            return (Vec::new(), false);
        }
        let is_time = self.clients_at.is_none_or(|at| at <= now);
        let systems: Vec<SystemId> = match is_time {
            true => self.connected.keys().copied().collect(),
            false => self.hinted.take_clients(now),
        };
        if is_time {
            self.clients_at = Some(now + CLIENTS_EVERY);
            self.hinted.forget_clients();
        }
        let known = |system: SystemId| {
            let (name, jid) = self.clients.get(&system).cloned().unwrap_or_default();
            (system, name, jid)
        };
        (systems.into_iter().map(known).collect(), !is_time)
    }

    /// Registrations that differ from what was known; those of them that were known.
    pub(super) fn clients_seen(&mut self, rows: Vec<(i64, String, String)>) -> Vec<SystemId> {
        let mut renewed = Vec::new();
        for (system, name, jid) in rows {
            let system = SystemId(system);
            if self.connected.contains_key(&system) && self.clients.insert(system, (name, jid)).is_some() {
                renewed.push(system);
            }
        }
        renewed
    }
}

#[cfg(test)]
mod tests;
