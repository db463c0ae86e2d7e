//! The clock that decides what is due: the database's, which may be another machine's.
//!
//! It is read when a connection is made, and every few seconds by the one that listens. In between it goes on with this
//! machine's monotonic clock, so that a wall clock that is wrong here, or is set, changes nothing.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use diesel::sql_types::BigInt;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::failure::Failure;
use super::statement::statement;
use crate::domain::time::Timestamp;
use crate::ports::clock::Clock;

/// The database's clock as far as it is known; 1970 until it was read.
pub struct DatabaseClock {
    origin: Instant,
    /// The database's time at the origin. Units: microseconds since 1970.
    at_origin: AtomicI64,
}

impl DatabaseClock {
    pub(super) fn unread() -> Self {
        Self {
            origin: Instant::now(),
            at_origin: AtomicI64::new(0),
        }
    }

    /// Asks the database.
    pub(super) async fn read(&self, connection: &mut AsyncPgConnection) -> Result<(), Failure> {
        let asked = self.elapsed();
        let (now,) = statement::<(BigInt,)>("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
            .get_result::<(i64,)>(connection)
            .await?;
        self.was_read(asked, now, self.elapsed());
        Ok(())
    }

    /// The database had the time `now` at some moment between these two. Of all times that are possible the earliest is
    /// taken: an action that is requested before it is due costs a check that finds nothing.
    fn was_read(&self, asked: i64, now: i64, answered: i64) {
        let possible = now.saturating_sub(answered)..=now.saturating_sub(asked);
        if !possible.contains(&self.at_origin()) {
            self.at_origin.store(*possible.start(), Ordering::Relaxed);
        }
    }

    fn at_origin(&self) -> i64 {
        // By its full name: every type has diesel's `load`.
        AtomicI64::load(&self.at_origin, Ordering::Relaxed)
    }

    /// Since the origin. Units: microseconds.
    fn elapsed(&self) -> i64 {
        i64::try_from(self.origin.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}

impl Clock for DatabaseClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_micros() / 1_000)
    }

    fn now_micros(&self) -> i64 {
        self.at_origin().saturating_add(self.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earliest_possible_time_stands_until_it_is_impossible() {
        let clock = DatabaseClock::unread();
        let known = || clock.at_origin();

        clock.was_read(100, 5_000, 400);
        assert_eq!(known(), 4_600);
        clock.was_read(1_000, 5_900, 1_500);
        assert_eq!(known(), 4_600, "possible");
        clock.was_read(2_000, 6_800, 2_010);
        assert_eq!(known(), 4_790, "a quick answer tells more");
        clock.was_read(3_000, 2_000, 3_010);
        assert_eq!(known(), -1_010, "set back");
    }
}
