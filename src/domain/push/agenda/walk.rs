//! The walk over all connected systems whose reads repair all else, in pieces, so that it costs a small part of the
//! database's time however many there are.

use std::time::Duration;

use crate::domain::ids::SystemId;
use crate::domain::time::Timestamp;

/// Systems read in one piece: whatever is to be sent waits for it.
const PIECE: usize = 50;
/// For each unit of time that a piece takes, so many pass before the next: 2 % of one core.
const REST: u32 = 49;
/// The longest rest: a database that slow is not made fast by waiting.
const REST_MAX: Duration = Duration::from_secs(10);

/// How far the walk has come.
#[derive(Debug, Default)]
pub(super) struct Walk {
    under_way: bool,
    /// The last system that was read.
    after: Option<SystemId>,
    /// The last system of the piece that is being read.
    awaited: Option<SystemId>,
    rest_until: Option<Timestamp>,
}

impl Walk {
    /// Begins, unless the last one is not finished.
    pub(super) fn begin(&mut self) {
        if !self.under_way {
            self.under_way = true;
            self.after = None;
        }
    }

    /// The systems to be read now, of those after the given one.
    pub(super) fn piece<I: Iterator<Item = SystemId>>(
        &mut self,
        systems_after: impl FnOnce(Option<SystemId>) -> I,
        now: Timestamp,
    ) -> Vec<SystemId> {
        if !self.under_way || self.awaited.is_some() || self.rest_until.is_some_and(|until| until > now) {
            return Vec::new();
        }
        let piece: Vec<SystemId> = systems_after(self.after).take(PIECE).collect();
        self.rest_until = None;
        self.awaited = piece.last().copied();
        self.under_way = self.awaited.is_some();
        piece
    }

    /// These systems were read.
    pub(super) fn read(&mut self, systems: &[SystemId], began: Timestamp, now: Timestamp) {
        let Some(awaited) = self.awaited.filter(|awaited| systems.contains(awaited)) else {
            return;
        };
        self.awaited = None;
        self.after = Some(awaited);
        self.rest_until = Some(now + (now.saturating_since(began) * REST).min(REST_MAX));
    }

    /// Whether there are systems left.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// When there is something to read again, by the passing of time.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.rest_until.filter(|_| self.under_way && self.awaited.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn systems_after(after: Option<SystemId>) -> impl Iterator<Item = SystemId> {
        (after.map_or(1, |SystemId(id)| id + 1)..=70).map(SystemId)
    }

    #[test]
    fn walk_rests_in_proportion_and_ends() {
        let mut walk = Walk::default();
        let now = Timestamp::from_secs(100);
        assert!(walk.piece(systems_after, now).is_empty());
        walk.begin();

        let first = walk.piece(systems_after, now);
        assert_eq!(first.len(), PIECE);
        assert!(walk.piece(systems_after, now).is_empty());
        let ended = now + Duration::from_millis(20);
        walk.read(&first, now, ended);
        assert_eq!(walk.deadline(), Some(ended + Duration::from_millis(980)));
        assert!(walk.piece(systems_after, ended).is_empty());

        let rested = now + Duration::from_secs(1);
        let second = walk.piece(systems_after, rested);
        assert_eq!(second.len(), 20);
        walk.read(&second, rested, rested);
        assert!(walk.piece(systems_after, rested).is_empty());
        assert_eq!(walk.deadline(), None);
    }
}
