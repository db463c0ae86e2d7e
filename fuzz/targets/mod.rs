//! What is done with the bytes of a fuzzer, and what must hold then. The fuzz targets call these functions, and so does
//! an ordinary test, with every file of `fuzz/corpus`.
#![allow(
    dead_code,
    reason = "each fuzz target is a program of its own and uses one of the modules"
)]

pub mod codec;
pub mod server_stream;
#[cfg(feature = "agent")]
pub mod settings;
pub mod signed;
pub mod xmlrpc;

use minidom::Element;
use osa::protocol::codec::{Decoder, Frame, Limits};

/// A stream header, so that what follows is read as stanzas.
pub const HEADER: &str =
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

/// The stanzas at the front of the bytes, up to the first fault.
fn stanzas(bytes: &[u8]) -> Vec<Element> {
    let text = [HEADER.as_bytes(), bytes].concat();
    let (mut decoder, mut input) = (Decoder::new(Limits::AFTER_LOGIN), text.as_slice());
    let frames = std::iter::from_fn(|| decoder.decode(&mut input).ok().flatten());
    let stanza = |frame| match frame {
        Frame::Stanza(element) => Some(element),
        Frame::Open(_) | Frame::Close => None,
    };
    frames.filter_map(stanza).collect()
}
