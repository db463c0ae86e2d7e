//! The protocol core, seen from outside.

mod codec;
