//! What the adversary makes up: elements under wrong or old keys, weaker ones, changed ones, unsigned ones.

use osa::domain::push::client::{RunEnd, RunReport};
use osa::domain::secret::Secret;
use osa::protocol::osa::action::Action;
use osa::protocol::osa::payload::{ToAgent, ToDispatcher};
use osa::protocol::osa::seal::{Direction, Parties, Stamp, seal};
use osa::protocol::osa::signed::{Content, Signed};

use super::*;
use crate::store::registration;

impl World {
    /// An element that the peer of this agent's conversation never signed.
    pub(super) fn forgery(&mut self, index: usize, to_agent: bool) -> Option<Element> {
        let agent = &self.agents[index];
        let (system, strong) = (agent.system, matches!(agent.body, Body::New(_)));
        let pushable = agent.connection.and_then(|id| self.connections[&id].pushable);
        let row = self.store.systems[&system].key;
        let number = if to_agent { agent.key } else { row };
        if number < 2 {
            return None;
        }
        let (present, past) = (registration(system, number), registration(system, number - 1));
        let knows_strong = if to_agent {
            agent.strong
        } else {
            pushable == Some((AgentKind::New, row))
        };
        // A session that began before may still be answered under the registration it began with.
        let retired = to_agent || pushable.is_some_and(|(_, key)| key == row);
        let with_key = |shared_key: Secret| Client {
            shared_key,
            ..present.clone()
        };
        let random = with_key(Secret::new(format!("{:040x}", self.rng.next())));
        let draw = self.rng.range(0, 7);
        let mut sign = |client: &Client, strong: bool| self.sign(index, to_agent, client, strong);
        Some(match draw {
            0 => sign(&random, strong),
            1 => sign(&with_key(past.shared_key), strong),
            2 if retired => sign(&past, strong),
            3 if knows_strong => sign(&present, false),
            4 => altered(sign(&present, strong), "timestamp"),
            5 => altered(
                sign(&present, strong),
                if strong && to_agent { "number" } else { "serial" },
            ),
            6 => without_signature(&sign(&present, strong)),
            _ => altered(sign(&present, strong), "signature"),
        })
    }

    /// What dispatcher or agent would sign under this registration: the request or report that does the most harm.
    pub(super) fn sign(&mut self, index: usize, to_agent: bool, client: &Client, strong: bool) -> Element {
        let (serial, run) = (format!("{:016x}", self.rng.next()), self.draw_run());
        let (agent, now) = (wire::jid(index), self.now);
        let (sender, recipient, time, direction) = if to_agent {
            let time = self.agents[index].server_time(now);
            (wire::DISPATCHER, agent.as_str(), time, Direction::ToAgent)
        } else {
            (agent.as_str(), wire::DISPATCHER, now, Direction::ToDispatcher)
        };
        if !strong {
            let content = |action| Content {
                timestamp: time.as_secs(),
                serial: &serial,
                action,
            };
            let key = &client.shared_key;
            return if to_agent {
                Signed::request(key, recipient, sender, content(Action::CheckIn.request())).to_element()
            } else {
                let content = content(Action::CheckIn.response());
                Signed::response(key, recipient, &client.name.0, sender, content).to_element()
            };
        }
        let covers = self.store.systems[&client.system].last_number;
        let (end, run_time) = (RunEnd::Exited(0), Duration::ZERO);
        let report = RunReport {
            run,
            covers,
            end,
            run_time,
        };
        let element = if to_agent {
            ToAgent::Request(covers.next()).to_element()
        } else {
            ToDispatcher::Event(ClientEvent::Finished(report)).to_element()
        };
        let parties = Parties {
            direction,
            sender,
            recipient,
        };
        let client_name = client.name.clone();
        seal(
            element,
            Stamp {
                client: client_name,
                time,
                serial,
            },
            parties,
            &client.shared_key,
        )
    }
}

fn altered(mut element: Element, name: &str) -> Element {
    let value = format!("1{}", element.attr(name).unwrap_or_default());
    wire::set(&mut element, name, value);
    element
}

fn without_signature(element: &Element) -> Element {
    let mut bare = Element::bare(element.name(), element.ns());
    let attributes = element.attrs().iter().filter(|((_, name), _)| *name != "signature");
    attributes.for_each(|((_, name), value)| wire::set(&mut bare, name, value.as_str()));
    bare
}
