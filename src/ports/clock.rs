//! Time and chance, so that tests can decide both.

use crate::domain::time::Timestamp;

/// The wall clock.
pub trait Clock: Send + Sync + 'static {
    /// The time now. For signatures, records and display; waits are measured by the runtime's own timers.
    fn now(&self) -> Timestamp;

    /// The same for measurements, as finely as it is known. Units: microseconds since 1970.
    fn now_micros(&self) -> i64 {
        self.now().as_millis().saturating_mul(1_000)
    }
}

/// A source of unpredictable bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes` with random ones fit for keys.
    fn fill(&self, bytes: &mut [u8]);
}
