//! The dispatcher's side: poller, sessions, store, and what is checked whenever a request leaves.

use super::*;

impl World {
    pub(super) fn start_node(&mut self) {
        if self.node.is_some() {
            return;
        }
        if self.database_down {
            return self.after(1_000, Event::NodeStarts);
        }
        self.store.start_node(self.now);
        self.node_life += 1;
        let agenda = Agenda::new(self.policy.clone());
        self.node = Some(Node {
            agenda,
            timer: None,
            sessions: BTreeMap::new(),
        });
        let life = self.node_life;
        self.at(self.now + RECONCILE, Event::Reconcile(life));
        self.schedule_tick();
    }

    /// SIGKILL: what was under way at the store takes effect or not, and nobody hears the answer.
    pub(super) fn crash_node(&mut self) {
        if self.node.take().is_none() {
            return;
        }
        self.node_life += 1;
        let open: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, c)| c.open_at_node)
            .map(|(&id, _)| id)
            .collect();
        for id in open {
            self.connections.get_mut(&id).expect("just listed").open_at_node = false;
            let delay = if self.rng.chance(80) {
                self.rng.range(0, 50)
            } else {
                self.rng.range(0, 90_000)
            };
            self.after(delay, Event::AgentSeesEnd(id));
        }
        let delay = self.rng.range(100, 20_000);
        self.after(delay, Event::NodeStarts);
    }

    pub(super) fn schedule_tick(&mut self) {
        if self.node.is_some() && !std::mem::replace(&mut self.tick_scheduled, true) {
            self.at(self.now + TICK, Event::Tick(self.node_life));
        }
    }

    pub(super) fn tick(&mut self, life: u64) {
        self.tick_scheduled = false;
        if let Some(node) = self.node.as_mut().filter(|_| life == self.node_life) {
            node.agenda.look_for_changes();
        } else {
            self.schedule_tick();
        }
    }

    pub(super) fn reconcile(&mut self, life: u64) {
        if life != self.node_life {
            return;
        }
        self.at(self.now + RECONCILE, Event::Reconcile(life));
        self.check_awaited();
        if let Some(node) = &mut self.node {
            node.agenda.reconcile();
        }
    }

    pub(super) fn wake_node(&mut self, life: u64) {
        if let Some(node) = self.node.as_mut().filter(|_| life == self.node_life) {
            node.timer = None;
        }
    }

    /// Does what the agenda wants, until it wants nothing more.
    pub(super) fn drive_node(&mut self) {
        while let Some(task) = self.node.as_mut().and_then(|node| node.agenda.poll_task(self.now)) {
            match task {
                Task::Perform(operation) => {
                    let delay = if self.rng.chance(95) {
                        self.rng.range(0, 5)
                    } else {
                        self.rng.range(0, 2_000)
                    };
                    self.after(delay, Event::StoreApplies(self.node_life, operation));
                }
                Task::Deliver {
                    system,
                    connection,
                    number,
                    client,
                } => {
                    let key: u64 = client.shared_key.expose().parse().expect("the fake's keys are numbers");
                    self.deliver(system, connection, number, key);
                }
                Task::Ping { system, connection } => {
                    let key = self.store.systems[&system].key;
                    self.send_to_agent(connection, ToAgent::Ping(key));
                }
                Task::Acknowledge { connection, run, .. } => self.send_to_agent(connection, ToAgent::Acknowledge(run)),
            }
        }
        let (now, life) = (self.now, self.node_life);
        if let Some(node) = &mut self.node {
            let deadline = node.agenda.next_deadline().map(|at| at.max(now));
            if let Some(at) = deadline
                && node.timer.is_none_or(|timer| at < timer)
            {
                node.timer = Some(at);
                self.at(at, Event::NodeTimer(life));
            }
        }
    }

    pub(super) fn store_applies(&mut self, life: u64, operation: Operation) {
        let crashed = life != self.node_life;
        let lost = self.database_down || (crashed && self.rng.chance(50));
        let outcome = if lost {
            Outcome::Failed
        } else {
            self.store.perform(&operation, self.now)
        };
        if crashed {
            return;
        }
        if let Operation::Claim(claims, _) = &operation {
            self.check_claims(claims, lost);
        }
        // The answer can be lost although the operation took effect.
        let outcome = if self.faulty && self.rng.chance(1) {
            Outcome::Failed
        } else {
            outcome
        };
        let delay = self.rng.range(0, 2);
        self.after(delay, Event::StoreAnswers(life, outcome));
    }

    pub(super) fn store_answers(&mut self, life: u64, outcome: Outcome) {
        if life != self.node_life {
            return;
        }
        let failed = outcome == Outcome::Failed;
        if let Some(node) = &mut self.node {
            node.agenda.performed(outcome, self.now);
        }
        if failed {
            self.excuse_everybody();
        }
    }

    fn deliver(&mut self, system: SystemId, connection: ConnectionId, number: RequestNumber, key: u64) {
        let open = self.connections.get(&connection).is_some_and(|c| c.open_at_node);
        let node = self.node.as_mut().expect("a node delivers");
        if !open || self.rng.chance(1) {
            return node.agenda.request_not_sent(system, number, self.now);
        }
        node.agenda.request_sent(system, number, self.now);
        self.witness.requests += 1;
        self.check_delivery(system, connection, number);
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.unanswered.push_back(number);
        }
        self.send_to_agent(connection, ToAgent::Request(number, key));
    }

    pub(super) fn send_to_agent(&mut self, id: ConnectionId, message: ToAgent) {
        let delay = self.draw_latency();
        let Some(connection) = self.connections.get_mut(&id).filter(|c| c.open_at_node && !c.cut) else {
            return;
        };
        let at = (self.now + delay).max(connection.last[0]);
        connection.last[0] = at;
        self.at(at, Event::ToAgent(id, message));
    }

    pub(super) fn draw_latency(&mut self) -> Duration {
        let millis = if self.rng.chance(95) {
            self.rng.range(0, 20)
        } else {
            self.rng.range(0, 4_000)
        };
        Duration::from_millis(u64::try_from(millis).expect("latency is positive"))
    }

    pub(super) fn node_receives(&mut self, id: ConnectionId, message: ToNode) {
        let Some(connection) = self.connections.get_mut(&id).filter(|c| c.open_at_node && !c.cut) else {
            return;
        };
        let agent = &self.agents[connection.agent];
        let (system, kind, key) = (agent.system, agent.kind(), self.store.systems[&agent.system].key);
        let Some(node) = &mut self.node else { return };
        match message {
            ToNode::Presence(announcement) => {
                if let Some(old) = node.sessions.insert(system, id).filter(|&old| old != id) {
                    node.agenda.session_closed(system, old, self.now);
                    self.node_ends(old);
                }
                let node = self.node.as_mut().expect("still there");
                let arrival = Arrival {
                    system,
                    connection: id,
                    kind,
                    announcement: Some(announcement),
                };
                node.agenda.session_opened(arrival, self.now);
                self.witness.free_since.insert(system, self.now);
            }
            ToNode::Event(event, signed) if signed == key => {
                if matches!(event, ClientEvent::Accepted(_) | ClientEvent::Finished(_)) {
                    self.witness.free_since.insert(system, self.now);
                }
                node.agenda.client_reported(system, id, event, self.now);
            }
            ToNode::Received(signed) if signed == key => {
                if let Some(number) = connection.unanswered.pop_front() {
                    self.witness.free_since.insert(system, self.now);
                    node.agenda
                        .client_reported(system, id, ClientEvent::Accepted(number), self.now);
                }
            }
            ToNode::Event(..) | ToNode::Received(_) => {}
        }
    }

    /// The node closes a connection; the agent learns of it.
    fn node_ends(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.open_at_node = false;
            self.after(5, Event::AgentSeesEnd(id));
        }
    }

    pub(super) fn node_sees_end(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id).filter(|c| c.open_at_node) else {
            return;
        };
        connection.open_at_node = false;
        let system = self.agents[connection.agent].system;
        if let Some(node) = &mut self.node {
            node.agenda.session_closed(system, id, self.now);
            if node.sessions.get(&system) == Some(&id) {
                node.sessions.remove(&system);
            }
        }
    }
}
