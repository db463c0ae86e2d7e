//! Stanzas under a name we hold no key for, waiting for the row to be read.

use std::time::Duration;

use minidom::Element;

use crate::domain::ids::ClientName;
use crate::domain::time::Timestamp;
use crate::protocol::osa::signed::Signed;

/// How many elements wait for rows at a time; more are ignored, and reported again by new agents.
const HELD_MAX: usize = 16;
/// How many rows may be read in a burst because a stanza named them. An honest agent has one name; a second one while it
/// registers anew.
const READS_BURST: u32 = 4;
/// After which time one more row may be read.
const READ_EVERY: Duration = Duration::from_secs(10);

/// A signed element that could not be verified yet.
#[derive(Debug)]
pub(super) enum Held {
    Signed(Signed),
    Payload(Element),
}

type Named = (ClientName, Held);

/// Rows asked for by name, and what waits for them.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    asked: Vec<ClientName>,
    held: Vec<Named>,
    spent: u32,
    refilled: Timestamp,
}

impl Lookups {
    /// Keeps an element; `false` if there is no room.
    pub fn hold(&mut self, name: ClientName, held: Held) -> bool {
        if self.held.len() == HELD_MAX {
            return false;
        }
        self.held.push((name, held));
        true
    }

    /// Whether this name's row is being read already.
    pub fn is_asked(&self, name: &ClientName) -> bool {
        self.asked.contains(name)
    }

    /// Whether the row of a name may be read now; counts the reading.
    pub fn ask(&mut self, now: Timestamp, name: &ClientName) -> bool {
        let refill = now.saturating_since(self.refilled).as_secs() / READ_EVERY.as_secs();
        if refill > 0 {
            self.spent = self.spent.saturating_sub(u32::try_from(refill).unwrap_or(u32::MAX));
            self.refilled = now;
        }
        if self.spent >= READS_BURST {
            return false;
        }
        self.spent += 1;
        self.asked.push(name.clone());
        true
    }

    /// Gives out what waited for this name; `None` if it was not asked for.
    pub fn answered(&mut self, name: &ClientName) -> Option<Vec<Held>> {
        let position = self.asked.iter().position(|asked| asked == name)?;
        self.asked.swap_remove(position);
        let (answered, kept) = self.split(|held_name| held_name == name);
        self.held = kept;
        Some(answered.into_iter().map(|(_, held)| held).collect())
    }

    /// Gives out what waits while its row was not asked for: what is under this name, and the rest.
    pub fn unasked(&mut self, name: &ClientName) -> (Vec<Held>, Vec<Named>) {
        let asked = std::mem::take(&mut self.asked);
        let (unasked, kept) = self.split(|held_name| !asked.contains(held_name));
        self.asked = asked;
        self.held = kept;
        let (ours, others): (Vec<_>, Vec<_>) = unasked.into_iter().partition(|(held_name, _)| held_name == name);
        (ours.into_iter().map(|(_, held)| held).collect(), others)
    }

    fn split(&mut self, wanted: impl Fn(&ClientName) -> bool) -> (Vec<Named>, Vec<Named>) {
        std::mem::take(&mut self.held)
            .into_iter()
            .partition(|(name, _)| wanted(name))
    }
}
