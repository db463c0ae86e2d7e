//! Somebody who overhears, repeats, makes up and changes stanzas between client and dispatcher, and clients that speak
//! to others than the dispatcher or for others than themselves.

use osa::protocol::ns;
use osa::protocol::osa::dispatcher_talk::Output;
use osa::protocol::stream::server::Destination;

use super::*;
use crate::store::registration;

/// How many stanzas the adversary remembers.
const OVERHEARD_MAX: usize = 96;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Forged,
    Replayed,
    Foreign,
}

/// How many attempts there were, and how many of them were acted on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub tried: u64,
    pub taken: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Attacks {
    pub forged: Count,
    pub replayed: Count,
    pub foreign: Count,
}

impl Attacks {
    fn of(&mut self, kind: Kind) -> &mut Count {
        match kind {
            Kind::Forged => &mut self.forged,
            Kind::Replayed => &mut self.replayed,
            Kind::Foreign => &mut self.foreign,
        }
    }

    pub fn add(&mut self, other: &Self) {
        for kind in [Kind::Forged, Kind::Replayed, Kind::Foreign] {
            let Count { tried, taken } = *other.clone().of(kind);
            let sum = self.of(kind);
            (sum.tried, sum.taken) = (sum.tried + tried, sum.taken + taken);
        }
    }

    pub fn each(self) -> [(&'static str, Count); 3] {
        [
            ("forged", self.forged),
            ("replayed", self.replayed),
            ("foreign", self.foreign),
        ]
    }

    fn attempt(&mut self, kind: Kind) {
        self.of(kind).tried += 1;
    }

    /// Something had an effect. Only what was really signed may, so it is a repetition, or came late and for the first time.
    pub(super) fn take(&mut self, injected: Option<Kind>) {
        if let Some(kind) = injected {
            self.of(kind).taken += 1;
        }
    }
}

pub(super) struct Overheard {
    to_agent: bool,
    agent: usize,
    stanza: Stanza,
}

impl World {
    pub(super) fn overhear(&mut self, to_agent: bool, agent: usize, stanza: &Stanza) {
        let stanza = Rc::clone(stanza);
        let overheard = Overheard {
            to_agent,
            agent,
            stanza,
        };
        if self.overheard.len() < OVERHEARD_MAX {
            self.overheard.push(overheard);
        } else {
            let place = self.rng.index(OVERHEARD_MAX);
            self.overheard[place] = overheard;
        }
    }

    pub(super) fn attack(&mut self) {
        match self.rng.range(0, 9) {
            0..=3 => self.replay(),
            4..=7 => self.forge(),
            _ => self.trespass(),
        }
    }

    /// To whom it was meant for or to somebody else, on any later connection, at any later time.
    fn replay(&mut self) {
        if self.overheard.is_empty() {
            return;
        }
        // Half of the time something fresh, which no limit of time refuses.
        let recent = self.overheard.len().min(4);
        let place = if self.rng.chance(50) {
            self.overheard.len() - 1 - self.rng.index(recent)
        } else {
            self.rng.index(self.overheard.len())
        };
        let Overheard {
            to_agent,
            agent,
            ref stanza,
        } = self.overheard[place];
        let mut stanza = Rc::clone(stanza);
        let target = if self.rng.chance(75) {
            agent
        } else {
            self.rng.index(self.agents.len())
        };
        if to_agent {
            if self.rng.chance(10) && matches!(self.agents[target].body, Body::New(_)) {
                stanza = Rc::new(wire::vouched(Element::clone(&stanza), wire::STRANGER));
            }
            self.inject_to_agent(target, &stanza, Kind::Replayed);
        } else if stanza.name() == "presence" || self.rng.chance(25) {
            self.send_as_stranger(&stanza, Kind::Replayed);
        } else {
            self.inject_to_node(target, &stanza, Kind::Replayed);
        }
    }

    fn forge(&mut self) {
        let index = self.rng.index(self.agents.len());
        let to_agent = self.rng.chance(50);
        let Some(element) = self.forgery(index, to_agent) else {
            return;
        };
        let to = if to_agent {
            wire::jid(index)
        } else {
            wire::DISPATCHER.to_owned()
        };
        let stanza = wire::message(&to, element);
        if to_agent {
            let stanza = wire::vouched(stanza, wire::DISPATCHER);
            self.inject_to_agent(index, &Rc::new(stanza), Kind::Forged);
        } else {
            self.inject_to_node(index, &Rc::new(stanza), Kind::Forged);
        }
    }

