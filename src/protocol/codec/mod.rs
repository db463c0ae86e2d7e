//! Bytes to stanzas and back, under limits (RFC 6120, sections 4 and 11).
//!
//! [`Decoder`] takes the bytes of one XML stream in any split and gives out [`Frame`]s: the stream header, each
//! first-level child as an [`Element`](minidom::Element), and the closing tag. Limits are checked before anything is
//! built: a tree of unbounded depth would overflow the stack of whoever drops it.
//! [`write_element`] is the other direction.

mod decoder;
mod error;
mod header;
mod writer;

pub use decoder::{Decoder, Frame, Limits};
pub use error::CodecError;
pub use header::StreamHeader;
pub(crate) use writer::push;
pub use writer::{Escaped, write_element};
