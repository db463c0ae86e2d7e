//! Counting what strangers cause at any rate, so that it costs a line a minute for each cause and not one each.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What happened since it was last told, by cause.
#[derive(Debug)]
pub struct Tally<C> {
    causes: BTreeMap<C, Untold>,
}

impl<C> Default for Tally<C> {
    fn default() -> Self {
        Self {
            causes: BTreeMap::new(),
        }
    }
}

/// What happened for one cause without being told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untold {
    /// How often.
    pub times: u64,
    /// Who was the last.
    pub last: SocketAddr,
}

impl<C: Copy + Ord> Tally<C> {
    /// Counts one. Whether it is the first of its cause for a while, which is to be told at once and not counted.
    pub fn count(&mut self, cause: C, peer: SocketAddr) -> bool {
        let Some(untold) = self.causes.get_mut(&cause) else {
            self.causes.insert(cause, Untold { times: 0, last: peer });
            return true;
        };
        untold.times += 1;
        untold.last = peer;
        false
    }

    /// What was counted since the last call, to be told now. A cause that did not occur is told at once when it does again.
    pub fn take(&mut self) -> Vec<(C, Untold)> {
        self.causes.retain(|_, untold| untold.times > 0);
        let told = self.causes.iter().map(|(cause, untold)| (*cause, *untold)).collect();
        self.causes.values_mut().for_each(|untold| untold.times = 0);
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn first_of_a_cause_is_told_at_once_and_the_others_are_counted() {
        let mut tally = Tally::default();

        assert!(tally.count("a", peer(1)));
        assert!(!tally.count("a", peer(2)) && !tally.count("a", peer(3)));
        assert!(tally.count("b", peer(4)), "another cause");

        let (times, last) = (2, peer(3));
        assert_eq!(tally.take(), [("a", Untold { times, last })]);
        assert!(tally.count("b", peer(5)), "it was quiet");
        assert!(!tally.count("a", peer(6)), "it was not");
    }

    #[test]
    fn flood_is_told_once_for_each_time_it_is_asked_for() {
        let mut tally = Tally::default();
        let mut told = 0;

        for _ in 0..3 {
            told += (0..1_000).filter(|_| tally.count("a", peer(1))).count();
            told += tally.take().len();
        }

        assert_eq!(told, 4);
        assert_eq!(tally.take(), []);
        assert!(tally.count("a", peer(1)));
    }
}
