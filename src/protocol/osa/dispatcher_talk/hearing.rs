//! What the dispatcher makes of presences and messages.

use minidom::Element;

use super::lookup::Held;
use super::registration::Registration;
use super::{DispatcherTalk, Ignored, Output, Presence, Question, has_payload};
use crate::domain::ids::ClientName;
use crate::domain::push::client::{AgentKind, Announcement, Client, ClientEvent, Refusal};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::protocol::ns;
use crate::protocol::osa::action::Action;
use crate::protocol::osa::payload::{ELEMENTS_MAX, ToAgent, ToDispatcher};
use crate::protocol::osa::replay::Stale;
use crate::protocol::osa::seal::{Direction, Parties, Stamp, is_sealed};
use crate::protocol::osa::signed::Signed;
use crate::protocol::osa::stanza::is_live_message;

/// How many announcements of one presence are looked at: an agent makes one per dispatcher it was told of.
const ANNOUNCEMENTS_MAX: usize = 8;

/// The announcement of a presence that is meant for this dispatcher; existing agents make none.
#[derive(Debug)]
pub(super) struct Greeting(Option<Box<Element>>);

impl Greeting {
    pub fn in_presence(presence: &Element, own: &str) -> Self {
        let agents = presence.children().filter(|child| child.is("agent", ns::PUSH));
        let ours = agents
            .take(ANNOUNCEMENTS_MAX)
            .find(|agent| agent.attr("to") == Some(own));
        Self(ours.cloned().map(Box::new))
    }
}

impl DispatcherTalk {
    /// Takes a message of the session. What is not signed, or of another type than `normal`, has no effect.
    pub fn handle_message(&mut self, now: Timestamp, message: &Element) {
        if has_payload(message) {
            if !is_live_message(message) {
                return;
            }
            let payloads = message.children().filter(|child| child.has_ns(ns::PUSH));
            for payload in payloads.take(ELEMENTS_MAX) {
                self.handle_payload(now, payload);
            }
        } else if let Some(signed) = Signed::in_message(message) {
            self.handle_signed(now, signed);
        }
    }

    fn handle_payload(&mut self, now: Timestamp, payload: &Element) {
        match self.registration.take() {
            Some(mut registration) if payload.attr("client-id") == Some(&registration.name.0) => {
                self.hear_payload(now, &mut registration, payload);
                self.keep(registration);
            }
            other => {
                self.registration = other;
                let name = payload.attr("client-id").map(str::to_owned);
                self.hold(now, name, Held::Payload(payload.clone()));
            }
        }
    }

    fn handle_signed(&mut self, now: Timestamp, signed: Signed) {
        match self.registration.take() {
            Some(mut registration) if signed.client_id.as_ref() == Some(&registration.name.0) => {
                self.hear_signed(now, &mut registration, &signed);
                self.keep(registration);
            }
            other => {
                self.registration = other;
                self.hold(now, signed.client_id.clone(), Held::Signed(signed));
            }
        }
    }

    /// Keeps an element until the row it names is read. While the row of the session's JID is being read, that one will do.
    fn hold(&mut self, now: Timestamp, name: Option<String>, held: Held) {
        let Some(name) = name.map(ClientName) else {
            return self.ignore(Ignored::UnknownClient);
        };
        let row_is_coming = matches!(self.presence, Presence::Asking { .. } | Presence::Waiting { .. });
        if !row_is_coming && !self.lookups.is_asked(&name) {
            if !self.lookups.ask(now, &name) {
                return self.ignore(Ignored::TooManyLookups);
            }
            let question = Question::ClientByName(name.clone());
            self.outputs.push_back(Output::Ask(question));
        }
        if !self.lookups.hold(name, held) {
            self.ignore(Ignored::TooManyLookups);
        }
    }

    /// The row of a client name was read, or is not one of this session.
    pub(super) fn handle_named(&mut self, now: Timestamp, name: &ClientName, client: Option<Client>) {
        let Some(held) = self.lookups.answered(name) else {
            return;
        };
        let Some(client) = client else {
            return held.iter().for_each(|_| self.ignore(Ignored::UnknownClient));
        };
        let mut registration = self.adopt(now, &client);
        self.hear_held(now, &mut registration, held);
        self.keep(registration);
    }

    /// The row of the session's JID was read: the session is pushable, and what came meanwhile is heard.
    pub(super) fn become_pushable(&mut self, now: Timestamp, greeting: &Greeting, mut client: Client) {
        let announcement = self.hear_greeting(now, &client, greeting);
        let mut registration = self.adopt(now, &client);
        client.announced = registration.announced;
        let (kind, announcement) = match client.announced {
            true => (AgentKind::New, announcement),
            false => (AgentKind::Existing, Some(Announcement::default())),
        };
        for report in announcement.iter().flat_map(|announcement| &announcement.reports) {
            registration.finished(report.run, report.covers, now);
        }
        self.presence = Presence::Pushable(kind);
        self.outputs.push_back(Output::Pushable {
            client,
            kind,
            announcement,
        });
        if kind == AgentKind::New {
            self.write_payload(now, &registration, ToAgent::Welcome);
        }
        self.hear_unasked(now, registration);
    }

