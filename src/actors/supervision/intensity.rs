//! How many restarts are too many; pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The first pause before a restart; doubled by each further restart within the window.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause before a restart: short, since peers wait meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The restarts that a supervisor allows all its children together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    /// So many restarts are allowed ...
    pub restarts: usize,
    /// ... within this time.
    pub window: Duration,
}

/// What to do about an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start the child again after this pause.
    RestartAfter(Duration),
    /// Too many restarts: something is broken that restarting does not mend.
    GiveUp,
}

/// When children were restarted, as far back as the window reaches.
#[derive(Clone, Debug)]
pub struct RestartHistory {
    intensity: Intensity,
    restarts: VecDeque<Instant>,
}

impl RestartHistory {
    /// An empty history.
    pub fn new(intensity: Intensity) -> Self {
        Self {
            intensity,
            restarts: VecDeque::with_capacity(intensity.restarts),
        }
    }

    /// Counts a restart at `now`, unless it is one too many.
    pub fn judge(&mut self, now: Instant) -> Verdict {
        while let Some(oldest) = self.restarts.front() {
            if now.saturating_duration_since(*oldest) < self.intensity.window {
                break;
            }
            self.restarts.pop_front();
        }
        if self.restarts.len() >= self.intensity.restarts {
            return Verdict::GiveUp;
        }
        let doublings = u32::try_from(self.restarts.len()).unwrap_or(u32::MAX);
        self.restarts.push_back(now);
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings));
        Verdict::RestartAfter(pause.min(LONGEST_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTENSITY: Intensity = Intensity {
        restarts: 2,
        window: Duration::from_secs(60),
    };

    fn at(start: Instant, secs: u64) -> Instant {
        start + Duration::from_secs(secs)
    }

    #[test]
    fn one_restart_more_than_allowed_within_the_window_is_refused() {
        let start = Instant::now();
        let mut history = RestartHistory::new(INTENSITY);

        assert_eq!(history.judge(at(start, 0)), Verdict::RestartAfter(FIRST_PAUSE));
        assert_eq!(history.judge(at(start, 1)), Verdict::RestartAfter(FIRST_PAUSE * 2));
        assert_eq!(history.judge(at(start, 59)), Verdict::GiveUp);
    }

    #[test]
    fn restarts_older_than_the_window_no_longer_count() {
        let start = Instant::now();
        let mut history = RestartHistory::new(INTENSITY);
        history.judge(at(start, 0));
        history.judge(at(start, 30));

        assert_eq!(history.judge(at(start, 60)), Verdict::RestartAfter(FIRST_PAUSE * 2));
        assert_eq!(history.judge(at(start, 89)), Verdict::GiveUp);
    }

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let start = Instant::now();
        let mut history = RestartHistory::new(Intensity {
            restarts: 100,
            window: Duration::from_secs(60),
        });

        let longest = (0..100).map(|_| history.judge(start)).last();

        assert_eq!(longest, Some(Verdict::RestartAfter(LONGEST_PAUSE)));
    }
}
