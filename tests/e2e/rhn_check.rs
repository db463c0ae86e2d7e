//! `rhn_check` and the Satellite's end of it, with all that goes wrong there.
#![expect(clippy::disallowed_methods, reason = "checks take time")]

use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::cluster::{Database, OWNER};

/// The Satellite's functions.
const FUNCTIONS: &str = include_str!("rhn_check.sql");
/// Checks and administrators talk to the database over so many connections.
const CONNECTIONS: u64 = 3;

/// A connection to a database, over which one asks at a time.
pub struct Line {
    runtime: Runtime,
    client: Client,
}

impl Line {
    pub fn open(database: &Database) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut config = tokio_postgres::Config::new();
        config.host_path(&database.socket).port(database.port);
        config.user(OWNER).dbname(&database.name);
        let (client, connection) = runtime.block_on(config.connect(NoTls)).unwrap();
        runtime.spawn(connection);
        Self { runtime, client }
    }

    /// The rows, each with its columns.
    pub fn rows(&self, text: &str) -> Vec<Vec<String>> {
        let messages = self.runtime.block_on(self.client.simple_query(text));
        let messages = messages.unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                let columns = 0..row.len();
                Some(columns.map(|at| row.get(at).unwrap_or_default().to_owned()).collect())
            }
            _ => None,
        };
        messages.iter().filter_map(row).collect()
    }

    /// The first column of the first row.
    pub fn value<T: FromStr>(&self, text: &str) -> Option<T> {
        self.rows(text).first()?.first()?.parse().ok()
    }

    pub fn number(&self, text: &str) -> i64 {
        self.value(text).unwrap_or_else(|| panic!("no number: {text}"))
    }
}

/// A Satellite's queue of actions.
pub struct Queue {
    lines: Vec<Mutex<Line>>,
    next: AtomicU64,
    /// Whether anything goes wrong with checks.
    is_rough: AtomicBool,
    /// Checks that died with an action picked up.
    died: AtomicU64,
}

impl Queue {
    /// In a database that has the dispatcher's tables already.
    pub fn install(database: &Database) -> Arc<Self> {
        let lines: Vec<Mutex<Line>> = (0..CONNECTIONS).map(|_| Mutex::new(Line::open(database))).collect();
        lines[0].lock().unwrap().rows(FUNCTIONS);
        Arc::new(Self {
            lines,
            next: AtomicU64::new(0),
            is_rough: AtomicBool::new(true),
            died: AtomicU64::new(0),
        })
    }

    /// Asks over the connection whose turn it is.
    pub fn ask<T>(&self, question: impl FnOnce(&Line) -> T) -> T {
        let turn = self.next.fetch_add(1, Ordering::SeqCst) % CONNECTIONS;
        let line = self.lines[usize::try_from(turn).unwrap()].lock().unwrap();
        question(&line)
    }

    /// From now on every check does its work.
    pub fn calm_down(&self) {
        self.is_rough.store(false, Ordering::SeqCst);
    }

    pub fn died(&self) -> u64 {
        self.died.load(Ordering::SeqCst)
    }

    /// Makes a chain of actions due for these systems; how many actions of systems those are.
    pub fn schedule(&self, systems: &[String], chain: usize, delay: Duration) -> usize {
        let names: Vec<String> = systems.iter().map(|name| format!("'{name}'")).collect();
        let (names, delay) = (names.join(", "), delay.as_secs_f64());
        self.ask(|line| line.number(&format!("SELECT schedule(ARRAY[{names}]::text[], {chain}, {delay})")));
        systems.len() * chain
    }

    /// How many failed actions of systems there were to schedule again.
    pub fn reschedule_failed(&self) -> u64 {
        self.ask(|line| line.value("SELECT reschedule_failed()")).unwrap()
    }

    /// The check command of a system: it fetches one action after the other, each of which takes between 0 and 20 s. Unless
    /// the queue has calmed down, it now and then finds the lock taken, fails without having done anything, has an action
    /// fail, or dies in the middle of one.
    pub fn check(self: &Arc<Self>, system: &str, hurry: u32) -> Arc<dyn Fn() -> i32 + Send + Sync> {
        let seed: u64 = system.parse().unwrap();
        let check = RhnCheck {
            queue: Arc::clone(self),
            system: system.to_owned(),
            hurry,
            moods: AtomicU64::new(seed),
            lock: Mutex::new(()),
        };
        Arc::new(move || check.run())
    }
}

struct RhnCheck {
    queue: Arc<Queue>,
    system: String,
    hurry: u32,
    moods: AtomicU64,
    /// An agent that was killed leaves its check behind.
    lock: Mutex<()>,
}

impl RhnCheck {
    fn run(&self) -> i32 {
        // The program takes a second to start.
        sleep(Duration::from_secs(1) / self.hurry);
        let Ok(_lock) = self.lock.try_lock() else {
            return 0;
        };
        match self.mood() % 16 {
            0 => return 0,
            1 => return 255,
            _ => {}
        }
        while let Some(action) = self.get() {
            let mood = self.mood();
            sleep(Duration::from_secs(mood % 21) / self.hurry);
            if mood % 19 == 3 {
                self.queue.died.fetch_add(1, Ordering::SeqCst);
                return 137;
            }
            self.submit(&action, mood % 11 != 3);
        }
        0
    }

    /// A number that is another one each time, and above all ill ones if nothing is to go wrong.
    fn mood(&self) -> u64 {
        let mood = self.moods.fetch_add(7_919, Ordering::SeqCst);
        let is_rough = self.queue.is_rough.load(Ordering::SeqCst);
        // 4 is none of the numbers that mean ill, whatever it is divided by.
        if is_rough { mood } else { 4 }
    }

    fn get(&self) -> Option<String> {
        let get = format!("SELECT queue_get({})", self.system);
        let action: String = self.queue.ask(|line| line.value(&get))?;
        (!action.is_empty()).then_some(action)
    }

    fn submit(&self, action: &str, went_well: bool) {
        let submit = format!("SELECT queue_submit({}, {action}, {went_well})", self.system);
        self.queue.ask(|line| line.rows(&submit));
    }
}
