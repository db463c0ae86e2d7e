//! Stanzas on their way, and who really signed what: the truth that no peer knows.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::LazyLock;

use minidom::Element;
use osa::domain::ids::SystemId;
use osa::protocol::ns;
use osa::protocol::stream::server::ServerConfig;
use rxml::{Namespace, NcName};

pub const DISPATCHER: &str = "rhn-dispatcher-sat@sat.test/superclient";
/// A client with an account and no registration.
pub const STRANGER: &str = "osad-feedfeedfe@sat.test/osad";

/// A stanza that several may look at.
pub type Stanza = Rc<Element>;

/// The embedded server, as far as it decides where a stanza goes.
pub static SERVER: LazyLock<ServerConfig> = LazyLock::new(|| ServerConfig::new("sat.test", [0; 32]));

/// The full JID of an agent.
pub fn jid(index: usize) -> String {
    let number = i64::try_from(index).expect("agents are few") + 1;
    crate::store::jid(SystemId(number))
}

pub fn set(element: &mut Element, name: &str, value: impl Into<String>) {
    let name = NcName::try_from(name).expect("tests use XML names");
    element.set_attr(Namespace::NONE, name, value.into());
}

/// A message with one element, of the only type that peers look at.
pub fn message(to: &str, element: Element) -> Element {
    let mut message = Element::bare("message", ns::CLIENT);
    set(&mut message, "to", to);
    set(&mut message, "type", "normal");
    message.append_child(element);
    message
}

/// The stanza as a server passes it on, under the name that its sender proved.
pub fn vouched(mut stanza: Element, from: &str) -> Element {
    set(&mut stanza, "from", from);
    stanza
}

/// The elements of a stanza that peers believe if their signature is right.
pub fn signed(stanza: &Element) -> impl Iterator<Item = &Element> {
    let believed = |child: &&Element| child.has_ns(ns::PUSH) || child.is("x", ns::SIGNED);
    stanza.children().filter(believed)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    Dispatcher,
    Agent,
}

/// An element that a peer really signed.
#[derive(Debug)]
pub struct Genuine {
    pub author: Author,
    /// The agent at the other end, or that wrote it.
    pub agent: usize,
    /// The registration it was signed under.
    pub name: String,
    /// The stanza it was written in, and its place there.
    stanza: Stanza,
    place: usize,
    /// Whether an agent acted on it.
    taken: bool,
}

/// Everything that dispatcher and agents signed, by signature.
#[derive(Debug, Default)]
pub struct Ledger(HashMap<String, Genuine>);

impl Ledger {
    /// A peer wrote this stanza, under the registration of that name. Gives back how many elements it signed.
    pub fn write(&mut self, author: Author, agent: usize, name: &str, stanza: &Stanza) -> usize {
        let mut count = 0;
        for (place, element) in signed(stanza).enumerate() {
            let genuine = Genuine {
                author,
                agent,
                name: name.to_owned(),
                stanza: Rc::clone(stanza),
                place,
                taken: false,
            };
            let signature = element.attr("signature").expect("peers sign all they write");
            let before = self.0.insert(signature.to_owned(), genuine);
            assert!(
                before.is_none(),
                "I6: somebody passed on what was written before: {stanza:?}"
            );
            count += 1;
        }
        count
    }

    /// The record of this very element, unless somebody made it up or changed it.
    pub fn genuine(&self, element: &Element) -> Option<&Genuine> {
        let genuine = self.0.get(element.attr("signature")?)?;
        let original = signed(&genuine.stanza).nth(genuine.place)?;
        let same = std::ptr::eq(original, element) || original == element;
        same.then_some(genuine)
    }

    /// An agent acts on an element; whether it does for the first time.
    pub fn take(&mut self, element: &Element) -> bool {
        let genuine = element
            .attr("signature")
            .and_then(|signature| self.0.get_mut(signature));
        genuine.is_some_and(|genuine| !std::mem::replace(&mut genuine.taken, true))
    }
}
