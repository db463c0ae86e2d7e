//! Runs of the check command, and a Satellite that those runs fetch actions from.

use super::*;

impl World {
    pub(super) fn begin_run(&mut self, index: usize, run: RunId) {
        let fails = self.faulty && self.rng.chance(20);
        let started = self.now;
        self.agents[index].runs.insert(
            run,
            Run {
                started,
                picked_up: None,
                fails,
            },
        );
        let delay = self.rng.range(5, 3_000);
        self.after(delay, Event::RunStep(index, run));
    }

    /// The check fetches its next action from the Satellite, or ends; standalone it just ends.
    pub(super) fn run_step(&mut self, index: usize, run: RunId) {
        let system = self.agents[index].system;
        let Some(state) = self.agents[index].runs.get_mut(&run) else {
            return;
        };
        let (fails, done) = (state.fails, state.picked_up.take());
        if let Some(id) = done {
            self.submit(id);
        }
        let code = i32::from(fails);
        if self.store.authority == Authority::Dispatcher || self.database_down {
            let long = if self.rng.chance(2) { 45 * 60_000 } else { 0 };
            let delay = long + self.rng.range(0, 8_000);
            return self.after(delay, Event::RunEnds(index, run, code));
        }
        self.finish_reboot(system);
        // Locked, or another check holds the lock: status 0 and nothing done.
        let idle = self.faulty && self.rng.chance(5);
        let next = if fails || idle { None } else { self.fetch(system) };
        let Some(next) = next else {
            return self.after(5, Event::RunEnds(index, run, code));
        };
        let reboots = self.store.actions[&next].kind == ActionKind::Reboot;
        let state = self.agents[index].runs.get_mut(&run).expect("the run is on");
        state.picked_up = Some(next).filter(|_| !reboots);
        // A machine that dies in the middle leaves its action picked up.
        state.fails = self.faulty && self.rng.chance(3);
        if state.fails {
            state.picked_up = None;
        }
        let delay = self.rng.range(100, 20_000);
        self.after(delay, Event::RunStep(index, run));
        if reboots {
            self.after(180_000, Event::Fault);
        }
    }

    fn fetch(&mut self, system: SystemId) -> Option<ActionId> {
        let rebooting = self.store.actions.values().any(|action| {
            action.system == system && action.kind == ActionKind::Reboot && matches!(action.status, Status::PickedUp(_))
        });
        let now = self.now;
        let eligible = self.store.actions.iter().find(|(_, action)| {
            action.system == system && action.is_pending() && action.earliest <= now && !self.store.is_blocked(action)
        });
        let id = eligible.map(|(&id, _)| id).filter(|_| !rebooting)?;
        self.change(id, |action| action.status = Status::PickedUp(now));
        Some(id)
    }

    fn submit(&mut self, id: ActionId) {
        let failed = self.faulty && self.rng.chance(10);
        self.change(id, |action| {
            action.status = if failed { Status::Failed } else { Status::Completed }
        });
        if failed {
            self.store.fail_dependents(id);
        }
    }

    /// A boot was seen: picked-up reboots are completed.
    fn finish_reboot(&mut self, system: SystemId) {
        let now = self.now;
        let reboots: Vec<_> = self
            .store
            .actions
            .iter()
            .filter(|(_, action)| action.system == system && action.kind == ActionKind::Reboot)
            .filter(|(_, action)| matches!(action.status, Status::PickedUp(at) if at + Duration::from_secs(180) < now))
            .map(|(&id, _)| id)
            .collect();
        reboots
            .into_iter()
            .for_each(|id| self.change(id, |action| action.status = Status::Completed));
    }

    /// Every change by the Satellite gives the row a new version.
    pub(super) fn change(&mut self, id: ActionId, change: impl FnOnce(&mut Action)) {
        let row = self.next_action;
        self.next_action += 1;
        let action = self.store.actions.get_mut(&id).expect("the action exists");
        change(action);
        action.row = row;
        let (system, kind) = (action.system, action.kind);
        if kind == ActionKind::Reboot {
            // Whatever waited for a reboot's end becomes due now.
            self.witness.free_since.insert(system, self.now);
        }
        self.store
            .systems
            .get_mut(&system)
            .expect("the system exists")
            .last_change = Some(self.now);
        self.notice(system);
    }

    pub(super) fn run_ends(&mut self, index: usize, run: RunId, code: i32) {
        let next = self.draw_run();
        let wall = self.agents[index].wall(self.now);
        let Some(state) = self.agents[index].runs.remove(&run) else {
            return;
        };
        let millis = i64::try_from(self.now.saturating_since(state.started).as_millis()).expect("runs are short");
        self.check_coverage(index, run, state.started, code);
        match &mut self.agents[index].body {
            Body::New(new) => {
                let wishes = new.run_ended(self.now, wall, exit(code, run, millis), next);
                self.grant(index, wishes);
            }
            Body::Existing(old) => {
                old.running = None;
                old.failed = code != 0;
                self.existing_loop(index, 100);
            }
        }
    }
}
