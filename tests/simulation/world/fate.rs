//! What administrators do and what goes wrong.

use super::*;

impl World {
    pub(super) fn commit(&mut self, work: NewWork) {
        if self.database_down {
            return self.after(1_000, Event::Commit(work));
        }
        match work {
            NewWork::Insert(system, kind, delay, prerequisite) => self.insert(system, kind, delay, prerequisite),
            // Queued ones too: a new time is a new version.
            NewWork::Reschedule(system) => {
                if let Some(id) = self.draw_action(system, |action| !matches!(action.status, Status::Cancelled)) {
                    let now = self.now;
                    self.change(id, |action| {
                        (action.status, action.tries, action.earliest, action.committed) =
                            (Status::Queued, TRIES, now, now);
                    });
                }
            }
            NewWork::Cancel(system) => {
                if let Some(id) = self.draw_action(system, |action| action.status == Status::Queued) {
                    self.change(id, |action| action.status = Status::Cancelled);
                }
            }
        }
    }

    /// The id, and the row's version, were drawn before other transactions committed: late commits have low ids.
    fn insert(&mut self, system: SystemId, kind: ActionKind, delay: i64, prerequisite: Option<ActionId>) {
        let id = ActionId(self.next_action);
        self.next_action += 1;
        let action = Action {
            system,
            row: id.0,
            earliest: self.now + Duration::from_millis(u64::try_from(delay).expect("delays are positive")),
            kind,
            status: Status::Queued,
            tries: TRIES,
            committed: self.now,
            prerequisite: prerequisite.filter(|before| self.store.actions.contains_key(before)),
        };
        self.store.actions.insert(id, action);
        self.notice(system);
    }

    fn draw_action(&mut self, system: SystemId, filter: impl Fn(&Action) -> bool) -> Option<ActionId> {
        let fitting: Vec<_> = self
            .store
            .actions
            .iter()
            .filter(|(_, action)| action.system == system && filter(action))
            .map(|(&id, _)| id)
            .collect();
        (!fitting.is_empty()).then(|| fitting[self.rng.index(fitting.len())])
    }

    /// The hint about changed systems may miss what the reconciliation then finds.
    pub(super) fn notice(&mut self, system: SystemId) {
        if self.sees_all_changes || self.rng.chance(70) {
            self.store.changed.insert(system);
        }
        self.schedule_tick();
    }

    pub(super) fn fault(&mut self) {
        if !self.faulty {
            return self.reboot_hosts();
        }
        self.witness.faults += 1;
        match self.rng.range(0, 99) {
            0..=24 => self.crash_node(),
            25..=49 => {
                let index = self.rng.index(self.agents.len());
                self.crash_agent(index);
            }
            50..=79 => self.cut_connection(),
            80..=89 => {
                self.database_down = true;
                let delay = self.rng.range(500, 90_000);
                self.after(delay, Event::DatabaseHeals);
            }
            90..=94 => self.register_anew(),
            _ => self.step_clock(),
        }
    }

    /// A picked-up reboot takes its machine down after three minutes.
    fn reboot_hosts(&mut self) {
        for index in 0..self.agents.len() {
            let system = self.agents[index].system;
            let due = self.store.actions.values().any(|action| {
                let over = matches!(action.status, Status::PickedUp(at) if at + Duration::from_secs(180) <= self.now);
                action.system == system && action.kind == ActionKind::Reboot && over
            });
            if due {
                self.crash_agent(index);
            }
        }
    }

    /// Either both ends notice at once, or packets vanish until somebody gives up.
    fn cut_connection(&mut self) {
        let open: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.open_at_agent && connection.open_at_node)
            .map(|(&id, _)| id)
            .collect();
        if open.is_empty() {
            return;
        }
        let id = open[self.rng.index(open.len())];
        self.connections.get_mut(&id).expect("just listed").cut = true;
        let limit = if self.rng.chance(50) { 100 } else { 90_000 };
        let (node, agent) = (self.rng.range(0, limit), self.rng.range(0, limit));
        self.after(node, Event::NodeSeesEnd(id));
        self.after(agent, Event::AgentSeesEnd(id));
    }

    /// `register_osad` outside a connection's start: a new name and key.
    fn register_anew(&mut self) {
        let index = self.rng.index(self.agents.len());
        self.enrol_again(index, self.agents[index].life);
    }

    /// Somebody sets a client's clock; the drift it measured is wrong from now on.
    fn step_clock(&mut self) {
        let index = self.rng.index(self.agents.len());
        self.agents[index].clock += self.rng.range(-400_000, 400_000);
    }

    /// From now on nothing goes wrong any more.
    pub(super) fn heal(&mut self) {
        self.faulty = false;
        self.database_down = false;
        self.excuse_everybody();
        if self.store.authority == Authority::Satellite {
            self.after(181_000, Event::Fault);
            self.after(400_000, Event::Fault);
        }
    }
}
