//! Dispatcher, agents, database and network on one virtual clock.

mod adversary;
mod checks;
mod fate;
mod forgery;
mod hosts;
mod node;
mod provenance;
mod runs;
mod schedule;
mod sessions;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use minidom::Element;
use osa::domain::check::{CheckCore, CheckInput};
use osa::domain::ids::{ActionId, ConnectionId, RequestNumber, RunId, SystemId};
use osa::domain::push::action::{ActionKind, ActionVersion};
use osa::domain::push::agenda::{Agenda, Arrival, Operation, Outcome, Task};
use osa::domain::push::client::{AgentKind, Client, ClientEvent};
use osa::domain::push::policy::{Authority, Policy};
use osa::domain::time::Timestamp;
use osa::protocol::osa::dispatcher_talk::{DispatcherTalk, Question};

use self::adversary::Overheard;
pub use self::adversary::{Attacks, Kind};
use self::provenance::Heard;
use self::schedule::Scheduled;
use crate::agents::{ExistingAgent, NewAgent, Wish, exit};
use crate::rng::Rng;
use crate::store::{Action, MemStore, Status, TRIES};
use crate::wire::{self, Ledger, Stanza};

pub const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const TICK: Duration = Duration::from_secs(1);
const RECONCILE: Duration = Duration::from_secs(30);

#[derive(Debug)]
enum Event {
    NodeTimer(u64),
    Tick(u64),
    Reconcile(u64),
    StoreApplies(u64, Operation),
    StoreAnswers(u64, Outcome),
    ToAgent(ConnectionId, Stanza),
    ToNode(ConnectionId, Stanza),
    /// A session's question is answered.
    ClientRead(ConnectionId, Question),
    SessionTimer(ConnectionId),
    NodeSeesEnd(ConnectionId),
    AgentSeesEnd(ConnectionId),
    Connect(usize, u64),
    /// A running agent registers anew.
    Enrol(usize, u64),
    AgentTimer(usize, u64),
    ExistingTurn(usize, u64),
    RunStep(usize, RunId),
    RunEnds(usize, RunId, i32),
    Commit(NewWork),
    NodeStarts,
    AgentStarts(usize),
    Fault,
    Attack,
    DatabaseHeals,
    Heal,
    LastWork,
}

#[derive(Clone, Copy, Debug)]
enum NewWork {
    Insert(SystemId, ActionKind, i64, Option<ActionId>),
    Reschedule(SystemId),
    Cancel(SystemId),
}

enum Body {
    New(Box<NewAgent>),
    Existing(ExistingAgent),
}

struct Agent {
    system: SystemId,
    body: Body,
    /// Counts starts, so that timers of an earlier life are void.
    life: u64,
    /// The name it registered under last.
    name: String,
    /// That registration's number.
    key: u64,
    /// Whether the dispatcher proved under this name that it signs strongly.
    strong: bool,
    /// How far its clock is ahead, and what it knows of that. Units: milliseconds.
    clock: i64,
    drift: i64,
    connection: Option<ConnectionId>,
    /// The run's start, for the ninth invariant, and what it has picked up.
    runs: HashMap<RunId, Run>,
    timer: Option<Timestamp>,
}

struct Run {
    started: Timestamp,
    picked_up: Option<ActionId>,
    fails: bool,
}

struct Connection {
    agent: usize,
    node: u64,
    open_at_node: bool,
    open_at_agent: bool,
    /// Everything sent is lost.
    cut: bool,
    last: [Timestamp; 2],
    /// The dispatcher's half of the conversation, until this end is closed.
    talk: Option<Box<DispatcherTalk>>,
    timer: Option<Timestamp>,
    /// The registration's number when the session became pushable, and what for.
    pushable: Option<(AgentKind, u64)>,
    /// What the talk was given and has not acted on.
    heard: Vec<Heard>,
    /// Signatures that had their effect.
    taken: HashSet<String>,
}

