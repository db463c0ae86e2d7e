//! Agents that take a system's requests from each other; pure.
//!
//! Two agents with one systemid each register and connect in turn, and each time the older session ends. Once may be an
//! agent that moved to another account; again and again means a clone, and only a person can say which of them it is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::ids::SystemId;

/// How long after the last clash it is forgotten: longer than agents wait before they register again.
const KEPT: Duration = Duration::from_secs(3_600);
/// Systems whose clashes are kept; of more, the oldest are forgotten.
const SYSTEMS_MAX: usize = 1_024;
/// How often the same pair is logged.
const PAIR_LOGGED_EVERY: Duration = Duration::from_secs(3_600);
/// How often any pair is logged: a site may clone a thousand machines at once.
const LOGGED_EVERY: Duration = Duration::from_secs(10);

/// One of two agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// Its full JID.
    pub jid: Arc<str>,
    /// Where it connects from.
    pub address: IpAddr,
}

/// What happened between agents of one system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rivalry {
    /// How often one took over from another.
    pub times: u32,
    /// How long ago it last happened.
    pub ago: Duration,
    /// Whose session ended.
    pub older: Rival,
    /// Who took over.
    pub newer: Rival,
}

struct Clash {
    times: u32,
    last: Instant,
    logged: Option<Instant>,
    older: Rival,
    newer: Rival,
}

/// The clashes of the last hour.
#[derive(Default)]
pub(super) struct Rivals {
    clashes: HashMap<SystemId, Clash>,
    logged: Option<Instant>,
}

impl Rivals {
    /// Notes that `newer` took a system over from `older`; whether it is to be logged.
    pub fn note(&mut self, system: SystemId, older: Rival, newer: Rival, now: Instant) -> bool {
        self.make_room(system, now);
        let known = self.clashes.remove(&system);
        let same_pair = known.as_ref().filter(|clash| is_pair(clash, &older, &newer));
        let pair_logged = same_pair.and_then(|clash| clash.logged);
        let is_new = is_past(pair_logged, PAIR_LOGGED_EVERY, now) && is_past(self.logged, LOGGED_EVERY, now);
        if is_new {
            self.logged = Some(now);
        }
        let clash = Clash {
            times: known.as_ref().map_or(0, |clash| clash.times).saturating_add(1),
            last: now,
            logged: if is_new { Some(now) } else { pair_logged },
            older,
            newer,
        };
        self.clashes.insert(system, clash);
        is_new
    }

    /// What is known of a system.
    pub fn of(&self, system: SystemId, now: Instant) -> Option<Rivalry> {
        let clash = self.clashes.get(&system).filter(|clash| is_fresh(clash, now))?;
        Some(Rivalry {
            times: clash.times,
            ago: now.saturating_duration_since(clash.last),
            older: clash.older.clone(),
            newer: clash.newer.clone(),
        })
    }

    fn make_room(&mut self, system: SystemId, now: Instant) {
        self.clashes.retain(|_, clash| is_fresh(clash, now));
        if self.clashes.len() < SYSTEMS_MAX || self.clashes.contains_key(&system) {
            return;
        }
        let oldest = self.clashes.iter().min_by_key(|(_, clash)| clash.last);
        if let Some(oldest) = oldest.map(|(system, _)| *system) {
            self.clashes.remove(&oldest);
        }
    }
}

fn is_fresh(clash: &Clash, now: Instant) -> bool {
    now.saturating_duration_since(clash.last) < KEPT
}

fn is_past(last: Option<Instant>, interval: Duration, now: Instant) -> bool {
    last.is_none_or(|last| now.saturating_duration_since(last) >= interval)
}

/// They take turns, so the order does not matter.
fn is_pair(clash: &Clash, one: &Rival, other: &Rival) -> bool {
    let jids = [&clash.older.jid, &clash.newer.jid];
    jids.contains(&&one.jid) && jids.contains(&&other.jid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rival(name: &str) -> Rival {
        Rival {
            jid: name.into(),
            address: IpAddr::from([10, 0, 0, 1]),
        }
    }

    #[test]
    fn pair_that_takes_turns_is_logged_once_an_hour_and_counted_each_time() {
        let (mut rivals, start) = (Rivals::default(), Instant::now());
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);

        assert!(rivals.note(SystemId(1), rival("a"), rival("b"), at(0)));
        assert!(!rivals.note(SystemId(1), rival("b"), rival("a"), at(1)));
        assert!(!rivals.note(SystemId(1), rival("a"), rival("b"), at(59)));
        assert!(rivals.note(SystemId(1), rival("b"), rival("a"), at(60)));

        let known = rivals.of(SystemId(1), at(61)).unwrap();
        assert_eq!((known.times, known.ago), (4, Duration::from_secs(60)));
        assert_eq!((known.older, known.newer), (rival("b"), rival("a")));
        assert_eq!(rivals.of(SystemId(2), at(61)), None);
    }

    #[test]
    fn clash_is_forgotten_an_hour_after_it_last_happened() {
        let (mut rivals, start) = (Rivals::default(), Instant::now());
        rivals.note(SystemId(1), rival("a"), rival("b"), start);

        assert!(rivals.of(SystemId(1), start + KEPT - Duration::from_secs(1)).is_some());
        assert_eq!(rivals.of(SystemId(1), start + KEPT), None);
    }

    #[test]
    fn thousands_of_clones_are_bounded_in_memory_and_in_the_log() {
        let (mut rivals, start) = (Rivals::default(), Instant::now());
        let at = |number: i64| start + Duration::from_millis(number.unsigned_abs());

        let logged = (0..5_000).filter(|&number| rivals.note(SystemId(number), rival("a"), rival("b"), at(number)));

        assert_eq!(logged.count(), 1, "one in 10 s");
        assert_eq!(rivals.clashes.len(), SYSTEMS_MAX);
        assert!(rivals.of(SystemId(4_999), at(5_000)).is_some(), "the latest is kept");
    }
}
