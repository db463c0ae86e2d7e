//! The clients' side: connections, runs of the check command, and a Satellite that those runs fetch actions from.

use super::*;

impl World {
    pub(super) fn start_agent(&mut self, index: usize) {
        let run = self.draw_run();
        let agent = &mut self.agents[index];
        if agent.is_up() {
            return;
        }
        agent.life += 1;
        agent.timer = None;
        let life = agent.life;
        match &mut agent.body {
            Body::New(new) => {
                let wishes = new.start(self.now, run);
                self.grant(index, wishes);
            }
            Body::Existing(old) => {
                old.up = true;
                self.existing_runs(index);
            }
        }
        let delay = self.rng.range(10, 2_000);
        self.after(delay, Event::Connect(index, life));
    }

    pub(super) fn crash_agent(&mut self, index: usize) {
        let agent = &mut self.agents[index];
        if !agent.is_up() {
            return;
        }
        match &mut agent.body {
            Body::New(new) => new.core = None,
            Body::Existing(old) => {
                let (running, failed) = (old.running, false);
                *old = ExistingAgent {
                    running,
                    failed,
                    ..ExistingAgent::default()
                };
            }
        }
        agent.life += 1;
        if let Some(id) = agent.connection.take() {
            self.connections
                .get_mut(&id)
                .expect("connections are kept")
                .open_at_agent = false;
            let delay = self.rng.range(0, 30);
            self.after(delay, Event::NodeSeesEnd(id));
        }
        let delay = self.rng.range(500, 30_000);
        self.after(delay, Event::AgentStarts(index));
    }

    pub(super) fn connect(&mut self, index: usize, life: u64) {
        let agent = &mut self.agents[index];
        if agent.life != life || !agent.is_up() || agent.connection.is_some() {
            return;
        }
        if self.node.is_none() {
            let delay = self.rng.range(100, 5_000);
            return self.after(delay, Event::Connect(index, life));
        }
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        agent.connection = Some(id);
        let connection = Connection {
            agent: index,
            node: self.node_life,
            open_at_node: true,
            open_at_agent: true,
            cut: false,
            last: [self.now; 2],
            unanswered: VecDeque::new(),
        };
        self.connections.insert(id, connection);
        let run = self.draw_run();
        match &mut self.agents[index].body {
            Body::New(new) => {
                let (announcement, key) = (new.announce(), self.agents[index].key);
                self.send_to_node(id, ToNode::Presence(announcement));
                if let Body::New(new) = &mut self.agents[index].body {
                    let wishes = new.linked(self.now, run, key);
                    self.grant(index, wishes);
                }
            }
            Body::Existing(_) => {
                self.send_to_node(id, ToNode::Presence(Announcement::default()));
                self.existing_runs(index);
                self.existing_loop(index, 100);
            }
        }
    }

    fn send_to_node(&mut self, id: ConnectionId, message: ToNode) {
        let delay = self.draw_latency();
        let life = self.node_life;
        let Some(connection) = self.connections.get_mut(&id).filter(|c| c.open_at_agent && !c.cut) else {
            return;
        };
        if connection.node != life {
            return;
        }
        let at = (self.now + delay).max(connection.last[1]);
        connection.last[1] = at;
        self.at(at, Event::ToNode(id, message));
    }

    pub(super) fn agent_receives(&mut self, id: ConnectionId, message: ToAgent) {
        let Some(connection) = self.connections.get(&id).filter(|c| c.open_at_agent && !c.cut) else {
            return;
        };
        let index = connection.agent;
        let key = self.agents[index].key;
        match &mut self.agents[index].body {
            Body::New(_) => match message {
                ToAgent::Request(number, signed) if signed == key => {
                    self.give(index, CheckInput::RequestReceived(Some(number)));
                }
                ToAgent::Ping(signed) if signed == key => {
                    self.send_to_node(id, ToNode::Event(ClientEvent::Ponged, key));
                }
                ToAgent::Acknowledge(run) => self.give(index, CheckInput::ReportAcknowledged(run)),
                ToAgent::Request(..) | ToAgent::Ping(_) => {}
            },
            Body::Existing(old) => {
                old.inbox.push_back(message);
                self.existing_loop(index, 0);
            }
        }
    }

