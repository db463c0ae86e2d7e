//! Where what JIDs that nobody knows did waits for the registrations to be read.

use std::collections::VecDeque;

use minidom::Element;

use crate::protocol::codec::write_element;
use crate::protocol::ns;

/// Places; the oldest goes, and shows itself again.
const PLACES: usize = 1_024;
/// A presence of more bytes keeps its place, but not its content.
const PRESENCE_BYTES_MAX: usize = 16 * 1_024;
/// Nor does one of more elements, which take 50 times as much memory as bytes. An announcement has at most some 70.
const PRESENCE_ELEMENTS_MAX: usize = 128;

/// What somebody did.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Held {
    /// Showed itself.
    Presence(Element),
    /// Asked to see us.
    Subscribe,
}

impl Held {
    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    fn bounded(self) -> Self {
        match self {
            Self::Presence(presence) => {
                let mut text = String::new();
                write_element(&presence, &mut text);
                let is_small = text.len() <= PRESENCE_BYTES_MAX && elements(&presence) <= PRESENCE_ELEMENTS_MAX;
                Self::Presence(match is_small {
                    true => presence,
                    false => Element::bare("presence", ns::CLIENT),
                })
            }
            Self::Subscribe => self,
        }
    }
}

/// How many there are, with itself; no deeper than a stanza may be.
fn elements(element: &Element) -> usize {
    1 + element.children().map(elements).sum::<usize>()
}

/// The room.
#[derive(Debug, Default)]
pub(super) struct WaitingRoom {
    places: VecDeque<(String, Held)>,
}

impl WaitingRoom {
    /// Keeps what `from` did last.
    pub(super) fn hold(&mut self, from: &str, held: Held) {
        let same = |(jid, before): &(String, Held)| jid == from && before.is_like(&held);
        if let Some(before) = self.places.iter().position(same) {
            self.places.remove(before);
        } else if self.places.len() == PLACES {
            self.places.pop_front();
        }
        self.places.push_back((from.to_owned(), held.bounded()));
    }

    /// Empties it, oldest first.
    pub(super) fn clear(&mut self) -> VecDeque<(String, Held)> {
        std::mem::take(&mut self.places)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}
