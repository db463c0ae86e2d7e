//! Bytes to meaning and back: pure, without I/O, clock or randomness.
