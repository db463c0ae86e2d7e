//! What the agent says.

use minidom::Element;

use super::{AgentTalk, DISPATCHERS_MAX, Enrolment, Link, Request};
use crate::domain::push::client::{Announcement, ClientEvent, Refusal};
use crate::domain::time::Timestamp;
use crate::protocol::ns;
use crate::protocol::osa::action::Action;
use crate::protocol::osa::payload::{ELEMENTS_MAX, Hello, REVISION, ToDispatcher, event_element};
use crate::protocol::osa::seal::{Direction, Parties, Stamp, seal};
use crate::protocol::osa::signed::{Content, Signed};
use crate::protocol::osa::stanza::message;

impl AgentTalk {
    /// The initial presence with the announcement, one for each dispatcher. Unacknowledged reports beyond
    /// [`REPORTS_MAX`](crate::protocol::osa::payload::REPORTS_MAX) are left out; [`report`](Self::report) them.
    pub fn presence(&mut self, now: Timestamp, version: &str, announcement: &Announcement) -> Element {
        let mut presence = Element::bare("presence", ns::CLIENT);
        let dispatchers: Vec<String> = self
            .enrolment
            .dispatchers
            .iter()
            .take(DISPATCHERS_MAX)
            .cloned()
            .collect();
        for recipient in dispatchers {
            let hello = Hello {
                recipient: recipient.clone(),
                version: version.to_owned(),
                revision: REVISION,
                announcement: announcement.clone(),
            };
            let element = ToDispatcher::Agent(hello).to_element();
            presence.append_child(self.seal(now, &recipient, element));
        }
        presence
    }

    /// Answers a request, and reports `also` in the same message. A request of an original dispatcher is answered in its
    /// form: accepted or disabled alike, as the original agent does; otherwise `None`, and it will ask again.
    pub fn answer(
        &mut self,
        now: Timestamp,
        request: &Request,
        decision: Result<(), Refusal>,
        also: &[ClientEvent],
    ) -> Option<Element> {
        let Some(number) = request.number else {
            return match decision {
                Ok(()) | Err(Refusal::Disabled) => Some(self.respond(now, &request.sender, Action::CheckIn)),
                Err(Refusal::Clock | Refusal::Signature | Refusal::Draining) => None,
            };
        };
        let answer = decision.map_or_else(
            |refusal| ClientEvent::Refused(number, refusal),
            |()| ClientEvent::Accepted(number),
        );
        let also = also.iter().take(ELEMENTS_MAX - 1).cloned();
        let events: Vec<ClientEvent> = [answer].into_iter().chain(also).collect();
        Some(self.events(now, &request.sender, &events))
    }

    /// Reports what happened to the dispatcher that spoke last, in as many messages as it takes; in none before a
    /// dispatcher of ours was heard on this connection.
    pub fn report(&mut self, now: Timestamp, events: &[ClientEvent]) -> Vec<Element> {
        let Link::Ours(dispatcher) = &self.link else {
            return Vec::new();
        };
        let dispatcher = dispatcher.clone();
        let chunks = events.chunks(ELEMENTS_MAX);
        chunks.map(|chunk| self.events(now, &dispatcher, chunk)).collect()
    }

    pub(super) fn events(&mut self, now: Timestamp, recipient: &str, events: &[ClientEvent]) -> Element {
        let mut stanza = message(recipient);
        for event in events {
            stanza.append_child(self.seal(now, recipient, event_element(event)));
        }
        stanza
    }

    fn seal(&mut self, now: Timestamp, recipient: &str, element: Element) -> Element {
        let stamp = Stamp {
            client: self.enrolment.client.clone(),
            time: self.server_time(now),
            serial: self.serials.take(),
        };
        let parties = Parties {
            direction: Direction::ToDispatcher,
            sender: &self.own,
            recipient,
        };
        seal(element, stamp, parties, &self.enrolment.key)
    }

    pub(super) fn respond(&mut self, now: Timestamp, recipient: &str, action: Action) -> Element {
        let content = Content {
            timestamp: now.as_secs(),
            serial: &self.serials.take(),
            action: action.response(),
        };
        let Enrolment { key, client, .. } = &self.enrolment;
        let signed = Signed::response(key, recipient, &client.0, &self.own, content);
        let mut stanza = message(recipient);
        stanza.append_child(signed.to_element());
        stanza
    }
}
