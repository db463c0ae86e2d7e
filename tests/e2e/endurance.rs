//! Many existing agents at their own pace, for as long as one likes: `scripts/endurance`. Without its parameters, a few of
//! them in a hurry.
#![expect(clippy::disallowed_methods, reason = "what is waited for happens in other processes")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::beside_satellite::BesideSatellite;
use crate::deployment::{Deployment, HURRY, Settings, Standalone};
use crate::existing::{Event, ExistingAgent, Identity};
use crate::rhn_check::Queue;
use crate::site::PATIENCE;

/// Between two actions.
const SCHEDULE_EVERY: Duration = Duration::from_secs(10);
/// Between two agents that are killed and started again.
const KILL_EVERY: Duration = Duration::from_secs(15);
/// Before the end, from when on no check dies any more: what one left behind, only the next one finds.
const CALM: Duration = Duration::from_secs(90);
/// How long the last action may take: an agent that was killed is back after 120 s at most, a request it did not answer
/// is made again after 60 s and then after 120 s, and its second answer comes a minute after the first.
const GRACE: Duration = Duration::from_secs(480);

/// A number from the environment.
pub fn parameter(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).unwrap_or_else(|_| default.to_string());
    text.parse()
        .unwrap_or_else(|_| panic!("{name} is not a number: {text}"))
}

/// Leaves the numbers where `scripts/endurance` wants them.
pub fn report(summary: &str) {
    if let Some(file) = std::env::var_os("SUMMARY") {
        std::fs::write(file, summary).unwrap();
    }
}

/// Where the agents work.
trait Ground {
    /// A system whose checks are as they are in life.
    fn add(&self, index: u64) -> Identity;
    /// What becomes due in this turn, for these systems above all.
    fn schedule(&mut self, turn: u64, chosen: &[String]);
    /// From now on nothing goes wrong any more that nobody but the next check finds.
    fn calm_down(&self);
    /// How many actions of systems there are, and how many are left.
    fn left(&mut self) -> (usize, usize);
    /// What else happened.
    fn told(&self) -> String;
}

struct OnSqlite {
    deployment: Standalone,
    hurry: u32,
    actions: Vec<i64>,
}

/// A check that takes between 0 and 40 s, and fails now and then.
fn restless_check(index: u64, hurry: u32) -> Arc<dyn Fn() -> i32 + Send + Sync> {
    let runs = AtomicU64::new(index);
    Arc::new(move || {
        let run = runs.fetch_add(7, Ordering::SeqCst);
        sleep(Duration::from_secs(run * 13 % 41) / hurry);
        i32::from(run.is_multiple_of(9))
    })
}

impl Ground for OnSqlite {
    fn add(&self, index: u64) -> Identity {
        Identity {
            check: restless_check(index, self.hurry),
            ..self.deployment.add(&name(index))
        }
    }

    fn schedule(&mut self, _: u64, chosen: &[String]) {
        let names: Vec<&str> = chosen.iter().map(String::as_str).collect();
        self.actions.push(self.deployment.schedule(&names));
    }

    fn calm_down(&self) {}

    fn left(&mut self) -> (usize, usize) {
        let actions = self.actions.iter();
        let states: Vec<String> = actions.flat_map(|action| self.deployment.states(*action)).collect();
        let left = states.iter().filter(|state| *state != "completed").count();
        (states.len(), left)
    }

    fn told(&self) -> String {
        "standalone (SQLite)\n".into()
    }
}

struct OnPostgres {
    beside: BesideSatellite,
    queue: Arc<Queue>,
    hurry: u32,
    rescheduled: u64,
}

impl OnPostgres {
    fn new(hurry: u32) -> Self {
        let push = if hurry == 1 { "" } else { "poll_interval = \"100ms\"" };
        let beside = BesideSatellite::paced(&["migrate"], push, hurry);
        let queue = Queue::install(&beside.database);
        Self {
            beside,
            queue,
            hurry,
            rescheduled: 0,
        }
    }
}

impl Ground for OnPostgres {
    fn add(&self, index: u64) -> Identity {
        let identity = self.beside.add(&name(index));
        Identity {
            check: self.queue.check(&self.beside.id(&name(index)), self.hurry),
            ..identity
        }
    }

    /// One action for all of them, for a few a chain, and for others one that is due later.
    fn schedule(&mut self, turn: u64, chosen: &[String]) {
        self.queue.schedule(chosen, 1, Duration::ZERO);
        let few = usize::try_from(turn).unwrap() % chosen.len();
        let (chained, later) = (&chosen[..few.min(4)], &chosen[few..]);
        self.queue.schedule(chained, 3, Duration::ZERO);
        let later = &later[..later.len().min(4)];
        self.queue.schedule(later, 1, Duration::from_secs(15) / self.hurry);
        self.rescheduled += self.queue.reschedule_failed();
    }

    fn calm_down(&self) {
        self.queue.calm_down();
    }

    fn left(&mut self) -> (usize, usize) {
        self.rescheduled += self.queue.reschedule_failed();
        let count = |condition: &str| {
            let count = format!("SELECT count(*) FROM rhnServerAction WHERE {condition}");
            self.queue.ask(|line| line.value::<usize>(&count)).unwrap()
        };
        (count("TRUE"), count("status <> 2"))
    }