struct Node {
    agenda: Agenda,
    timer: Option<Timestamp>,
    /// Sessions that may be pushed.
    sessions: BTreeMap<SystemId, ConnectionId>,
    /// The session of a client without registration.
    stranger: Box<DispatcherTalk>,
}

/// Facts that the invariants need and no part of the system would tell.
#[derive(Default)]
pub struct Witness {
    /// Since when nothing but the planner could keep a system from being asked.
    free_since: HashMap<SystemId, Timestamp>,
    /// Until when the store's failure explains any delay.
    excused_until: Timestamp,
    /// When each action version was first requested.
    requested: HashMap<(ActionId, ActionVersion), Timestamp>,
    /// Systems whose awaited report nobody is about to make, at the last reconciliation.
    forgotten: BTreeSet<SystemId>,
    reboot_asked: HashMap<SystemId, (ConnectionId, Timestamp)>,
    pub requests: u64,
    pub faults: u64,
    pub events: u64,
    pub attacks: Attacks,
}

pub struct World {
    pub seed: u64,
    now: Timestamp,
    rng: Rng,
    heap: BinaryHeap<Scheduled>,
    sequence: u64,
    pub store: MemStore,
    policy: Policy,
    node: Option<Node>,
    node_life: u64,
    agents: Vec<Agent>,
    connections: BTreeMap<ConnectionId, Connection>,
    next_connection: u64,
    next_action: i64,
    database_down: bool,
    pub faulty: bool,
    last_work_done: bool,
    tick_scheduled: bool,
    sees_all_changes: bool,
    ledger: Ledger,
    overheard: Vec<Overheard>,
    pub witness: Witness,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let authority = if rng.chance(60) {
            Authority::Dispatcher
        } else {
            Authority::Satellite
        };
        let agents: Vec<Agent> = (0..rng.range(3, 6)).map(|index| Agent::new(index, &mut rng)).collect();
        let policy = Policy {
            authority,
            notify_threshold: rng.chance(30).then(|| 1 + rng.index(3)),
            pushes_per_second: rng.chance(30).then_some(5),
            ..Policy::default()
        };
        let store = MemStore::new(authority, agents.iter().map(|agent| agent.system));
        let sees_all_changes = rng.chance(50);
        let mut world = Self {
            seed,
            now: START,
            rng,
            heap: BinaryHeap::new(),
            sequence: 0,
            store,
            policy,
            node: None,
            node_life: 0,
            agents,
            connections: BTreeMap::new(),
            next_connection: 1,
            next_action: 1,
            database_down: false,
            faulty: true,
            last_work_done: false,
            tick_scheduled: false,
            sees_all_changes,
            ledger: Ledger::default(),
            overheard: Vec::new(),
            witness: Witness::default(),
        };
        world.script();
        world
    }

    /// Draws what administrators and fate will do.
    fn script(&mut self) {
        self.after(0, Event::NodeStarts);
        for index in 0..self.agents.len() {
            let delay = self.rng.range(0, 3_000);
            self.after(delay, Event::AgentStarts(index));
        }
        for _ in 0..self.rng.range(4, 14) {
            let at = self.rng.range(0, 600_000);
            let work = self.draw_work();
            self.after(at, Event::Commit(work));
        }
        for _ in 0..self.rng.range(1, 8) {
            let at = self.rng.range(0, 600_000);
            self.after(at, Event::Fault);
        }
        self.after(600_001, Event::Heal);
        for _ in 0..self.rng.range(8, 24) {
            let at = self.rng.range(5_000, 900_000);
            self.after(at, Event::Attack);
        }
        // Work in quiet times shows delays that faults would excuse.
        for _ in 0..self.rng.range(1, 5) {
            let at = self.rng.range(700_000, 900_000);
            let work = self.draw_work();
            self.after(at, Event::Commit(work));
        }
        self.after(900_001, Event::LastWork);
    }

    fn draw_work(&mut self) -> NewWork {
        let system = self.agents[self.rng.index(self.agents.len())].system;
        match self.rng.range(0, 99) {
            0..=79 => {
                let reboot = self.store.authority == Authority::Satellite && self.rng.chance(8);
                let kind = if reboot {
                    ActionKind::Reboot
                } else {
                    ActionKind::Ordinary
                };
                let delay = if self.rng.chance(20) {
                    self.rng.range(0, 120_000)
                } else {
                    0
                };
                let before = (self.rng.chance(15) && self.next_action > 1).then(|| ActionId(self.next_action - 1));
                NewWork::Insert(system, kind, delay, before)
            }
            80..=91 => NewWork::Reschedule(system),
            _ => NewWork::Cancel(system),
        }
    }

    fn after(&mut self, millis: i64, event: Event) {
        let pause = Duration::from_millis(u64::try_from(millis).expect("time goes forward"));
        self.at(self.now + pause, event);
    }

    fn at(&mut self, at: Timestamp, event: Event) {
        self.sequence += 1;
        self.heap.push(Scheduled {
            at,
            sequence: self.sequence,
            event,
        });
    }

    fn draw_run(&mut self) -> RunId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.rng.next().to_be_bytes());
        bytes[8..].copy_from_slice(&self.rng.next().to_be_bytes());
        RunId(bytes)
    }

    /// Runs until everything is settled.
    pub fn run(&mut self) {
        let limit = START + Duration::from_secs(24 * 3600);
        while let Some(next) = self.heap.pop() {
            self.now = next.at;
            assert!(self.now < limit, "not settled after a day: {}", self.describe());
            self.witness.events += 1;
            self.handle(next.event);
            self.drive_node();
            if self.last_work_done && self.is_settled() {
                break;
            }
        }
        self.check_end();
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::NodeTimer(life) => self.wake_node(life),
            Event::Tick(life) => self.tick(life),
            Event::Reconcile(life) => self.reconcile(life),
            Event::StoreApplies(life, operation) => self.store_applies(life, operation),
            Event::StoreAnswers(life, outcome) => self.store_answers(life, outcome),
            Event::ToAgent(connection, stanza) => self.agent_receives(connection, &stanza),
            Event::ToNode(connection, stanza) => self.node_receives(connection, &stanza, None),
            Event::ClientRead(connection, question) => self.client_read(connection, &question),
            Event::SessionTimer(connection) => self.wake_session(connection),
            Event::NodeSeesEnd(connection) => self.node_sees_end(connection),
            Event::AgentSeesEnd(connection) => self.agent_sees_end(connection),
            Event::Connect(index, life) => self.connect(index, life),
            Event::Enrol(index, life) => self.enrol_again(index, life),
            Event::AgentTimer(index, life) => self.agent_timer(index, life),
            Event::ExistingTurn(index, life) => self.existing_turn(index, life),
            Event::RunStep(index, run) => self.run_step(index, run),
            Event::RunEnds(index, run, code) => self.run_ends(index, run, code),
            Event::Commit(work) => self.commit(work),
            Event::NodeStarts => self.start_node(),
            Event::AgentStarts(index) => self.start_agent(index),
            Event::Fault => self.fault(),
            Event::Attack => self.attack(),
            Event::DatabaseHeals => self.database_down = false,
            Event::Heal => self.heal(),
            Event::LastWork => self.last_work_done = true,
        }
    }

    fn is_settled(&self) -> bool {
        let idle = self.node.as_ref().is_some_and(|node| node.agenda.is_idle());
        let told = self
            .agents
            .iter()
            .all(|agent| agent.connection.is_some() && agent.runs.is_empty() && agent.told());
        idle && told && !self.store.actions.values().any(Action::is_pending)
    }

    pub fn describe(&self) -> String {
        let pending: Vec<_> = self
            .store
            .actions
            .iter()
            .filter(|(_, action)| action.is_pending())
            .collect();
        let planner = self.node.as_ref().map(|node| {
            node.agenda
                .planner()
                .systems()
                .map(|id| (id, node.agenda.planner().snapshot(id)))
                .collect::<Vec<_>>()
        });
        format!(
            "seed {}, at {}: pending {pending:?}, planner {planner:?}",
            self.seed, self.now
        )
    }
}
