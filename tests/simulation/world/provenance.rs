//! I6 and I7: whatever had an effect was written by the peer it claims, for the one who took it. The product is not
//! asked: the ledger knows who signed what.

use osa::domain::push::client::{Announcement, Refusal};
use osa::protocol::osa::agent_talk::Output;
use osa::protocol::osa::payload::ToDispatcher;
use osa::protocol::osa::replay::{AGENT_DRIFT_MAX, DRIFT_MAX, LEGACY_DRIFT_MAX};
use osa::protocol::osa::signed::Signed;

use super::*;
use crate::wire::Author;

/// Longest list of what a conversation ignored or still holds.
const HEARD_MAX: usize = 128;

/// An element that a conversation was given.
pub(super) struct Heard {
    stanza: Stanza,
    place: usize,
    injected: Option<Kind>,
}

impl Heard {
    fn element(&self) -> &Element {
        wire::signed(&self.stanza)
            .nth(self.place)
            .expect("it was there when it was noted")
    }

    fn signature(&self) -> &str {
        self.element().attr("signature").unwrap_or_default()
    }

    fn is_strong(&self) -> bool {
        self.element().name() != "x"
    }

    /// Whether it says this, at a time that counts.
    fn says(&self, event: &ClientEvent, now: Timestamp) -> bool {
        if self.is_strong() {
            let said = ToDispatcher::parse(self.element());
            let complaint = matches!(event, ClientEvent::Refused(_, Refusal::Clock));
            let fresh = complaint || is_near(self.element(), now, DRIFT_MAX);
            return fresh && matches!(said, Ok(ToDispatcher::Event(said)) if said == *event);
        }
        let answers = Signed::from_element(self.element()).responded().is_some();
        answers && matches!(event, ClientEvent::Accepted(_) | ClientEvent::Ponged)
    }
}

fn is_near(element: &Element, now: Timestamp, limit: Duration) -> bool {
    let stamp = element.attr("timestamp").and_then(|text| text.parse().ok());
    stamp.map(Timestamp::from_secs).is_some_and(|at: Timestamp| {
        let off = at.as_millis().abs_diff(now.as_millis());
        Duration::from_millis(off) <= limit
    })
}

impl World {
    /// I6: a client's stanza is heard by the dispatcher only if it was sent to the dispatcher.
    pub(super) fn check_addressee(&self, stanza: &Element) {
        let dispatcher = wire::DISPATCHER.split('/').next();
        let meant = match stanza.attr("to") {
            None => stanza.name() == "presence",
            Some(to) => to.split('/').next() == dispatcher,
        };
        assert!(meant, "I6: the dispatcher heard {stanza:?}; {}", self.describe());
    }

    /// I6: what a server brings to an agent was written by the dispatcher, for this agent.
    pub(super) fn check_forwarded(&self, index: usize, stanza: &Element) {
        let addressed = stanza.attr("to") == Some(&wire::jid(index)) && stanza.attr("from") == Some(wire::DISPATCHER);
        let written = wire::signed(stanza).all(|element| {
            let genuine = self.ledger.genuine(element);
            genuine.is_some_and(|genuine| genuine.author == Author::Dispatcher && genuine.agent == index)
        });
        assert!(
            addressed && written,
            "I6: agent {index} was brought {stanza:?}; {}",
            self.describe()
        );
    }

