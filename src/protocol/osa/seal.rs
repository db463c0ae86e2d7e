//! The signature of our own elements: HMAC-SHA-256 under the shared key. `docs/protocol.md`, "Signature".
//!
//! It covers the namespace, the direction, the name of the element, both full JIDs, and every attribute of the element
//! and of its children, each with its length before it. Attributes are taken in the order of their names, so it survives
//! any writer, and a receiver verifies attributes that are newer than itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use minidom::Element;
use rxml::Namespace;
use sha2::Sha256;

use super::payload::PayloadError;
use super::stanza::set;
use crate::domain::ids::ClientName;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::protocol::ns;

/// Longest serial that is accepted. Units: bytes. Ours have at most 37.
const SERIAL_LEN_MAX: usize = 64;
/// Longest client name that is accepted. Units: bytes; the width of `rhnPushClient.name`.
const CLIENT_ID_LEN_MAX: usize = 64;
/// The attribute that the signature does not cover.
const SIGNATURE: &str = "signature";

/// Which way an element goes; an element is never valid the other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the dispatcher.
    ToAgent,
    /// From an agent.
    ToDispatcher,
}

impl Direction {
    const fn label(self) -> &'static str {
        match self {
            Self::ToAgent => "dispatcher-to-agent",
            Self::ToDispatcher => "agent-to-dispatcher",
        }
    }
}

/// Who talks to whom, as full JIDs.
#[derive(Clone, Copy, Debug)]
pub struct Parties<'a> {
    /// Which way.
    pub direction: Direction,
    /// The sender's full JID.
    pub sender: &'a str,
    /// The recipient's full JID.
    pub recipient: &'a str,
}

/// What every element carries beside its own attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The name of the registration whose key signs.
    pub client: ClientName,
    /// The server's time as the sender knows it; whole seconds.
    pub time: Timestamp,
    /// An id of the sender's own.
    pub serial: String,
}

impl Stamp {
    /// Reads the three attributes.
    ///
    /// # Errors
    /// [`PayloadError::Attribute`] names the first that is absent, too long or not canonical.
    pub fn of(element: &Element) -> Result<Self, PayloadError> {
        let text = |name: &'static str, len_max: usize| {
            element
                .attr(name)
                .filter(|value| !value.is_empty() && value.len() <= len_max)
                .ok_or(PayloadError::Attribute(name))
        };
        let client = ClientName(text("client-id", CLIENT_ID_LEN_MAX)?.to_owned());
        let serial = text("serial", SERIAL_LEN_MAX)?.to_owned();
        let seconds = element.attr("timestamp").and_then(|value| value.parse().ok());
        let time = seconds
            .map(Timestamp::from_secs)
            .ok_or(PayloadError::Attribute("timestamp"))?;
        Ok(Self { client, time, serial })
    }
}

/// Stamps and signs an element that has all its other attributes.
pub fn seal(mut element: Element, stamp: Stamp, parties: Parties<'_>, key: &Secret) -> Element {
    set(&mut element, "client-id", stamp.client.0);
    set(&mut element, "timestamp", stamp.time.as_secs().to_string());
    set(&mut element, "serial", stamp.serial);
    let signature = BASE64.encode(mac(&element, parties, key).finalize().into_bytes());
    set(&mut element, SIGNATURE, signature);
    element
}

/// Whether the element was signed with this key for these parties. The text of the signature must be canonical.
pub fn is_sealed(element: &Element, parties: Parties<'_>, key: &Secret) -> bool {
    let Some(signature) = element.attr(SIGNATURE).and_then(|text| BASE64.decode(text).ok()) else {
        return false;
    };
    mac(element, parties, key).verify_slice(&signature).is_ok()
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
fn mac(element: &Element, parties: Parties<'_>, key: &Secret) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()).expect("HMAC takes a key of any length");
    let mut fields = Fields(mac);
    for field in [
        ns::PUSH,
        parties.direction.label(),
        element.name(),
        parties.recipient,
        parties.sender,
    ] {
        fields.text(field);
    }
    fields.attributes(element);
    fields.count(covered_children(element).count());
    for child in covered_children(element) {
        fields.text(child.name());
        fields.attributes(child);
    }
    fields.0
}

fn covered_children(element: &Element) -> impl Iterator<Item = &Element> {
    element.children().filter(|child| child.has_ns(ns::PUSH))
}

/// Length-delimited input: no two different lists of fields give the same bytes.
struct Fields(Hmac<Sha256>);

impl Fields {
    fn count(&mut self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.0.update(&count.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.update(text.as_bytes());
    }

    fn attributes(&mut self, element: &Element) {
        let covered = || {
            element
                .attrs()
                .iter()
                .filter(|((namespace, name), _)| **namespace == Namespace::NONE && *name != SIGNATURE)
        };
        self.count(covered().count());
        for ((_, name), value) in covered() {
            self.text(name);
            self.text(value);
        }
    }
}