    fn hear_unasked(&mut self, now: Timestamp, mut registration: Box<Registration>) {
        let (ours, others) = self.lookups.unasked(&registration.name);
        self.hear_held(now, &mut registration, ours);
        self.keep(registration);
        for (name, held) in others {
            self.hold(now, Some(name.0), held);
        }
    }

    fn hear_held(&mut self, now: Timestamp, registration: &mut Registration, held: Vec<Held>) {
        for held in held {
            match held {
                Held::Signed(signed) => self.hear_signed(now, registration, &signed),
                Held::Payload(payload) => self.hear_payload(now, registration, &payload),
            }
        }
    }

    /// The announcement, if it counts. A validly signed one that is old or was heard before proves a new agent, but says
    /// nothing: the agent's clock may be off, which it sees by the welcome, or another server may have kept the presence
    /// of an earlier day for us. Either way the agent announces itself again.
    fn hear_greeting(&mut self, now: Timestamp, client: &Client, greeting: &Greeting) -> Option<Announcement> {
        let element = greeting.0.as_deref()?;
        let (payload, fresh) = self
            .open(now, &client.name, &client.shared_key, element)
            .map_err(|why| self.ignore(why))
            .ok()?;
        let ToDispatcher::Agent(hello) = payload else {
            return None;
        };
        self.announced = Some(client.name.clone());
        fresh.map_err(|stale| self.ignore(stale)).ok()?;
        Some(hello.announcement)
    }

    /// Verifies an element of ours; also whether it is fresh.
    fn open(
        &mut self,
        now: Timestamp,
        name: &ClientName,
        key: &Secret,
        element: &Element,
    ) -> Result<(ToDispatcher, Result<(), Stale>), Ignored> {
        let stamp = Stamp::of(element)?;
        let payload = ToDispatcher::parse(element)?;
        if stamp.client != *name {
            return Err(Ignored::UnknownClient);
        }
        let parties = Parties {
            direction: Direction::ToDispatcher,
            sender: &self.peer,
            recipient: &self.own,
        };
        if !is_sealed(element, parties, key) {
            return Err(Ignored::BadSignature);
        }
        let signature = element.attr("signature").unwrap_or_default();
        Ok((payload, self.replay.admit(now, stamp.time, signature)))
    }

    fn hear_payload(&mut self, now: Timestamp, registration: &mut Registration, element: &Element) {
        let (payload, fresh) = match self.open(now, &registration.name, &registration.key, element) {
            Ok(opened) => opened,
            Err(why) => return self.ignore(why),
        };
        // An announcement counts in a presence only: that is what makes a session pushable.
        let ToDispatcher::Event(event) = payload else {
            return;
        };
        if let Err(stale) = fresh
            && !is_clock_complaint(registration, &event, stale)
        {
            if matches!(stale, Stale::Clock { .. }) {
                self.tell_time(now, registration);
            }
            return self.ignore(stale);
        }
        match &event {
            ClientEvent::Accepted(number) => registration.accepted(*number),
            ClientEvent::Refused(number, _) => registration.refused(*number),
            ClientEvent::Started(_) => {}
            ClientEvent::Finished(report) => registration.finished(report.run, report.covers, now),
            ClientEvent::Ponged => registration.ponged(),
        }
        self.outputs.push_back(Output::Event(registration.system, event));
    }

    /// Credits an existing agent's answer, which carries no number, to the oldest unanswered request.
    fn hear_signed(&mut self, now: Timestamp, registration: &mut Registration, signed: &Signed) {
        if registration.announced || matches!(self.presence, Presence::Pushable(AgentKind::New)) {
            return self.ignore(Ignored::WeakSignature);
        }
        if !signed.is_valid_response(&registration.key, &self.own, &self.peer) {
            return self.ignore(Ignored::BadSignature);
        }
        if let Err(stale) = self.tolerate(now, signed) {
            return self.ignore(stale);
        }
        let event = match signed.responded() {
            Some(Action::CheckIn) => registration
                .credit_oldest()
                .map_or(ClientEvent::Ponged, ClientEvent::Accepted),
            Some(Action::Ping) => {
                registration.ponged();
                ClientEvent::Ponged
            }
            None => return self.ignore(Ignored::UnknownAction),
        };
        self.outputs.push_back(Output::Event(registration.system, event));
    }

    /// Whether an existing agent's clock is near enough; without a limit, any is. What it repeats is not looked for: over
    /// its own connection, an answer that settles nothing is only a sign of life.
    fn tolerate(&self, now: Timestamp, signed: &Signed) -> Result<(), Stale> {
        let Some(limit) = self.existing_drift_max else {
            return Ok(());
        };
        let off_secs = signed
            .unix_seconds()
            .map_or(i64::MAX, |stamped| stamped.saturating_sub(now.as_secs()));
        if off_secs.unsigned_abs() > limit.as_secs() {
            return Err(Stale::Clock { off_secs });
        }
        Ok(())
    }
}

/// An agent whose clock is off says so with that clock; it is believed about a request that is outstanding.
fn is_clock_complaint(registration: &Registration, event: &ClientEvent, stale: Stale) -> bool {
    match (event, stale) {
        (ClientEvent::Refused(number, Refusal::Clock), Stale::Clock { .. }) => registration.is_outstanding(*number),
        _ => false,
    }
}
