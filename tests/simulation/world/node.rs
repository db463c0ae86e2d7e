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
        let stranger = DispatcherTalk::new(wire::DISPATCHER.into(), wire::STRANGER, self.rng.next());
        self.node = Some(Node {
            agenda,
            timer: None,
            sessions: BTreeMap::new(),
            stranger: Box::new(stranger),
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
            self.connections.get_mut(&id).expect("just listed").close_at_node();
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
            node.agenda.settle_presence();
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
                    self.deliver(system, connection, number, &client);
                }
                Task::Ping { system, connection } => self.ping(system, connection),
                Task::Acknowledge { connection, run, .. } => {
                    let now = self.now;
                    if let Some(talk) = self.talk(connection) {
                        talk.acknowledge(now, run);
                        self.drive_session(connection);
                    }
                }
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
}
