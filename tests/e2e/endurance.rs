//! Many existing agents at their own pace, for as long as one likes: `scripts/endurance`. Without its parameters, a few of
//! them in a hurry.
#![expect(clippy::disallowed_methods, reason = "what is waited for happens in other processes")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::deployment::{Deployment, HURRY, Settings, Standalone};
use crate::existing::{Event, ExistingAgent, Identity};

/// Between two actions.
const SCHEDULE_EVERY: Duration = Duration::from_secs(10);
/// Between two agents that are killed and started again.
const KILL_EVERY: Duration = Duration::from_secs(15);
/// How long the last action may take: an agent that was killed is back after 120 s at most, a request it did not answer
/// is made again after 60 s and then after 120 s, and its second answer comes a minute after the first.
const GRACE: Duration = Duration::from_secs(480);

/// A number from the environment.
fn parameter(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).unwrap_or_else(|_| default.to_string());
    text.parse()
        .unwrap_or_else(|_| panic!("{name} is not a number: {text}"))
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

struct Site {
    deployment: Standalone,
    identities: Vec<Identity>,
    agents: Vec<ExistingAgent>,
    /// What agents did that are gone.
    totals: BTreeMap<&'static str, usize>,
    actions: Vec<i64>,
}

impl Site {
    fn new(agents: u64, hurry: u32) -> Self {
        let deployment = Standalone::start(&Settings {
            hurry,
            ..Settings::default()
        });
        let identities: Vec<Identity> = (0..agents)
            .map(|index| Identity {
                check: restless_check(index, hurry),
                ..deployment.add(&name(index))
            })
            .collect();
        let agents = identities.iter().cloned().map(ExistingAgent::start).collect();
        Self {
            deployment,
            identities,
            agents,
            totals: BTreeMap::new(),
            actions: Vec::new(),
        }
    }

    fn schedule(&mut self, turn: u64) {
        let chosen = (0..self.identities.len() as u64).filter(|index| (index + turn).is_multiple_of(4));
        let names: Vec<String> = chosen.map(name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.actions.push(self.deployment.schedule(&names));
    }

    fn replace(&mut self, turn: u64) {
        let index = (turn * 37) as usize % self.agents.len();
        let fresh = ExistingAgent::start(self.identities[index].clone());
        let old = std::mem::replace(&mut self.agents[index], fresh);
        let events = old.events();
        old.kill();
        self.count(&events);
    }

    fn count(&mut self, events: &[Event]) {
        for event in events {
            let what = match event {
                Event::Answered("checkin") => "requests answered",
                Event::Answered(_) => "pings answered",
                Event::Forgotten => "requests forgotten in a check",
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
                | Event::Record(_) => continue,
            };
            *self.totals.entry(what).or_default() += 1;
        }
    }

    /// How many actions of systems there are, and how many are left.
    fn left(&self) -> (usize, usize) {
        let states: Vec<String> = self
            .actions
            .iter()
            .flat_map(|action| self.deployment.states(*action))
            .collect();
        let left = states.iter().filter(|state| *state != "completed").count();
        (states.len(), left)
    }
}

fn name(index: u64) -> String {
    format!("client-{index}")
}

#[test]
fn nothing_due_is_left_behind() {
    let (agents, minutes) = (parameter("AGENTS", 12), parameter("MINUTES", 10));
    let hurry = u32::try_from(parameter("HURRY", HURRY.into())).unwrap();
    let mut site = Site::new(agents, hurry);
    let (schedule_every, kill_every) = (SCHEDULE_EVERY / hurry, KILL_EVERY / hurry);
    let end = Instant::now() + Duration::from_secs(60 * minutes) / hurry;
    let (mut scheduled, mut killed) = (0, 0);
    let begun = Instant::now();
    while Instant::now() < end {
        if begun.elapsed() >= schedule_every * scheduled {
            site.schedule(scheduled.into());
            scheduled += 1;
        }
        if begun.elapsed() >= kill_every * (killed + 1) {
            site.replace(killed.into());
            killed += 1;
        }
        sleep(Duration::from_millis(50));
    }
    let ended = Instant::now();
    while site.left().1 > 0 && ended.elapsed() < (GRACE / hurry).max(Duration::from_secs(60)) {
        sleep(Duration::from_secs(1));
    }

    let (total, left) = site.left();
    for agent in std::mem::take(&mut site.agents) {
        site.count(&agent.events());
        agent.kill();
    }
    let mut summary = format!(
        "{agents} existing agents, {minutes} min, pauses divided by {hurry}, {killed} killed and started again\n\
         {total} actions of systems, {left} left behind, the last one completed {} s after the end\n",
        ended.elapsed().as_secs()
    );
    for (what, count) in &site.totals {
        summary += &format!("{count} {what}\n");
    }
    if let Some(file) = std::env::var_os("SUMMARY") {
        std::fs::write(file, &summary).unwrap();
    }
    assert_eq!(left, 0, "{summary}");
}