    fn told(&self) -> String {
        let requests = self.queue.ask(|line| {
            line.rows("SELECT state || coalesce(' ' || reason, ''), count(*) FROM osa_request GROUP BY 1 ORDER BY 1")
        });
        let requests: Vec<String> = requests.into_iter().map(|row| row.join(" ")).collect();
        format!(
            "beside a Satellite (PostgreSQL); requests: {}\n{} failed actions rescheduled, {} checks died with an action\n",
            requests.join(", "),
            self.rescheduled,
            self.queue.died()
        )
    }
}

fn name(index: u64) -> String {
    format!("client-{index}")
}

struct Site {
    ground: Box<dyn Ground>,
    identities: Vec<Identity>,
    agents: Vec<ExistingAgent>,
    /// What agents did.
    totals: BTreeMap<&'static str, usize>,
}

impl Site {
    fn new(ground: Box<dyn Ground>, agents: u64) -> Self {
        let identities: Vec<Identity> = (0..agents).map(|index| ground.add(index)).collect();
        let agents = identities.iter().cloned().map(ExistingAgent::start).collect();
        Self {
            ground,
            identities,
            agents,
            totals: BTreeMap::new(),
        }
    }

    fn schedule(&mut self, turn: u64) {
        let chosen = (0..self.identities.len() as u64).filter(|index| (index + turn).is_multiple_of(4));
        let names: Vec<String> = chosen.map(name).collect();
        self.ground.schedule(turn, &names);
    }

    fn replace(&mut self, turn: u64) {
        let index = (turn * 37) as usize % self.agents.len();
        let fresh = ExistingAgent::start(self.identities[index].clone());
        let old = std::mem::replace(&mut self.agents[index], fresh);
        count(&mut self.totals, &old.events());
        old.kill();
    }
}

/// Adds up what an agent did.
pub fn count(totals: &mut BTreeMap<&'static str, usize>, events: &[Event]) {
    for event in events {
        let what = match event {
            Event::Answered("checkin") => "requests answered",
            Event::Answered(_) => "pings answered",
            Event::Forgotten => "requests forgotten in a check",
            Event::Distrusted => "messages distrusted",
            Event::Ignored => "messages ignored",
            Event::CheckStarted => "checks started",
            Event::CheckEnded(0) => "checks ended well",
            Event::CheckEnded(_) => "checks failed",
            Event::Available => "sessions",
            Event::Lost(_) => "sessions lost",
            Event::Exited(_) => "agents ended",
            Event::Registered(_)
            | Event::LoggedIn { .. }
            | Event::Enrolled(_)
            | Event::Subscribed(_)
            | Event::Record(_)
            | Event::Heard { .. }
            | Event::Asked(_)
            | Event::Verified(_)
            | Event::Removed(_) => continue,
        };
        *totals.entry(what).or_default() += 1;
    }
}

/// Lets agents work on this ground; nothing that becomes due may be left behind.
fn endure(ground: Box<dyn Ground>, hurry: u32) {
    let (agents, minutes) = (parameter("AGENTS", 12), parameter("MINUTES", 10));
    let mut site = Site::new(ground, agents);
    let (schedule_every, kill_every) = (SCHEDULE_EVERY / hurry, KILL_EVERY / hurry);
    let begun = Instant::now();
    let end = begun + Duration::from_secs(60 * minutes) / hurry;
    let (mut scheduled, mut killed) = (0, 0);
    while Instant::now() < end {
        if begun.elapsed() >= schedule_every * scheduled {
            site.schedule(scheduled.into());
            scheduled += 1;
        }
        if begun.elapsed() >= kill_every * (killed + 1) {
            site.replace(killed.into());
            killed += 1;
        }
        if Instant::now() + CALM / hurry >= end {
            site.ground.calm_down();
        }
        sleep(Duration::from_millis(50));
    }
    let ended = Instant::now();
    let (mut total, mut left) = site.ground.left();
    while left > 0 && ended.elapsed() < (GRACE / hurry).max(PATIENCE) {
        sleep(Duration::from_secs(1));
        (total, left) = site.ground.left();
    }

    let agents_left = std::mem::take(&mut site.agents);
    agents_left
        .iter()
        .for_each(|agent| count(&mut site.totals, &agent.events()));
    ExistingAgent::kill_all(agents_left);
    let mut summary = format!(
        "{agents} existing agents, {minutes} min, pauses divided by {hurry}, {killed} killed and started again\n\
         {}{total} actions of systems, {left} left behind, the last one completed {} s after the end\n",
        site.ground.told(),
        ended.elapsed().as_secs()
    );
    for (what, count) in &site.totals {
        summary += &format!("{count} {what}\n");
    }
    report(&summary);
    assert_eq!(left, 0, "{summary}");
}

fn hurry() -> u32 {
    u32::try_from(parameter("HURRY", HURRY.into())).unwrap()
}

#[test]
fn nothing_due_in_a_standalone_deployment_is_left_behind() {
    let hurry = hurry();
    let deployment = Standalone::start(&Settings {
        hurry,
        ..Settings::default()
    });
    let actions = Vec::new();
    let ground = OnSqlite {
        deployment,
        hurry,
        actions,
    };
    endure(Box::new(ground), hurry);
}

#[test]
fn nothing_due_beside_a_satellite_is_left_behind() {
    let hurry = hurry();
    endure(Box::new(OnPostgres::new(hurry)), hurry);
}
