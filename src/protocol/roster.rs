//! The roster (RFC 6121, section 2). To our own clients the embedded server shows one contact, the dispatcher, in both
//! directions; nothing is stored and nothing is pushed. From a foreign server we read what it keeps for us.

use minidom::Element;

use crate::protocol::codec::{Escaped, push};
use crate::protocol::ns;
use crate::protocol::stanza::bare;

/// The answer to a request for the roster.
pub(crate) fn roster(dispatcher: &str) -> String {
    let mut payload = String::new();
    push(
        &mut payload,
        format_args!(
            "<query xmlns='{}'><item jid='{}' subscription='both'/></query>",
            ns::ROSTER,
            Escaped(dispatcher)
        ),
    );
    payload
}

/// Who sees whose presence (RFC 6121, section 2.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscription {
    /// Nobody.
    None,
    /// We see the contact's.
    To,
    /// The contact sees ours.
    From,
    /// Both.
    Both,
    /// The contact was taken out of the roster.
    Removed,
}

impl Subscription {
    /// Whether we see the contact's presence.
    pub const fn is_to(self) -> bool {
        matches!(self, Self::To | Self::Both)
    }

    /// Whether the contact sees ours.
    pub const fn is_from(self) -> bool {
        matches!(self, Self::From | Self::Both)
    }

    /// What is absent or unknown counts as nobody, as to the servers that wrote it.
    fn parse(value: Option<&str>) -> Self {
        match value {
            Some("to") => Self::To,
            Some("from") => Self::From,
            Some("both") => Self::Both,
            Some("remove") => Self::Removed,
            Some(_) | None => Self::None,
        }
    }
}

/// One contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterItem {
    /// The bare JID.
    pub jid: String,
    /// Who sees whose presence.
    pub subscription: Subscription,
    /// Whether our request to see its presence awaits an answer.
    pub is_asked: bool,
}

/// The contacts in a roster's `<query/>`. What has no JID is left out: one bad item must not hide the others.
pub(crate) fn items(query: &Element) -> Vec<RosterItem> {
    let items = query.children().filter(|child| child.is("item", ns::ROSTER));
    items
        .filter_map(|item| {
            Some(RosterItem {
                jid: bare(item.attr("jid")?).to_owned(),
                subscription: Subscription::parse(item.attr("subscription")),
                is_asked: item.attr("ask") == Some("subscribe"),
            })
        })
        .collect()
}