    /// I7 at a new agent: what it acts on was signed by the dispatcher for its present registration, is not weaker than
    /// what it heard before, is of its time, and counts once.
    pub(super) fn check_agent(&mut self, index: usize, stanza: &Element, outputs: &[Output], injected: Option<Kind>) {
        let Some(element) = wire::signed(stanza).next() else {
            return assert!(outputs.is_empty(), "I7: agent {index} believed unsigned {stanza:?}");
        };
        let agent = &self.agents[index];
        let genuine = self.ledger.genuine(element).is_some_and(|genuine| {
            genuine.author == Author::Dispatcher && genuine.agent == index && genuine.name == agent.name
        });
        let genuine = genuine && stanza.attr("from") == Some(wire::DISPATCHER);
        let complains = outputs.contains(&Output::ClockOff);
        // To register anew is not to believe.
        let moved = outputs
            .iter()
            .any(|output| !matches!(output, Output::Ignored(_) | Output::KeyVoid));
        assert!(
            !moved || genuine,
            "I7: agent {index} believed {stanza:?}; {}",
            self.describe()
        );
        let weak = element.name() == "x";
        let limit = if weak { LEGACY_DRIFT_MAX } else { AGENT_DRIFT_MAX };
        let near = is_near(element, agent.server_time(self.now), limit);
        let counts = outputs.iter().any(|output| match output {
            Output::RequestReceived(_) | Output::Acknowledged(_) => true,
            Output::Write(_) => !complains,
            Output::LinkUp(_) | Output::ClockOff | Output::KeyVoid | Output::Ignored(_) => false,
            Output::DispatcherCame(_) | Output::DispatcherLeft(_) | Output::DispatcherUnknown(_) => false,
        });
        assert!(
            !counts || (near && !(weak && agent.strong)),
            "I7: agent {index} (strong: {}) acted on {stanza:?}; {}",
            agent.strong,
            self.describe()
        );
        self.agents[index].strong |= genuine && !weak;
        if counts {
            self.witness.attacks.take(injected);
            let first = self.ledger.take(element);
            assert!(
                first,
                "I7: agent {index} acted twice on {stanza:?}; {}",
                self.describe()
            );
        }
    }

    /// I7 at an existing agent, which can tell no replay.
    pub(super) fn check_existing(&mut self, index: usize, stanza: &Element, injected: Option<Kind>) {
        let genuine = wire::signed(stanza)
            .next()
            .and_then(|element| self.ledger.genuine(element))
            .is_some_and(|genuine| {
                let meant = genuine.agent == index && genuine.name == self.agents[index].name;
                genuine.author == Author::Dispatcher && meant
            });
        assert!(
            genuine,
            "I7: existing agent {index} believed {stanza:?}; {}",
            self.describe()
        );
        self.witness.attacks.take(injected);
    }

    pub(super) fn note_heard(&mut self, id: ConnectionId, stanza: &Stanza, injected: Option<Kind>) {
        let connection = self.connections.get_mut(&id).expect("connections are kept");
        for place in 0..wire::signed(stanza).count() {
            if connection.heard.len() == HEARD_MAX {
                connection.heard.remove(0);
            }
            let stanza = Rc::clone(stanza);
            connection.heard.push(Heard {
                stanza,
                place,
                injected,
            });
        }
    }

    /// I6 and I7 at the dispatcher: an event is explained by an element that the session's own agent signed and that had
    /// no effect on this connection yet.
    pub(super) fn check_event(&mut self, id: ConnectionId, system: SystemId, event: &ClientEvent) {
        let (now, index) = (self.now, self.connections[&id].agent);
        assert_eq!(
            system,
            self.agents[index].system,
            "I6: a client spoke for another one; {}",
            self.describe()
        );
        self.explain(id, |heard| heard.says(event, now), event);
    }

    /// The same for what an agent announces.
    pub(super) fn check_announcement(&mut self, id: ConnectionId, client: &Client, announcement: &Announcement) {
        if *announcement == Announcement::default() {
            return;
        }
        let announces = |heard: &Heard| {
            let named = heard.element().attr("client-id") == Some(&client.name.0);
            let said = ToDispatcher::parse(heard.element());
            named && matches!(said, Ok(ToDispatcher::Agent(hello)) if hello.announcement == *announcement)
        };
        self.explain(id, announces, announcement);
    }

    fn explain(&mut self, id: ConnectionId, says: impl Fn(&Heard) -> bool, what: &impl std::fmt::Debug) {
        let connection = &self.connections[&id];
        let signed_by_it = |heard: &Heard| {
            let genuine = self.ledger.genuine(heard.element());
            genuine.is_some_and(|it| it.author == Author::Agent && it.agent == connection.agent)
        };
        let explains = |heard: &Heard| {
            let repeated = || heard.is_strong() && connection.taken.contains(heard.signature());
            says(heard) && !repeated() && signed_by_it(heard)
        };
        let place = connection.heard.iter().rposition(explains);
        assert!(
            place.is_some(),
            "I7: nobody said {what:?} on connection {id:?}; {}",
            self.describe()
        );
        let connection = self.connections.get_mut(&id).expect("just seen");
        let heard = connection.heard.remove(place.expect("just checked"));
        connection.taken.insert(heard.signature().to_owned());
        self.witness.attacks.take(heard.injected);
    }
}
