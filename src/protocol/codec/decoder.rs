//! The reading side of the codec.

use minidom::Element;
use rxml::error::EndOrError;
use rxml::{AttrMap, Event, Options, Parse, Parser, QName, WithOptions};

use super::error::{CodecError, from_xml};
use super::header::StreamHeader;
use crate::protocol::ns;

/// The longest name or attribute value that a client may send, in bytes. A JID has at most 3 071; the reader reserves
/// this much while it is inside a tag, so it bounds the memory of a client that stops there.
const TOKEN_BYTES_MAX: usize = 4_096;

/// What a peer may send at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one stanza or header.
    pub stanza_bytes: usize,
    /// Levels of nesting, the stream element included.
    pub depth: usize,
    /// Attributes of one element, namespace declarations not counted.
    pub attributes: usize,
    /// Elements of one stanza: one takes 4 bytes at least, and 50 times as much memory.
    pub elements: usize,
    /// Bytes of one name or attribute value; the reader reserves this much while it is inside a tag.
    pub token_bytes: usize,
    /// Whether elements that lie too deep or are too many, and attributes that are too many, are left out instead of ending the stream:
    /// where one stream carries the stanzas of many, none of these may end it.
    pub prunes: bool,
}

impl Limits {
    /// Before login: RFC 6120 (section 13.12) lets nobody go below 10 000 bytes, and strangers get no more.
    pub const BEFORE_LOGIN: Self = Self {
        stanza_bytes: 10_000,
        depth: 16,
        attributes: 32,
        elements: 1_000,
        token_bytes: TOKEN_BYTES_MAX,
        prunes: false,
    };
    /// After login: room for an announcement with many reports.
    pub const AFTER_LOGIN: Self = Self {
        stanza_bytes: 65_536,
        elements: 4_000,
        ..Self::BEFORE_LOGIN
    };
    /// What a server that many log in to sends us, its roster first: a contact takes some 100 bytes. Servers relay
    /// stanzas of 64 KiB to 512 KiB by their own settings.
    pub const FROM_SERVER: Self = Self {
        stanza_bytes: 16 * 1_024 * 1_024,
        elements: 160_000,
        token_bytes: 512 * 1_024,
        prunes: true,
        ..Self::BEFORE_LOGIN
    };
}

/// One complete piece of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// The opening tag.
    Open(StreamHeader),
    /// A first-level child, complete.
    Stanza(Element),
    /// The closing tag; nothing may follow.
    Close,
}

/// Reads one XML stream. After an error or [`Frame::Close`] it is of no more use; a restarted stream gets a new one.
pub struct Decoder {
    parser: Parser,
    limits: Limits,
    /// The namespace of stanzas on this stream, which are given out as those of clients.
    stanzas: &'static str,
    /// Bytes taken since the last complete frame.
    taken: usize,
    /// Elements begun since then.
    elements: usize,
    opened: bool,
    /// The open elements of the stanza being read, outermost first.
    path: Vec<Element>,
    /// Open elements inside of those that are left out.
    pruned: usize,
}

impl Decoder {
    /// Makes a reader that expects the header of a stream.
    pub fn new(limits: Limits) -> Self {
        Self {
            parser: Parser::with_options(Options {
                max_token_length: limits.token_bytes,
                ..Options::default()
            }),
            limits,
            stanzas: ns::CLIENT,
            taken: 0,
            elements: 0,
            opened: false,
            path: Vec::new(),
            pruned: 0,
        }
    }

    /// The same on a component's stream: its stanzas have another namespace and mean the same, so they are given out in that of
    /// clients (XEP-0114, section 3).
    pub fn of_component(limits: Limits) -> Self {
        Self {
            stanzas: ns::COMPONENT,
            ..Self::new(limits)
        }
    }

    /// Changes the limits, for what has not been read yet; not that of tokens, which is the reader's for good.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes bytes off the front of `input` until a frame is complete; `None` when all of it was taken before that.
    ///
    /// # Errors
    ///
    /// The stream has to end; see [`CodecError::condition`].
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, CodecError> {
        loop {
            if self.taken == 0 {
                // Key to cheap keep-alives: white space between stanzas never reaches the parser.
                *input = input.trim_ascii_start();
                let Some(first) = input.first() else {
                    return Ok(None);
                };
                if !self.opened && *first != b'<' {
                    // Somebody who speaks another protocol; the parser would wait for a tag.
                    return Err(CodecError::NotWellFormed);
                }
            }
            let Some(event) = self.next_event(input)? else {
                return Ok(None);
            };
            if let Some(frame) = self.handle(event)? {
                (self.taken, self.elements) = (0, 0);
                return Ok(Some(frame));
            }
        }
    }

