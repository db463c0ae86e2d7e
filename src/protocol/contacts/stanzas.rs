//! What contacts are sent.

use minidom::Element;

use crate::protocol::ns;
use crate::protocol::stanza::set_attribute;

/// A presence of this type.
pub(super) fn presence(kind: &str, to: &str) -> Element {
    let mut presence = Element::bare("presence", ns::CLIENT);
    set_attribute(&mut presence, "type", kind);
    set_attribute(&mut presence, "to", to);
    presence
}

/// A contact leaves the roster. One item each, as the standard wants it (RFC 6121, section 2.5).
pub(super) fn removal(jid: &str) -> Element {
    let mut item = Element::bare("item", ns::ROSTER);
    set_attribute(&mut item, "jid", jid);
    set_attribute(&mut item, "subscription", "remove");
    let mut query = Element::bare("query", ns::ROSTER);
    query.append_child(item);
    let mut iq = Element::bare("iq", ns::CLIENT);
    set_attribute(&mut iq, "type", "set");
    set_attribute(&mut iq, "id", "remove");
    iq.append_child(query);
    iq
}

/// We are there, for this contact.
pub(super) fn available(to: &str) -> Element {
    let mut presence = Element::bare("presence", ns::CLIENT);
    set_attribute(&mut presence, "to", to);
    presence
}
