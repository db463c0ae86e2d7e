//! The message around the elements, and the serials in them.

use minidom::Element;
use rxml::{Namespace, NcName};

use crate::protocol::ns;

/// The mark of a message that was stored for an offline client (XEP-0091); existing peers drop such messages.
const LEGACY_DELAY: &str = "jabber:x:delay";

/// Sets an attribute whose name is a literal of ours.
#[expect(
    clippy::expect_used,
    reason = "every caller passes a literal that is an XML name; the tests write each one"
)]
pub(super) fn set(element: &mut Element, name: &'static str, value: impl Into<String>) {
    let name = NcName::try_from(name).expect("the literal is an XML name");
    element.set_attr(Namespace::NONE, name, value.into());
}

/// A message to `to` with an explicit `type='normal'` and no id: existing peers ignore any other type, and answer
/// nothing to an id.
pub(super) fn message(to: &str) -> Element {
    let mut message = Element::bare("message", ns::CLIENT);
    set(&mut message, "to", to);
    set(&mut message, "type", "normal");
    message
}

/// Whether a receiver looks into this stanza at all: a message of type `normal` that was not stored for us while we were
/// away. Compatibility contract, section 1.11, where existing peers want the type to be said; ejabberd leaves it out of
/// what it passes on, since it is the default (RFC 6121, section 5.2.2).
pub(super) fn is_live_message(stanza: &Element) -> bool {
    let is_normal = matches!(stanza.attr("type"), None | Some("normal"));
    is_normal && stanza.is("message", ns::CLIENT) && !stanza.has_child("x", LEGACY_DELAY)
}

/// The JID without its resource.
pub(super) fn bare(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(bare, _)| bare)
}

/// Makes serials: 16 hex digits of the connection's entropy, a dash, a counter.
#[derive(Clone, Debug)]
pub struct Serials {
    prefix: u64,
    next: u64,
}

impl Serials {
    /// Starts a series; `entropy` keeps two series apart.
    pub const fn new(entropy: u64) -> Self {
        Self {
            prefix: entropy,
            next: 0,
        }
    }

    /// The next serial.
    pub fn take(&mut self) -> String {
        let serial = format!("{:016x}-{}", self.prefix, self.next);
        self.next = self.next.wrapping_add(1);
        serial
    }
}