    /// Whether the last byte read ended a frame (or was white space after one).
    pub fn is_between_frames(&self) -> bool {
        self.taken == 0
    }

    /// Gives memory back that only a busy reader needs; to be called when a read ended and nothing more is waiting.
    pub fn release_memory(&mut self) {
        self.parser.release_temporaries();
        if self.path.is_empty() {
            self.path = Vec::new();
        }
    }

    /// Lets the parser see no byte beyond the limit. It is asked even without new bytes: one tag can be two events.
    fn next_event(&mut self, input: &mut &[u8]) -> Result<Option<Event>, CodecError> {
        let limit = self.limits.stanza_bytes;
        let room = limit.saturating_sub(self.taken).min(input.len());
        let (mut window, beyond) = input.split_at(room);
        let result = self.parser.parse(&mut window, false);
        let used = room - window.len();
        self.taken += used;
        *input = input.get(used..).unwrap_or_default();
        match result {
            Ok(event) => Ok(event),
            Err(EndOrError::NeedMoreData) if beyond.is_empty() => Ok(None),
            Err(EndOrError::NeedMoreData) => Err(CodecError::TooLong { limit }),
            Err(EndOrError::Error(error)) => Err(from_xml(error, limit)),
        }
    }

    fn handle(&mut self, event: Event) -> Result<Option<Frame>, CodecError> {
        match event {
            Event::XmlDeclaration(..) => Ok(None),
            Event::StartElement(_, name, attributes) if self.opened => self.start(name, attributes),
            Event::StartElement(_, name, attributes) => self.open(name, attributes).map(Some),
            Event::EndElement(_) => Ok(self.end()),
            Event::Text(_, text) => self.text(&text).map(|()| None),
        }
    }

    fn open(&mut self, (namespace, name): QName, attributes: AttrMap) -> Result<Frame, CodecError> {
        self.check_attributes(&attributes)?;
        if namespace != ns::STREAM {
            return Err(CodecError::NotAStreamNamespace);
        }
        if name != "stream" {
            return Err(CodecError::NotAStream);
        }
        self.opened = true;
        // Between stanzas text is an error or white space; either is better known at once.
        self.parser.set_text_buffering(false);
        Ok(Frame::Open(StreamHeader::from_attributes(attributes)))
    }

    fn start(&mut self, (namespace, name): QName, mut attributes: AttrMap) -> Result<Option<Frame>, CodecError> {
        match self.check_attributes(&attributes) {
            Err(_) if self.limits.prunes => attributes = AttrMap::new(),
            checked => checked?,
        }
        match self.check_place() {
            Err(_) if self.limits.prunes => {
                self.pruned += 1;
                return Ok(None);
            }
            checked => checked?,
        }
        if self.path.is_empty() {
            self.parser.set_text_buffering(true);
        }
        let namespace = if namespace == self.stanzas {
            ns::CLIENT
        } else {
            namespace.as_str()
        };
        let mut element = Element::bare(name, namespace);
        *element.attrs_mut() = attributes;
        self.path.push(element);
        Ok(None)
    }

    fn end(&mut self) -> Option<Frame> {
        if self.pruned > 0 {
            self.pruned -= 1;
            return None;
        }
        let Some(element) = self.path.pop() else {
            return Some(Frame::Close);
        };
        if let Some(parent) = self.path.last_mut() {
            parent.append_child(element);
            return None;
        }
        self.parser.set_text_buffering(false);
        Some(Frame::Stanza(element))
    }

    fn text(&mut self, text: &str) -> Result<(), CodecError> {
        if self.pruned > 0 {
            return Ok(());
        }
        if let Some(element) = self.path.last_mut() {
            element.append_text(text);
            return Ok(());
        }
        if text.trim_ascii_start().is_empty() {
            return Ok(());
        }
        Err(CodecError::TextBetweenStanzas)
    }

    /// Whether there is room for another element here.
    fn check_place(&mut self) -> Result<(), CodecError> {
        let Limits { depth, elements, .. } = self.limits;
        self.elements += 1;
        // The stream element is one level, this element another.
        if self.path.len() + 2 > depth {
            return Err(CodecError::TooDeep { limit: depth });
        }
        if self.pruned > 0 || self.elements > elements {
            return Err(CodecError::TooManyElements { limit: elements });
        }
        Ok(())
    }

    fn check_attributes(&self, attributes: &AttrMap) -> Result<(), CodecError> {
        if attributes.len() > self.limits.attributes {
            return Err(CodecError::TooManyAttributes {
                limit: self.limits.attributes,
            });
        }
        Ok(())
    }
}
