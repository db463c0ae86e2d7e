//! The dispatcher's sessions: one conversation per connection, as the session actor drives it.

use osa::domain::push::client::Announcement;
use osa::protocol::osa::dispatcher_talk::Output;
use osa::protocol::stream::server::Destination;

use super::*;
use crate::wire::Author;

impl Connection {
    pub(super) fn close_at_node(&mut self) {
        self.open_at_node = false;
        self.talk = None;
        self.heard = Vec::new();
    }
}

impl World {
    pub(super) fn talk(&mut self, id: ConnectionId) -> Option<&mut DispatcherTalk> {
        self.connections.get_mut(&id)?.talk.as_deref_mut()
    }

    pub(super) fn deliver(&mut self, system: SystemId, id: ConnectionId, number: RequestNumber, client: &Client) {
        let (now, lost) = (self.now, self.rng.chance(1));
        let written = self
            .talk(id)
            .filter(|_| !lost)
            .is_some_and(|talk| talk.request(now, number, client).is_ok());
        let node = self.node.as_mut().expect("a node delivers");
        if !written {
            return node.agenda.request_not_sent(system, number, now);
        }
        node.agenda.request_sent(system, number, now);
        self.witness.requests += 1;
        self.check_delivery(system, id, number);
        self.drive_session(id);
    }

    pub(super) fn ping(&mut self, system: SystemId, id: ConnectionId) {
        let (now, client) = (self.now, self.store.client(system));
        if let (Some(talk), Some(client)) = (self.talk(id), client)
            && talk.ping(now, &client).is_ok()
        {
            self.drive_session(id);
        }
    }

    /// A client's stanza arrives, from itself or from somebody in between; the server decides who hears it.
    pub(super) fn node_receives(&mut self, id: ConnectionId, stanza: &Stanza, injected: Option<Kind>) {
        let Some(connection) = self.connections.get(&id).filter(|c| c.open_at_node && !c.cut) else {
            return;
        };
        let sender = wire::jid(connection.agent);
        if Destination::of(stanza, &sender, &wire::SERVER) != Destination::Dispatcher {
            return;
        }
        self.check_addressee(stanza);
        let stanza = if stanza.attr("from") == Some(&sender) {
            Rc::clone(stanza)
        } else {
            Rc::new(wire::vouched(Element::clone(stanza), &sender))
        };
        self.note_heard(id, &stanza, injected);
        let now = self.now;
        let Some(talk) = self.talk(id) else { return };
        if stanza.name() == "presence" {
            talk.handle_presence(now, &stanza);
        } else {
            talk.handle_message(now, &stanza);
        }
        self.drive_session(id);
    }

    /// Does what a conversation wants done.
    pub(super) fn drive_session(&mut self, id: ConnectionId) {
        while let Some(output) = self.talk(id).and_then(DispatcherTalk::poll_output) {
            match output {
                Output::Write(stanza) => self.send_to_agent(id, stanza),
                Output::Ask(question) => {
                    let delay = self.rng.range(0, 5);
                    self.after(delay, Event::ClientRead(id, question));
                }
                Output::Pushable {
                    client,
                    kind,
                    announcement,
                } => self.become_pushable(id, &client, kind, announcement),
                Output::Event(system, event) => {
                    self.check_event(id, system, &event);
                    if matches!(event, ClientEvent::Accepted(_) | ClientEvent::Finished(_)) {
                        self.witness.free_since.insert(system, self.now);
                    }
                    let node = self.node.as_mut().expect("an open session has a node");
                    node.agenda.client_reported(system, id, event, self.now);
                }
                Output::Ignored(_) => {}
            }
        }
        self.arm_session(id);
    }

