//! Finding out cheaply what changed, with no index but the Satellite's own.
//!
//! | What | How | How often |
//! |---|---|---|
//! | new actions | `rhnAction.id` above a watermark, then `rhnServerAction.action_id` | every call |
//! | everything else about actions of connected systems: reschedules, chains, cancellations, pick-ups, ends | their pending rows, by `(server_id, action_id, status)`, compared with the last time | in turns, for 2 % of one core at most |
//! | names, keys, JIDs, pings of connected systems | `rhnPushClient.server_id` | every 5 s |
//! | what triggers named, if there are any | the same, for [these](super::hinted) first | at once, for 10 % of one core at most |
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

    /// The systems whose pending rows are to be compared now, if it is time.
    pub(super) fn next_sweep(&self, now: Instant) -> Vec<SystemId> {
        if self.connected.is_empty() || self.sweep_at.is_some_and(|at| at > now) {
            return Vec::new();
        }
        let after = self.swept.map_or(i64::MIN, |SystemId(id)| id.saturating_add(1));
        let rest = self.connected.range(SystemId(after)..).map(|(&system, _)| system);
        let batch: Vec<SystemId> = rest.take(SWEEP_BATCH).collect();
        match batch.is_empty() {
            true => self.connected.keys().copied().take(SWEEP_BATCH).collect(),
            false => batch,
        }
    }

    /// Marks of the pending rows of these systems, those without any left out; the systems where they changed.
    pub(super) fn swept(
        &mut self,
        asked: &[SystemId],
        marks: &[(i64, i64)],
        began: Instant,
        now: Instant,
    ) -> Vec<SystemId> {
        self.swept = asked.last().copied();
        self.sweep_at = Some(now + now.duration_since(began) * SWEEP_REST);
        self.hinted.were_compared(asked);
        self.compared(asked, marks)
    }

    /// The same of systems that triggers named, which does not move the sweep on.
    pub(super) fn compared(&mut self, asked: &[SystemId], marks: &[(i64, i64)]) -> Vec<SystemId> {
        let marks: BTreeMap<i64, i64> = marks.iter().copied().collect();
        let mut changed = Vec::new();
        for &system in asked {
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
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ids(systems: &[SystemId]) -> Vec<i64> {
        systems.iter().map(|system| system.0).collect()
    }

    #[test]
    fn action_is_told_once_and_again_when_its_systems_change() {
        let mut watch = Watch::starting_at(10);
        let now = Instant::now();

        assert_eq!(watch.actions_seen(&[12], now), [12]);
        assert_eq!(ids(&watch.actions_counted(&[12], &[(12, 1), (12, 2)], now)), [1, 2]);
        assert!(watch.actions_seen(&[12], now).is_empty());
        assert_eq!(watch.actions_seen(&[12], now + SECOND), [12]);
        assert!(
            watch
                .actions_counted(&[12], &[(12, 1), (12, 2)], now + SECOND)
                .is_empty()
        );
        let later = now + 3 * SECOND;
        assert_eq!(watch.actions_seen(&[12], later), [12]);
        assert_eq!(
            ids(&watch.actions_counted(&[12], &[(12, 1), (12, 2), (12, 3)], later)),
            [1, 2, 3]
        );
    }

    #[test]
    fn ids_are_asked_for_at_each_look_unless_triggers_say_where() {
        let mut watch = Watch::default();
        let now = Instant::now();

        assert!(watch.wants_ids(true, now), "not asked yet");
        assert!(!watch.wants_ids(true, now));
        assert!(watch.wants_ids(false, now), "nobody said where");
        assert!(!watch.wants_ids(true, now + SECOND / 2));
        assert!(watch.wants_ids(true, now + SECOND));
    }

    #[test]
    fn late_commit_below_the_newest_id_is_seen() {
        let mut watch = Watch::starting_at(10);
        let now = Instant::now();
        watch.actions_seen(&[13], now);
        watch.actions_counted(&[13], &[], now);

        assert_eq!(watch.watermark(), 10);
        assert_eq!(watch.actions_seen(&[12, 13], now), [12]);
        assert!(watch.actions_seen(&[12, 13], now + OVERLAP).is_empty());
        assert_eq!(watch.watermark(), 13);
    }

    #[test]
    fn sweep_goes_round_and_rests() {
        let mut watch = Watch::default();
        let all: Vec<SystemId> = (1..=700).map(SystemId).collect();
        watch.opened(all.into_iter(), &[]);
        let now = Instant::now();

        let first = watch.next_sweep(now);
        assert_eq!(first.len(), SWEEP_BATCH);
        let ended = now + Duration::from_millis(10);
        assert_eq!(ids(&watch.swept(&first, &[(1, 7)], now, ended)), [1]);
        assert!(watch.next_sweep(ended).is_empty());
        let second = watch.next_sweep(ended + Duration::from_millis(490));
        assert_eq!(second.len(), 200);
        watch.swept(&second, &[], ended, ended);
        let again = watch.next_sweep(ended);
        assert_eq!(again, first);
        assert_eq!(ids(&watch.swept(&again, &[(1, 8), (2, 5)], ended, ended)), [1, 2]);
    }

    #[test]
    fn change_since_a_system_was_opened_is_told() {
        let mut watch = Watch::default();
        let systems = [SystemId(1), SystemId(2), SystemId(3)];
        watch.opened(systems.into_iter(), &[(1, 7), (2, 8)]);
        watch.set_connected(SystemId(1), true);

        // What was pending on the second is not any more.
        assert_eq!(ids(&watch.compared(&systems, &[(1, 7)])), [2]);
    }

    #[test]
    fn action_that_comes_and_goes_between_two_comparisons_is_told_twice() {
        let mut watch = Watch::default();
        watch.opened([SystemId(1)].into_iter(), &[]);
        watch.named([SystemId(1), SystemId(2)]);

        assert_eq!(ids(&watch.take_changed()), [1, 2]);
        assert_eq!(ids(&watch.compared(&[SystemId(1)], &[])), [1]);
        assert!(watch.compared(&[SystemId(1)], &[]).is_empty());
    }

    #[test]
    fn registration_is_renewed_when_it_was_known() {
        let mut watch = Watch::default();
        watch.set_connected(SystemId(1), true);
        let row = |name: &str| (1, name.to_owned(), "a@b/osad".to_owned());

        assert!(watch.clients_seen(vec![row("old")]).is_empty());
        assert_eq!(ids(&watch.clients_seen(vec![row("new")])), [1]);
        watch.set_connected(SystemId(1), false);
        assert!(watch.clients_seen(vec![row("newer")]).is_empty());
    }
}
