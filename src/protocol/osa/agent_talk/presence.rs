//! Subscriptions, over a server that keeps rosters (compatibility contract, sections 1.9 and 1.10).
//!
//! The server shows us the presence of a dispatcher, and ours to it, once both have asked and approved. We approve what
//! the registration's dispatchers ask, and ask them where the roster says that we do not see them. Nobody else gets an
//! answer: it would tell a stranger that we are here. The embedded server's roster has the dispatcher as `both`, so none
//! of this is ever sent to it.

use minidom::Element;

use super::{AgentTalk, DISPATCHERS_MAX, Enrolment, Link, Output};
use crate::domain::time::Timestamp;
use crate::protocol::ns;
use crate::protocol::osa::action::SUBSCRIBE;
use crate::protocol::osa::signed::{Content, Signed};
use crate::protocol::osa::stanza::{bare, set};
use crate::protocol::roster::RosterItem;

/// How the account of a dispatcher begins, of a registration or not.
const DISPATCHER_NODE: &str = "rhn-dispatcher-sat";

impl AgentTalk {
    /// Takes the roster that the server keeps for us, and asks each dispatcher that it does not show us. One that was
    /// asked already is asked again: the request may have been lost.
    pub fn handle_roster(&mut self, now: Timestamp, items: &[RosterItem]) -> Vec<Output> {
        self.seen = Vec::new();
        self.handle_roster_change(items);
        let unseen: Vec<String> = self.dispatchers().filter(|jid| !self.sees(jid)).collect();
        let asked = unseen.iter().map(|jid| Output::Write(self.subscribe(now, jid)));
        asked.collect()
    }

    /// Takes what has changed in the roster. Nobody is asked because of it: who takes back an approval would be asked
    /// again for ever.
    pub fn handle_roster_change(&mut self, items: &[RosterItem]) {
        for item in items {
            if !self.is_dispatcher(&item.jid) {
                continue;
            }
            self.seen.retain(|seen| *seen != item.jid);
            if item.subscription.is_to() && self.seen.len() < DISPATCHERS_MAX {
                self.seen.push(item.jid.clone());
            }
        }
    }

    /// Takes a presence from the server.
    pub fn handle_presence(&mut self, now: Timestamp, stanza: &Element) -> Vec<Output> {
        let sender = stanza.attr("from").unwrap_or_default();
        let kind = stanza.attr("type");
        if !self.is_dispatcher(sender) {
            let is_old_list = kind == Some("subscribe") && is_named_as_dispatcher(sender);
            return is_old_list
                .then(|| Output::DispatcherUnknown(sender.to_owned()))
                .into_iter()
                .collect();
        }
        let is_full = bare(sender) != sender;
        match kind {
            Some("subscribe") => self.approve(now, sender, stanza.attr("id")),
            None if is_full => vec![Output::DispatcherCame(sender.to_owned())],
            Some("unavailable") if is_full => self.lose(sender),
            Some(_) | None => Vec::new(),
        }
    }

    /// Asks the server whether a dispatcher is there: the embedded server answers with its presence, a foreign one if
    /// there is any.
    pub fn probes(&self) -> Vec<Element> {
        self.dispatchers().map(|jid| presence_to(&jid, "probe")).collect()
    }

    fn approve(&mut self, now: Timestamp, sender: &str, id: Option<&str>) -> Vec<Output> {
        let mut approval = presence_to(bare(sender), "subscribed");
        if let Some(id) = id {
            set(&mut approval, "id", id);
        }
        let mut outputs = vec![Output::Write(approval)];
        if !self.sees(bare(sender)) {
            outputs.push(Output::Write(self.subscribe(now, bare(sender))));
        }
        outputs
    }

    /// One of several that is not the one we talk with leaves nothing to do.
    fn lose(&mut self, sender: &str) -> Vec<Output> {
        if matches!(&self.link, Link::Ours(last) if last != sender) {
            return Vec::new();
        }
        self.link = Link::Unknown;
        vec![Output::DispatcherLeft(sender.to_owned())]
    }

    /// Asks as existing agents do: signed over the bare JID.
    fn subscribe(&mut self, now: Timestamp, dispatcher: &str) -> Element {
        let serial = self.serials.take();
        let content = Content {
            timestamp: now.as_secs(),
            serial: &serial,
            action: SUBSCRIBE,
        };
        let Enrolment { key, client, .. } = &self.enrolment;
        let signed = Signed::response(key, dispatcher, &client.0, &self.own, content);
        let mut presence = presence_to(dispatcher, "subscribe");
        set(&mut presence, "id", format!("presence-{serial}"));
        presence.append_child(signed.to_element());
        presence
    }

    /// The bare JIDs of the registration's dispatchers, each once.
    fn dispatchers(&self) -> impl Iterator<Item = String> {
        let mut jids: Vec<String> = Vec::new();
        for jid in &self.enrolment.dispatchers {
            let jid = bare(jid);
            if jids.len() < DISPATCHERS_MAX && !jids.iter().any(|other| other == jid) {
                jids.push(jid.to_owned());
            }
        }
        jids.into_iter()
    }

    fn sees(&self, dispatcher: &str) -> bool {
        self.seen.iter().any(|seen| seen == dispatcher)
    }
}

fn is_named_as_dispatcher(jid: &str) -> bool {
    jid.split_once('@')
        .is_some_and(|(node, _)| node.starts_with(DISPATCHER_NODE))
}

fn presence_to(recipient: &str, kind: &str) -> Element {
    let mut presence = Element::bare("presence", ns::CLIENT);
    set(&mut presence, "to", recipient);
    set(&mut presence, "type", kind);
    presence
}