    fn arm_session(&mut self, id: ConnectionId) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let deadline = connection.talk.as_ref().and_then(|talk| talk.next_deadline());
        if let Some(at) = deadline.map(|at| at.max(now))
            && connection.timer.is_none_or(|timer| at < timer)
        {
            connection.timer = Some(at);
            self.at(at, Event::SessionTimer(id));
        }
    }

    pub(super) fn wake_session(&mut self, id: ConnectionId) {
        let now = self.now;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.timer = None;
        }
        if let Some(talk) = self.talk(id) {
            talk.handle_deadline(now);
            self.drive_session(id);
        }
    }

    /// The store answers; a failed reading counts as an absent row.
    pub(super) fn client_read(&mut self, id: ConnectionId, question: &Question) {
        let client = if self.database_down {
            None
        } else {
            self.store.answer(question)
        };
        let now = self.now;
        if let Some(talk) = self.talk(id) {
            talk.handle_client(now, question, client);
            self.drive_session(id);
        }
    }

    fn become_pushable(
        &mut self,
        id: ConnectionId,
        client: &Client,
        kind: AgentKind,
        announcement: Option<Announcement>,
    ) {
        if let Some(announcement) = &announcement {
            self.check_announcement(id, client, announcement);
        }
        let system = client.system;
        let key = self.store.systems[&system].key;
        let connection = self.connections.get_mut(&id).expect("connections are kept");
        connection.pushable = Some((kind, key));
        let node = self.node.as_mut().expect("an open session has a node");
        match node.sessions.get(&system) {
            // A newer connection serves the system.
            Some(&newer) if newer > id => return,
            Some(&old) if old < id => {
                node.agenda.session_closed(system, old, self.now);
                self.node_ends(old);
            }
            Some(_) | None => {}
        }
        let node = self.node.as_mut().expect("still there");
        node.sessions.insert(system, id);
        let arrival = Arrival {
            system,
            connection: id,
            kind,
            announcement,
        };
        node.agenda.session_opened(arrival, self.now);
        self.witness.free_since.insert(system, self.now);
    }

    fn send_to_agent(&mut self, id: ConnectionId, stanza: Element) {
        let delay = self.draw_latency();
        let index = self.connections[&id].agent;
        let stanza = Rc::new(wire::vouched(stanza, wire::DISPATCHER));
        let name = self.signed_as(index, &stanza);
        let count = self.ledger.write(Author::Dispatcher, index, &name, &stanza);
        assert!(count > 0, "I6: the dispatcher wrote {stanza:?}; {}", self.describe());
        let Some(connection) = self.connections.get_mut(&id).filter(|c| c.open_at_node && !c.cut) else {
            return;
        };
        let at = (self.now + delay).max(connection.last[0]);
        connection.last[0] = at;
        self.overhear(true, index, &stanza);
        self.at(at, Event::ToAgent(id, stanza));
    }

    /// The registration under which the dispatcher signed; only its new form says.
    fn signed_as(&self, index: usize, stanza: &Element) -> String {
        let named = wire::signed(stanza).find_map(|element| element.attr("client-id"));
        let present = || self.store.client(self.agents[index].system).map(|client| client.name.0);
        named.map(str::to_owned).or_else(present).unwrap_or_default()
    }

    pub(super) fn draw_latency(&mut self) -> Duration {
        let millis = if self.rng.chance(95) {
            self.rng.range(0, 20)
        } else {
            self.rng.range(0, 4_000)
        };
        Duration::from_millis(u64::try_from(millis).expect("latency is positive"))
    }

    /// The node closes a connection; the agent learns of it.
    fn node_ends(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.close_at_node();
            self.after(5, Event::AgentSeesEnd(id));
        }
    }

    pub(super) fn node_sees_end(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id).filter(|c| c.open_at_node) else {
            return;
        };
        connection.close_at_node();
        let system = self.agents[connection.agent].system;
        if let Some(node) = &mut self.node {
            node.agenda.session_closed(system, id, self.now);
            if node.sessions.get(&system) == Some(&id) {
                node.sessions.remove(&system);
            }
        }
    }
}
