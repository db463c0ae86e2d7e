//! Bytes for the peer that the network has not taken yet; pure.

use std::time::{Duration, Instant};

/// Bytes that may wait for one client that reads slowly.
const BYTES_MAX: usize = 64 * 1024;
/// With more than this share of them waiting, no further request is sent: it would only wait behind them.
const CONGESTED_SHARE: usize = 4;
/// How long the network may take nothing while bytes wait.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The peer does not read what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::actors) struct SlowReader;

/// The queue. Holds no memory while empty.
#[derive(Debug)]
pub(in crate::actors) struct Outgoing {
    bytes_max: usize,
    bytes: Vec<u8>,
    written: usize,
    /// When the network took something last, or the first byte began to wait.
    moved: Option<Instant>,
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::with_room(BYTES_MAX)
    }
}

impl Outgoing {
    /// A queue of so many bytes.
    pub fn with_room(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: Vec::new(),
            written: 0,
            moved: None,
        }
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        *self = Self::with_room(self.bytes_max);
    }

    /// Appends bytes.
    pub fn queue(&mut self, bytes: Vec<u8>, now: Instant) -> Result<(), SlowReader> {
        if self.waiting() + bytes.len() > self.bytes_max {
            return Err(SlowReader);
        }
        self.moved.get_or_insert(now);
        if self.bytes.is_empty() {
            self.bytes = bytes;
        } else {
            self.bytes.extend_from_slice(&bytes);
        }
        Ok(())
    }

    /// What is to be written next.
    pub fn front(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// The network took so many bytes.
    pub fn advance(&mut self, count: usize, now: Instant) {
        self.written += count;
        self.moved = Some(now);
        if self.waiting() == 0 {
            self.clear();
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether so much waits that nothing more should be added without need.
    pub fn is_congested(&self) -> bool {
        self.waiting() > self.bytes_max / CONGESTED_SHARE
    }

    /// When the peer counts as a slow reader.
    pub fn deadline(&self) -> Option<Instant> {
        self.moved.map(|moved| moved + WRITE_TIMEOUT)
    }

    fn waiting(&self) -> usize {
        self.bytes.len().saturating_sub(self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_they_came() {
        let now = Instant::now();
        let mut outgoing = Outgoing::default();
        outgoing.queue(b"ab".to_vec(), now).expect("room");
        outgoing.queue(b"cd".to_vec(), now).expect("room");

        outgoing.advance(1, now);
        assert_eq!(outgoing.front(), b"bcd");
        outgoing.advance(3, now);

        assert!(outgoing.is_empty());
        assert_eq!(outgoing.bytes.capacity(), 0);
    }

    #[test]
    fn more_than_the_bound_is_refused_and_room_comes_back() {
        let now = Instant::now();
        let mut outgoing = Outgoing::default();
        outgoing.queue(vec![0; BYTES_MAX], now).expect("room");
        assert!(outgoing.is_congested());

        assert_eq!(outgoing.queue(vec![0], now), Err(SlowReader));
        outgoing.advance(1, now);

        assert_eq!(outgoing.queue(vec![0], now), Ok(()));
    }

    #[test]
    fn deadline_moves_with_every_byte_that_leaves() {
        let start = Instant::now();
        let later = start + Duration::from_secs(5);
        let mut outgoing = Outgoing::default();
        assert_eq!(outgoing.deadline(), None);

        outgoing.queue(vec![0; 2], start).expect("room");
        outgoing.queue(vec![0; 2], later).expect("room");
        assert_eq!(outgoing.deadline(), Some(start + WRITE_TIMEOUT));

        outgoing.advance(1, later);
        assert_eq!(outgoing.deadline(), Some(later + WRITE_TIMEOUT));
        outgoing.advance(3, later);
        assert_eq!(outgoing.deadline(), None);
    }
}