    /// A client speaks to another one, or for another one.
    fn trespass(&mut self) {
        let (victim, source) = (self.rng.index(self.agents.len()), self.rng.index(self.agents.len()));
        let source = Some(source).filter(|&source| source != victim && self.rng.chance(60));
        let jid = wire::jid(victim);
        let bare = jid.split('/').next().expect("a JID");
        let present = registration(self.agents[victim].system, self.agents[victim].key);
        let stanza = match self.rng.range(0, 6) {
            0 => wire::message(&jid, self.sign(victim, true, &present, true)),
            1 => wire::message(bare, self.sign(victim, true, &present, false)),
            2 => addressed("presence", &jid, None),
            3 => addressed("presence", bare, Some("subscribe")),
            4 => addressed("iq", &jid, Some("set")),
            5 => wire::message(wire::DISPATCHER, self.impersonation(source, victim, present)),
            _ => {
                let theirs = |overheard: &&Overheard| {
                    !overheard.to_agent && overheard.agent == victim && overheard.stanza.name() == "message"
                };
                let Some(theirs) = self.overheard.iter().find(theirs) else {
                    return;
                };
                Element::clone(&theirs.stanza)
            }
        };
        let stanza = Rc::new(stanza);
        match source {
            Some(index) => self.inject_to_node(index, &stanza, Kind::Foreign),
            None => self.send_as_stranger(&stanza, Kind::Foreign),
        }
    }

    /// A report under the victim's name, from another client's session.
    fn impersonation(&mut self, source: Option<usize>, victim: usize, present: Client) -> Element {
        let Some(source) = source else {
            return self.sign(victim, false, &present, true);
        };
        // With the right key the source is a copy of the victim's machine that made itself an account.
        let shared_key = if self.rng.chance(50) {
            present.shared_key
        } else {
            registration(self.agents[source].system, self.agents[source].key).shared_key
        };
        self.sign(source, false, &Client { shared_key, ..present }, true)
    }

    fn inject_to_agent(&mut self, index: usize, stanza: &Stanza, kind: Kind) {
        let agent = &self.agents[index];
        if agent.is_up() && agent.connection.is_some() {
            self.witness.attacks.attempt(kind);
            self.agent_hears(index, stanza, Some(kind));
        }
    }

    fn inject_to_node(&mut self, index: usize, stanza: &Stanza, kind: Kind) {
        let Some(id) = self.agents[index].connection else {
            return;
        };
        let connection = &self.connections[&id];
        if connection.talk.is_some() && !connection.cut {
            self.witness.attacks.attempt(kind);
            self.node_receives(id, stanza, Some(kind));
        }
    }

    /// Through the session of a client that made itself an account, and is no system's.
    fn send_as_stranger(&mut self, stanza: &Stanza, kind: Kind) {
        if self.node.is_none() {
            return;
        }
        self.witness.attacks.attempt(kind);
        if Destination::of(stanza, wire::STRANGER, &wire::SERVER) != Destination::Dispatcher {
            return;
        }
        self.check_addressee(stanza);
        let stanza = wire::vouched(Element::clone(stanza), wire::STRANGER);
        let (now, node) = (self.now, self.node.as_mut().expect("just seen"));
        node.stranger.handle_deadline(now);
        if stanza.name() == "presence" {
            node.stranger.handle_presence(now, &stanza);
        } else {
            node.stranger.handle_message(now, &stanza);
        }
        while let Some(output) = node.stranger.poll_output() {
            match output {
                Output::Ask(question) => {
                    let client = self.store.answer(&question);
                    node.stranger.handle_client(now, &question, client);
                }
                Output::Ignored(_) => {}
                Output::Write(_) | Output::Pushable { .. } | Output::Event(..) => {
                    panic!("I6, I7: a stranger's {stanza:?} led to {output:?}; seed {}", self.seed)
                }
            }
        }
    }
}

fn addressed(name: &str, to: &str, kind: Option<&str>) -> Element {
    let mut stanza = Element::bare(name, ns::CLIENT);
    wire::set(&mut stanza, "to", to);
    wire::set(&mut stanza, "id", "1");
    kind.into_iter().for_each(|kind| wire::set(&mut stanza, "type", kind));
    stanza
}
