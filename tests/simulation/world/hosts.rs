//! The clients' side: processes, registrations, connections.

use minidom::Element;
use osa::protocol::ns;
use osa::protocol::osa::Serials;
use osa::protocol::osa::agent_talk::Output;

use super::*;
use crate::wire::Author;

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
            Body::New(new) => new.crash(),
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
            self.hang_up(id);
        }
        let delay = self.rng.range(500, 30_000);
        self.after(delay, Event::AgentStarts(index));
    }

    /// `register_osad`, which replaces name and key; and whether the agent got its answer.
    pub(super) fn enrol(&mut self, index: usize) -> bool {
        let deaf = self.store.authority == Authority::Dispatcher && self.node.is_none();
        if self.database_down || deaf {
            return false;
        }
        let system = self.agents[index].system;
        let client = self.store.register(system);
        if let Some(node) = &mut self.node {
            node.agenda.registration_changed(system, self.now);
            self.witness.free_since.insert(system, self.now);
        }
        if self.faulty && self.rng.chance(3) {
            return false;
        }
        let (error, entropy) = (self.rng.range(-1_500, 1_500), self.rng.next());
        let agent = &mut self.agents[index];
        agent.name.clone_from(&client.name.0);
        agent.key = self.store.systems[&system].key;
        agent.strong = false;
        agent.drift = error - agent.clock;
        match &mut agent.body {
            Body::New(new) => new.enrol(&client, agent.drift, entropy),
            Body::Existing(old) => (old.client, old.serials) = (Some(client), Some(Serials::new(entropy))),
        }
        true
    }

    /// A new agent registers anew while it runs, and comes back under its new name.
    pub(super) fn enrol_again(&mut self, index: usize, life: u64) {
        let agent = &self.agents[index];
        if agent.life != life || !agent.is_up() || !matches!(agent.body, Body::New(_)) {
            return;
        }
        if !self.enrol(index) {
            let delay = self.rng.range(1_000, 5_000);
            return self.after(delay, Event::Enrol(index, life));
        }
        if let Some(id) = self.agents[index].connection.take() {
            self.hang_up(id);
            self.give(index, CheckInput::LinkDown);
        }
        let delay = self.rng.range(10, 500);
        self.after(delay, Event::Connect(index, life));
    }

    /// The agent's end is closed; the other one notices.
    fn hang_up(&mut self, id: ConnectionId) {
        let connection = self.connections.get_mut(&id).expect("connections are kept");
        connection.open_at_agent = false;
        let delay = self.rng.range(0, 30);
        self.after(delay, Event::NodeSeesEnd(id));
    }

    /// An existing agent registers at each connection, a new one once in a process.
    pub(super) fn connect(&mut self, index: usize, life: u64) {
        let agent = &self.agents[index];
        if agent.life != life || !agent.is_up() || agent.connection.is_some() {
            return;
        }
        let registered = matches!(&agent.body, Body::New(new) if new.talk.is_some());
        if self.node.is_none() || (!registered && !self.enrol(index)) {
            let delay = self.rng.range(100, 5_000);
            return self.after(delay, Event::Connect(index, life));
        }
        let id = self.open_connection(index);
        let (wall, jid) = (self.agents[index].wall(self.now), wire::jid(index));
        let presence = match &mut self.agents[index].body {
            Body::New(new) => new.log_in(wall, jid).expect("it is registered"),
            Body::Existing(_) => Element::bare("presence", ns::CLIENT),
        };
        self.send_to_node(id, presence);
        if matches!(self.agents[index].body, Body::Existing(_)) {
            self.existing_runs(index);
            self.existing_loop(index, 100);
        }
    }

    fn open_connection(&mut self, index: usize) -> ConnectionId {
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.agents[index].connection = Some(id);
        let talk = DispatcherTalk::new(wire::DISPATCHER.into(), &wire::jid(index), self.rng.next());
        let connection = Connection {
            agent: index,
            node: self.node_life,
            open_at_node: true,
            open_at_agent: true,
            cut: false,
            last: [self.now; 2],
            talk: Some(Box::new(talk)),
            timer: None,
            pushable: None,
            heard: Vec::new(),
            taken: HashSet::new(),
        };
        self.connections.insert(id, connection);
        id
    }

    fn send_to_node(&mut self, id: ConnectionId, stanza: Element) {
        let delay = self.draw_latency();
        let index = self.connections[&id].agent;
        let stanza = Rc::new(wire::vouched(stanza, &wire::jid(index)));
        self.ledger
            .write(Author::Agent, index, &self.agents[index].name, &stanza);
        let life = self.node_life;
        let Some(connection) = self.connections.get_mut(&id).filter(|c| c.open_at_agent && !c.cut) else {
            return;
        };
        if connection.node != life {
            return;
        }
        let at = (self.now + delay).max(connection.last[1]);
        connection.last[1] = at;
        self.overhear(false, index, &stanza);
        self.at(at, Event::ToNode(id, stanza));
    }

    pub(super) fn agent_receives(&mut self, id: ConnectionId, stanza: &Stanza) {
        let Some(connection) = self.connections.get(&id).filter(|c| c.open_at_agent && !c.cut) else {
            return;
        };
        let index = connection.agent;
        self.check_forwarded(index, stanza);
        self.agent_hears(index, stanza, None);
    }

    /// Whatever reaches an agent, from its server or from somebody in between.
    pub(super) fn agent_hears(&mut self, index: usize, stanza: &Stanza, injected: Option<Kind>) {
        let (wall, life) = (self.agents[index].wall(self.now), self.agents[index].life);
        let outputs = match &mut self.agents[index].body {
            Body::New(new) => new.hear(wall, stanza),
            Body::Existing(old) => {
                old.inbox.push_back((Rc::clone(stanza), injected));
                return self.existing_loop(index, 0);
            }
        };
        self.check_agent(index, stanza, &outputs, injected);
        for output in outputs {
            match output {
                Output::Write(answer) => {
                    if let Some(id) = self.agents[index].connection {
                        self.send_to_node(id, answer);
                    }
                }
                Output::RequestReceived(request) => {
                    let number = request.number();
                    if let Body::New(new) = &mut self.agents[index].body {
                        new.keep(request);
                    }
                    self.give(index, CheckInput::RequestReceived(number));
                }
                Output::LinkUp(dispatcher) => self.give(index, CheckInput::LinkUp(dispatcher)),
                Output::Acknowledged(run) => self.give(index, CheckInput::ReportAcknowledged(run)),
                Output::ClockOff => self.after(5, Event::Enrol(index, life)),
                // The adversary speaks in the dispatcher's name, which nobody but the server in between can.
                Output::KeyVoid | Output::Ignored(_) => {}
                // Over the embedded server no dispatcher's presence arrives.
                Output::DispatcherCame(_) | Output::DispatcherLeft(_) | Output::DispatcherUnknown(_) => {}
            }
        }
    }

    pub(super) fn give(&mut self, index: usize, input: CheckInput) {
        let run = self.draw_run();
        let (now, wall) = (self.now, self.agents[index].wall(self.now));
        if let Body::New(new) = &mut self.agents[index].body {
            let wishes = new.give(now, wall, input, run);
            self.grant(index, wishes);
        }
    }

    pub(super) fn grant(&mut self, index: usize, wishes: Vec<Wish>) {
        for wish in wishes {
            match wish {
                Wish::Send(stanza) => {
                    if let Some(id) = self.agents[index].connection {
                        self.send_to_node(id, stanza);
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
    pub(super) fn existing_loop(&mut self, index: usize, millis: i64) {
        let life = self.agents[index].life;
        if let Body::Existing(old) = &mut self.agents[index].body
            && old.up
            && !std::mem::replace(&mut old.awake, true)
        {
            self.after(millis, Event::ExistingTurn(index, life));
        }
    }

    pub(super) fn existing_turn(&mut self, index: usize, life: u64) {
        let (wall, connection) = (self.agents[index].wall(self.now), self.agents[index].connection);
        if self.agents[index].life != life {
            return;
        }
        let Body::Existing(old) = &mut self.agents[index].body else {
            return;
        };
        old.awake = false;
        let turn = old.turn(wall);
        let again = !old.inbox.is_empty() || old.failed;
        if let Some((stanza, injected)) = turn.believed {
            self.check_existing(index, &stanza, injected);
        }
        if let (Some(answer), Some(id)) = (turn.answer, connection) {
            self.send_to_node(id, answer);
        }
        if turn.starts {
            self.existing_runs(index);
        }
        let pause = self.rng.range(6_000, 10_000) + if turn.starts { 5_000 } else { 0 };
        if again || turn.starts {
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
}

fn shifted(at: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(at.as_millis() + millis)
}

impl Agent {
    pub(super) fn new(index: i64, rng: &mut Rng) -> Self {
        let new = index == 0 || rng.chance(65);
        Self {
            system: SystemId(index + 1),
            body: if new {
                Body::New(Box::new(NewAgent::new()))
            } else {
                Body::Existing(ExistingAgent::default())
            },
            life: 0,
            name: String::new(),
            key: 0,
            strong: false,
            clock: rng.range(-90_000, 90_000),
            drift: 0,
            connection: None,
            runs: HashMap::new(),
            timer: None,
        }
    }

    /// Its clock.
    pub(super) fn wall(&self, now: Timestamp) -> Timestamp {
        shifted(now, self.clock)
    }

    /// What it takes for the server's time.
    pub(super) fn server_time(&self, now: Timestamp) -> Timestamp {
        shifted(now, self.clock + self.drift)
    }

    pub(super) fn is_up(&self) -> bool {
        match &self.body {
            Body::New(agent) => agent.core.is_some(),
            Body::Existing(agent) => agent.up,
        }
    }

    /// Whether every report is acknowledged.
    pub(super) fn told(&self) -> bool {
        match &self.body {
            Body::New(agent) => agent.disk.ended.is_empty(),
            Body::Existing(agent) => agent.inbox.is_empty(),
        }
    }
}
