//! The signed `<x/>` of existing agents and dispatchers. Compatibility contract, sections 1.11 and 1.12.
//!
//! The signature is a chain: `h0 = hex(SHA1(key))`, `hi = hex(SHA1(h(i-1) + value_i))`, and the last one is sent.
//! There is no separator between the parts, so the scheme is weak; new peers use [`super::seal`] between themselves.

use minidom::Element;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

use super::action::Action;
use super::stanza::{is_live_message, set};
use crate::domain::secret::Secret;
use crate::protocol::ns;

/// What an absent attribute is hashed as by a receiver.
const ABSENT: &str = "None";

/// One link of the chain: a SHA-1 digest in lower-case hex.
pub type Link = [u8; 40];

/// The attributes of a signed `<x/>`, as received: the signature covers their very text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signed {
    /// The name the client got when it registered; only in what clients send.
    pub client_id: Option<String>,
    /// The sender's clock, Unix seconds. See [`Signed::unix_seconds`].
    pub timestamp: Option<String>,
    /// An id of the sender's own; not a number.
    pub serial: Option<String>,
    /// A URI; see [`Action`].
    pub action: Option<String>,
    /// The sender's full JID, as the sender knows it.
    pub jid: Option<String>,
    /// The last link of the chain.
    pub signature: Option<String>,
}

/// What goes into an `<x/>` beside key and addresses.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// Unix seconds.
    pub timestamp: i64,
    /// An id of the sender's own.
    pub serial: &'a str,
    /// The URI of the action.
    pub action: &'a str,
}

impl Signed {
    /// The `<x/>` of a message that a receiver must look at: of type `normal`, not marked as stored with
    /// `jabber:x:delay`, and of its direct children the first `x` in the namespace.
    pub fn in_message(message: &Element) -> Option<Self> {
        if !is_live_message(message) {
            return None;
        }
        message.get_child("x", ns::SIGNED).map(Self::from_element)
    }

    /// Takes the known attributes; unknown ones and children are ignored.
    pub fn from_element(x: &Element) -> Self {
        let take = |name: &str| x.attr(name).map(str::to_owned);
        Self {
            client_id: take("client-id"),
            timestamp: take("timestamp"),
            serial: take("serial"),
            action: take("action"),
            jid: take("jid"),
            signature: take("signature"),
        }
    }

    /// Signs what a dispatcher sends to the client whose registered JID is `recipient`; `sender` is its own full JID.
    pub fn request(key: &Secret, recipient: &str, sender: &str, content: Content<'_>) -> Self {
        Self::sign(key, recipient, None, sender, content)
    }

    /// Signs what a client named `client_id` sends to `recipient`; `sender` is its own full JID.
    pub fn response(key: &Secret, recipient: &str, client_id: &str, sender: &str, content: Content<'_>) -> Self {
        Self::sign(key, recipient, Some(client_id), sender, content)
    }

    fn sign(key: &Secret, recipient: &str, client_id: Option<&str>, sender: &str, content: Content<'_>) -> Self {
        let timestamp = content.timestamp.to_string();
        let fields = [timestamp.as_str(), content.serial, content.action, sender];
        let values = [recipient].into_iter().chain(client_id).chain(fields);
        let signature = String::from_utf8_lossy(&chain(key, values)).into_owned();
        Self {
            client_id: client_id.map(str::to_owned),
            timestamp: Some(timestamp),
            serial: Some(content.serial.to_owned()),
            action: Some(content.action.to_owned()),
            jid: Some(sender.to_owned()),
            signature: Some(signature),
        }
    }

    /// Whether a dispatcher with this key sent it to us; `own_jid` is our full JID. The sender's JID is taken from the
    /// attribute `jid`, not from the stanza, as existing agents do.
    pub fn is_valid_request(&self, key: &Secret, own_jid: &str) -> bool {
        let values = [
            own_jid,
            or_absent(&self.timestamp),
            or_absent(&self.serial),
            or_absent(&self.action),
            or_absent(&self.jid),
        ];
        self.is_signed_with(&chain(key, values))
    }

    /// Whether the client with this key sent it to us; `own_jid` is our full JID and `sender` the full JID of the
    /// stanza. The attribute `jid` is ignored, as existing dispatchers do.
    pub fn is_valid_response(&self, key: &Secret, own_jid: &str, sender: &str) -> bool {
        let values = [
            own_jid,
            or_absent(&self.client_id),
            or_absent(&self.timestamp),
            or_absent(&self.serial),
            or_absent(&self.action),
            sender,
        ];
        self.is_signed_with(&chain(key, values))
    }

    fn is_signed_with(&self, expected: &Link) -> bool {
        let signature = self.signature.as_deref().unwrap_or_default();
        signature.as_bytes().ct_eq(expected).into()
    }

    /// What it asks for, if it is a request that is known.
    pub fn requested(&self) -> Option<Action> {
        self.action.as_deref().and_then(Action::from_request)
    }

    /// What it answers, if it is an answer that is known.
    pub fn responded(&self) -> Option<Action> {
        self.action.as_deref().and_then(Action::from_response)
    }

    /// The timestamp as a number. Units: Unix seconds. `None` if absent or not an integer.
    pub fn unix_seconds(&self) -> Option<i64> {
        self.timestamp.as_deref()?.trim().parse().ok()
    }

    /// Writes the element.
    pub fn to_element(&self) -> Element {
        let mut x = Element::bare("x", ns::SIGNED);
        let attributes = [
            ("client-id", &self.client_id),
            ("timestamp", &self.timestamp),
            ("serial", &self.serial),
            ("action", &self.action),
            ("jid", &self.jid),
            ("signature", &self.signature),
        ];
        for (name, value) in attributes {
            if let Some(value) = value {
                set(&mut x, name, value.as_str());
            }
        }
        x
    }
}

fn or_absent(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or(ABSENT)
}

/// The last link of the chain over `values`; without values, the first link.
pub fn chain<'a>(key: &Secret, values: impl IntoIterator<Item = &'a str>) -> Link {
    let first = link(Sha1::new().chain_update(key.expose()));
    values.into_iter().fold(first, |last, value| {
        link(Sha1::new().chain_update(last).chain_update(value))
    })
}

fn link(hash: Sha1) -> Link {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut hex = [0; 40];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(hash.finalize()) {
        for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 0x0f]) {
            *digit = DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
        }
    }
    hex
}
