//! The opening tag of a stream.

use rxml::{AttrMap, Namespace};

use crate::protocol::ns;

/// What a peer's stream header says (RFC 6120, section 4.7). Unknown attributes are ignored: existing agents and
/// servers send some of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamHeader {
    /// The domain the peer wants to talk to.
    pub to: Option<String>,
    /// Who the peer says it is.
    pub from: Option<String>,
    /// The stream's id; servers give one.
    pub id: Option<String>,
    /// The version as sent; absent in streams older than XMPP 1.0.
    pub version: Option<String>,
    /// The language of human-readable text in the stream.
    pub lang: Option<String>,
}

impl StreamHeader {
    /// Takes the attributes that have a meaning and drops the rest.
    pub(super) fn from_attributes(mut attributes: AttrMap) -> Self {
        let mut take = |name: &str| attributes.remove(&Namespace::NONE, name);
        Self {
            to: take("to"),
            from: take("from"),
            id: take("id"),
            version: take("version"),
            lang: attributes.remove(ns::XML, "lang"),
        }
    }
}