    pub(super) fn give(&mut self, index: usize, input: CheckInput) {
        let run = self.draw_run();
        let (now, key) = (self.now, self.agents[index].key);
        if let Body::New(new) = &mut self.agents[index].body {
            let wishes = new.give(now, input, run, key);
            self.grant(index, wishes);
        }
    }

    fn grant(&mut self, index: usize, wishes: Vec<Wish>) {
        for wish in wishes {
            match wish {
                Wish::Send(message) => {
                    if let Some(id) = self.agents[index].connection {
                        self.send_to_node(id, message);
                    }
                }
                Wish::StartRun(start) => {
                    let Body::New(new) = &mut self.agents[index].body else {
                        continue;
                    };
                    if self.faulty && self.rng.chance(2) {
                        self.give(index, CheckInput::StartFailed(start.run));
                        continue;
                    }
                    new.disk.live.insert(start.run, start);
                    new.disk.promised = None;
                    self.begin_run(index, start.run);
                    self.give(index, CheckInput::RunStarted(start.run));
                }
            }
        }
        let wake = match &self.agents[index].body {
            Body::New(new) => new.core.as_ref().and_then(CheckCore::wake_at),
            Body::Existing(_) => None,
        };
        let (now, agent) = (self.now, &mut self.agents[index]);
        if let Some(at) = wake.map(|at| at.max(now))
            && agent.timer.is_none_or(|timer| at < timer)
        {
            agent.timer = Some(at);
            let life = agent.life;
            self.at(at, Event::AgentTimer(index, life));
        }
    }

    pub(super) fn agent_timer(&mut self, index: usize, life: u64) {
        if self.agents[index].life == life {
            self.agents[index].timer = None;
            self.give(index, CheckInput::TimerFired);
        }
    }

    pub(super) fn agent_sees_end(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id).filter(|c| c.open_at_agent) else {
            return;
        };
        connection.open_at_agent = false;
        let index = connection.agent;
        if self.agents[index].connection != Some(id) {
            return;
        }
        self.agents[index].connection = None;
        self.give(index, CheckInput::LinkDown);
        let (life, delay) = match &mut self.agents[index].body {
            Body::New(_) => (self.agents[index].life, self.rng.range(0, 3_000)),
            Body::Existing(old) => {
                old.inbox.clear();
                (self.agents[index].life, self.rng.range(60_000, 120_000))
            }
        };
        self.after(delay, Event::Connect(index, life));
    }

    /// Wakes an existing agent's loop, if it is not about to wake anyway.
    fn existing_loop(&mut self, index: usize, millis: i64) {
        let life = self.agents[index].life;
        if let Body::Existing(old) = &mut self.agents[index].body
            && old.up
            && !std::mem::replace(&mut old.awake, true)
        {
            self.after(millis, Event::ExistingTurn(index, life));
        }
    }

    pub(super) fn existing_turn(&mut self, index: usize, life: u64) {
        let (key, connection) = (self.agents[index].key, self.agents[index].connection);
        if self.agents[index].life != life {
            return;
        }
        let Body::Existing(old) = &mut self.agents[index].body else {
            return;
        };
        old.awake = false;
        let (answer, starts) = old.turn(key);
        let again = !old.inbox.is_empty() || old.failed;
        if let (Some(answer), Some(id)) = (answer, connection) {
            self.send_to_node(id, answer);
        }
        if starts {
            self.existing_runs(index);
        }
        let pause = self.rng.range(6_000, 10_000) + if starts { 5_000 } else { 0 };
        if again || starts {
            self.existing_loop(index, pause);
        }
    }

    fn existing_runs(&mut self, index: usize) {
        let run = self.draw_run();
        if let Body::Existing(old) = &mut self.agents[index].body
            && old.running.is_none()
        {
            old.running = Some(run);
            old.failed = false;
            self.begin_run(index, run);
        }
    }

    fn begin_run(&mut self, index: usize, run: RunId) {
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
        let key = self.agents[index].key;
        let Some(state) = self.agents[index].runs.remove(&run) else {
            return;
        };
        let millis = i64::try_from(self.now.saturating_since(state.started).as_millis()).expect("runs are short");
        self.check_coverage(index, run, state.started, code);
        match &mut self.agents[index].body {
            Body::New(new) => {
                let wishes = new.run_ended(self.now, exit(code, run, millis), next, key);
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
