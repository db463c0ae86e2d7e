//! Bytes to stanzas: any split gives the same, limits hold, and what was read is written and read again.

use minidom::{Element, Node};
use osa::protocol::codec::{CodecError, Decoder, Frame, Limits, write_element};

use super::{HEADER, stanzas};

/// Small enough for a fuzzer to reach.
const NARROW: Limits = Limits {
    stanza_bytes: 300,
    depth: 4,
    attributes: 3,
    ..Limits::BEFORE_LOGIN
};

/// Reads the bytes as a stream.
pub fn run(data: &[u8]) {
    for limits in [Limits::BEFORE_LOGIN, NARROW] {
        let whole = read(data, limits, &[data.len().max(1)]);
        let bytewise = read(data, limits, &[1]);
        let pieces = read(data, limits, &pieces(data));
        for frame in &whole.0 {
            check(frame, limits);
        }
        assert_same(&whole, &bytewise);
        assert_same(&whole, &pieces);
    }
    for stanza in stanzas(data) {
        assert_writable(&stanza);
    }
}

type Reading = (Vec<Frame>, Result<(), CodecError>);

/// Reads the bytes in pieces of these sizes, in turn.
fn read(data: &[u8], limits: Limits, sizes: &[usize]) -> Reading {
    let (mut decoder, mut frames, mut rest) = (Decoder::new(limits), Vec::new(), data);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (mut piece, behind) = rest.split_at((*size).min(rest.len()));
        rest = behind;
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(Frame::Close)) => {
                    frames.push(Frame::Close);
                    return (frames, Ok(()));
                }
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
        assert!(piece.is_empty(), "a reader that wants more has taken all");
        decoder.release_memory();
    }
    (frames, Ok(()))
}

/// Sizes that differ from input to input, but not from run to run.
fn pieces(data: &[u8]) -> [usize; 3] {
    let sum = data
        .iter()
        .fold(7_usize, |sum, byte| sum.wrapping_mul(31) ^ usize::from(*byte));
    [sum % 5 + 1, sum / 5 % 17 + 1, sum / 85 % 61 + 1]
}

/// A reader may know of a fault a piece earlier or later, never of another stanza.
fn assert_same(one: &Reading, other: &Reading) {
    let common = one.0.len().min(other.0.len());
    assert_eq!(one.0.get(..common), other.0.get(..common));
    match (one.1, other.1) {
        (Ok(()), Ok(())) => assert_eq!(one.0, other.0),
        (Err(_), Err(_)) | (Ok(()), Err(_)) | (Err(_), Ok(())) => {}
    }
}

fn check(frame: &Frame, limits: Limits) {
    match frame {
        Frame::Open(_) | Frame::Close => {}
        Frame::Stanza(element) => {
            assert!(depth(element) < limits.depth, "the stream element is one level");
            assert!(attributes(element) <= limits.attributes);
        }
    }
}

fn depth(element: &Element) -> usize {
    1 + element.children().map(depth).max().unwrap_or(0)
}

fn attributes(element: &Element) -> usize {
    let own = element.attrs().iter().count();
    element.children().map(attributes).fold(own, usize::max)
}

fn assert_writable(stanza: &Element) {
    let mut text = HEADER.to_owned();
    write_element(stanza, &mut text);
    let (mut decoder, mut input) = (Decoder::new(WIDE), text.as_bytes());
    assert!(matches!(decoder.decode(&mut input), Ok(Some(Frame::Open(_)))));
    let again = decoder.decode(&mut input);
    assert!(
        matches!(&again, Ok(Some(Frame::Stanza(read))) if *read == joined(stanza)),
        "{text}\n{again:?}"
    );
}

/// For what we write: characters written as references take up to five times their room.
const WIDE: Limits = Limits {
    stanza_bytes: 1 << 20,
    ..Limits::AFTER_LOGIN
};

/// The element with neighbouring texts made one, as every reader sees it.
fn joined(element: &Element) -> Element {
    let mut copy = Element::bare(element.name(), element.ns());
    *copy.attrs_mut() = element.attrs().clone();
    for node in element.nodes() {
        match node {
            Node::Element(child) => {
                copy.append_child(joined(child));
            }
            Node::Text(text) => copy.append_text(text.as_str()),
        }
    }
    copy
}
