//! Bytes to meaning and back: pure, without I/O, clock or randomness.

pub mod codec;
pub mod ns;
pub mod osa;
pub mod sasl;
