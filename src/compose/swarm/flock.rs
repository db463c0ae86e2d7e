//! All agents of this process.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};

use super::agent;
use super::error::SwarmError;
use super::link::Target;
use super::numbers::{Samples, complain, millis};
use super::satellite::Satellite;
use crate::domain::dispatcher_rows;
use crate::domain::ids::ClientName;
use crate::domain::secret::Secret;

/// Longest wait for all agents to be where they should be.
const PATIENCE: Duration = Duration::from_secs(300);

/// Who an agent is.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) username: String,
    pub(super) client: ClientName,
    pub(super) key: Secret,
    /// Its number in the database.
    pub(super) system: i64,
}

impl Member {
    /// Its full JID.
    pub(super) fn jid(&self, domain: &str) -> String {
        format!("{}@{domain}/osad", self.username)
    }
}

/// What an agent did so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Connections on which it was welcomed.
    pub(super) welcomes: usize,
    /// Checks.
    pub(super) checks: usize,
}

/// What the agents share, and what is counted.
pub(super) struct Flock {
    pub(super) target: Target,
    pub(super) domain: String,
    pub(super) dispatcher: String,
    pub(super) password: Secret,
    /// Who carries out what a check fetches, unless nobody does.
    satellite: Option<Arc<Satellite>>,
    gate: Semaphore,
    in_flight: u32,
    cut: watch::Sender<()>,
    deaf: watch::Sender<bool>,
    up: Cell<usize>,
    failures: Cell<usize>,
    runs: Cell<usize>,
    tallies: RefCell<BTreeMap<i64, Tally>>,
    logins: RefCell<Samples>,
    changed: Notify,
}

impl Flock {
    /// Nobody yet; at most `in_flight` logins at the same time.
    pub(super) fn new(
        target: Target,
        domain: &str,
        password: Secret,
        in_flight: u32,
        satellite: Option<Arc<Satellite>>,
    ) -> Rc<Self> {
        Rc::new(Self {
            target,
            domain: domain.to_owned(),
            dispatcher: dispatcher_rows::jid(domain),
            password,
            satellite,
            gate: Semaphore::new(usize::try_from(in_flight).unwrap_or(1)),
            in_flight,
            cut: watch::Sender::new(()),
            deaf: watch::Sender::new(false),
            up: Cell::new(0),
            failures: Cell::new(0),
            runs: Cell::new(0),
            tallies: RefCell::default(),
            logins: RefCell::default(),
            changed: Notify::new(),
        })
    }

    /// Starts an agent for each member.
    pub(super) fn start(self: &Rc<Self>, members: &[Member]) {
        for member in members {
            tokio::task::spawn_local(agent::live(Rc::clone(self), member.clone()));
        }
    }

    /// Keeps everybody from logging in until the result is dropped.
    pub(super) async fn hold(&self) -> Option<SemaphorePermit<'_>> {
        // The gate is never closed.
        self.gate.acquire_many(self.in_flight).await.ok()
    }

    /// Lets everybody log in at once from now on.
    pub(super) fn open_gate(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// Cuts every connection.
    pub(super) fn cut_all(&self) {
        self.cut.send_replace(());
    }

    /// Whether everybody leaves unread what the dispatcher sends.
    pub(super) fn turn_deaf(&self, deaf: bool) {
        self.deaf.send_replace(deaf);
    }

    /// Waits until so many are logged in and welcomed; how long that took.
    pub(super) async fn all_up(&self, count: usize, log: &Path) -> Result<Duration, SwarmError> {
        self.wait("the login of all agents", log, || self.up.get() == count)
            .await
    }

    /// Waits until nobody is.
    pub(super) async fn all_down(&self, log: &Path) -> Result<Duration, SwarmError> {
        self.wait("the end of all connections", log, || self.up.get() == 0)
            .await
    }

    /// Waits until so many checks have run in all.
    pub(super) async fn all_ran(&self, count: usize, log: &Path) -> Result<Duration, SwarmError> {
        self.wait("the run of all checks", log, || self.runs.get() >= count)
            .await
    }

    async fn wait(&self, what: &'static str, log: &Path, done: impl Fn() -> bool) -> Result<Duration, SwarmError> {
        let began = Instant::now();
        let wait = async {
            while !done() {
                self.changed.notified().await;
            }
        };
        let timed_out = |_| SwarmError::TimedOut(what, PATIENCE.as_secs(), log.to_owned());
        tokio::time::timeout(PATIENCE, wait).await.map_err(timed_out)?;
        Ok(began.elapsed())
    }

    /// How many checks have run.
    pub(super) fn runs(&self) -> usize {
        self.runs.get()
    }

    /// How many connections failed before they were up.
    pub(super) fn failures(&self) -> usize {
        self.failures.get()
    }

    /// How long each login took, in milliseconds, from the connection to the welcome; then forgets them.
    pub(super) fn take_logins(&self) -> Samples {
        self.logins.take()
    }

    /// A signal of the next cut.
    pub(super) fn cut(&self) -> watch::Receiver<()> {
        self.cut.subscribe()
    }

    /// Whether to leave unread what the dispatcher sends.
    pub(super) fn deaf(&self) -> watch::Receiver<bool> {
        self.deaf.subscribe()
    }

    /// Waits for its turn to log in.
    pub(super) async fn admit(&self) -> Option<SemaphorePermit<'_>> {
        // The gate is never closed.
        self.gate.acquire().await.ok()
    }

    /// An agent was welcomed.
    pub(super) fn entered(&self, system: i64, took: Duration) {
        self.tallies.borrow_mut().entry(system).or_default().welcomes += 1;
        self.logins.borrow_mut().push(millis(took));
        self.up.set(self.up.get() + 1);
        self.changed.notify_one();
    }

    /// An agent lost its connection.
    pub(super) fn left(&self) {
        self.up.set(self.up.get().saturating_sub(1));
        self.changed.notify_one();
    }

    /// A connection failed.
    pub(super) fn count_failure(&self) {
        self.failures.set(self.failures.get() + 1);
    }

    /// What a check does.
    pub(super) async fn carry_out(&self, system: i64) {
        if let Some(satellite) = &self.satellite
            && let Err(error) = satellite.carry_out(system).await
        {
            complain(error);
        }
    }

    /// What each system did so far.
    pub(super) fn tallies(&self) -> BTreeMap<i64, Tally> {
        self.tallies.borrow().clone()
    }

    /// A check ran.
    pub(super) fn count_run(&self, system: i64) {
        self.tallies.borrow_mut().entry(system).or_default().checks += 1;
        self.runs.set(self.runs.get() + 1);
        self.changed.notify_one();
    }
}
