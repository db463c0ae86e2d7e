//! How far off a signed element's time may be, and that each element counts once.

use std::time::Duration;

use crate::domain::time::Timestamp;

/// How far the time in an element of a new peer may be from ours, after the measured drift was applied. The limit that
/// existing agents log and do not enforce (compatibility contract, section 1.13).
pub const DRIFT_MAX: Duration = Duration::from_secs(120);

/// The same limit at an agent. It is the narrower one by more than the whole seconds of stamps and the usual time on the
/// way: what a dispatcher finds too old it can only leave out, while an agent that finds its clock off sets it right.
pub const AGENT_DRIFT_MAX: Duration = Duration::from_secs(110);

/// How far the time in an `<x/>` may be from an agent's, after the measured drift was applied. Existing dispatchers stamp
/// what they send at once, but clocks of clients are often wrong; an hour catches what is plainly old.
pub const LEGACY_DRIFT_MAX: Duration = Duration::from_secs(3_600);

/// How many elements of one peer are remembered. A peer sends a handful in a drift window; at 24 bytes each a hostile one
/// costs 6 KiB.
pub const REMEMBERED_MAX: usize = 256;

/// What happens when more elements came in one window than are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// New ones are refused until old ones expire: nothing can be replayed.
    Refuse,
    /// The oldest is forgotten: for peers that repeat themselves without limit.
    ForgetOldest,
}

/// Why an element with a valid signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// Its time is too far from ours.
    #[error("its time is off by {off_secs} s")]
    Clock {
        /// Theirs minus ours. Units: seconds.
        off_secs: i64,
    },
    /// It came before.
    #[error("it came before")]
    Replayed,
    /// Too many came within one window.
    #[error("too many elements within the drift window")]
    TooMany,
}

/// Remembers the valid elements of one peer for as long as their time would be accepted.
#[derive(Clone, Debug)]
pub struct ReplayGuard {
    window: Duration,
    overflow: Overflow,
    seen: Vec<(Timestamp, Fingerprint)>,
    /// The latest time of what was forgotten for its age. A clock that is set back must not make it count again.
    forgotten: Timestamp,
}

/// The first characters of a signature: at least 64 bits of a keyed digest.
type Fingerprint = [u8; 16];

impl ReplayGuard {
    /// Remembers nothing yet.
    pub const fn new(window: Duration, overflow: Overflow) -> Self {
        Self {
            window,
            overflow,
            seen: Vec::new(),
            forgotten: Timestamp::from_secs(0),
        }
    }

    /// The guard between new peers.
    pub const fn strict() -> Self {
        Self::new(DRIFT_MAX, Overflow::Refuse)
    }

    /// Lets an element count once. Call it only after its signature was found valid, or anybody could fill the memory.
    ///
    /// # Errors
    /// [`Stale`], and the element must have no effect.
    pub fn admit(&mut self, now: Timestamp, stamped: Timestamp, signature: &str) -> Result<(), Stale> {
        let off_millis = stamped.as_millis().saturating_sub(now.as_millis());
        if Duration::from_millis(off_millis.unsigned_abs()) > self.window || stamped <= self.forgotten {
            return Err(Stale::Clock {
                off_secs: off_millis / 1_000,
            });
        }
        let fingerprint = fingerprint(signature);
        if self.seen.contains(&(stamped, fingerprint)) {
            return Err(Stale::Replayed);
        }
        self.expire(now);
        if self.seen.len() >= REMEMBERED_MAX {
            match self.overflow {
                Overflow::Refuse => return Err(Stale::TooMany),
                Overflow::ForgetOldest => drop(self.seen.remove(0)),
            }
        }
        self.seen.push((stamped, fingerprint));
        Ok(())
    }

    /// Forgets what is too old to be accepted again, and returns the memory of an idle peer.
    fn expire(&mut self, now: Timestamp) {
        let (window, forgotten) = (self.window, &mut self.forgotten);
        self.seen.retain(|(stamped, _)| {
            let kept = now <= *stamped + window;
            if !kept {
                *forgotten = (*forgotten).max(*stamped);
            }
            kept
        });
        if self.seen.is_empty() {
            self.seen = Vec::new();
        }
    }
}

fn fingerprint(signature: &str) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    for (to, from) in fingerprint.iter_mut().zip(signature.bytes()) {
        *to = from;
    }
    fingerprint
}
