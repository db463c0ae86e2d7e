//! A Satellite without its dispatcher, the agents that look for it, and everything that goes on beside the kills.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Dice;
use crate::agents::Process;
use crate::beside_satellite::BesideSatellite;
use crate::cluster::Database;
use crate::deployment::HURRY;
use crate::endurance::{count, parameter};
use crate::existing::{ExistingAgent, Identity};
use crate::rhn_check::Queue;
use crate::site::Site;

/// Agents of our own, each a process.
pub const NEW_AGENTS: u64 = 6;
/// Agents that die with the last kill.
pub const STAY_AWAY: usize = 20;
/// Between two things that administrators schedule.
const SCHEDULE_EVERY: Duration = Duration::from_millis(150);

/// The end of the log of all starts.
pub fn tail(site: &Site) -> String {
    let log = fs::read_to_string(site.path("starts")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// The agents of the site; one that ended, as existing ones do when TLS is cut short, is started again.
struct Agents {
    identities: Vec<Identity>,
    existing: Mutex<Vec<Option<ExistingAgent>>>,
    totals: Mutex<BTreeMap<&'static str, usize>>,
    _new: Vec<Process>,
}

impl Agents {
    fn start_again(&self) {
        let mut totals = self.totals.lock().unwrap();
        for (place, identity) in self.existing.lock().unwrap().iter_mut().zip(&self.identities) {
            if place.as_ref().is_some_and(ExistingAgent::has_ended) {
                let ended = place.replace(ExistingAgent::start(identity.clone()));
                count(&mut totals, &ended.unwrap().events());
            }
        }
    }

    /// Some of them die, and nobody starts them again.
    fn leave(&self, how_many: usize) {
        let mut existing = self.existing.lock().unwrap();
        let gone: Vec<ExistingAgent> = existing.iter_mut().take(how_many).filter_map(Option::take).collect();
        let mut totals = self.totals.lock().unwrap();
        gone.iter().for_each(|agent| count(&mut totals, &agent.events()));
        ExistingAgent::kill_all(gone);
    }

    fn stop(&self, how_many: usize) {
        for agent in self.existing.lock().unwrap().iter().take(how_many).flatten() {
            agent.stop(true);
        }
    }

    fn come_back(&self) {
        for (place, identity) in self.existing.lock().unwrap().iter_mut().zip(&self.identities) {
            place.get_or_insert_with(|| ExistingAgent::start(identity.clone()));
        }
    }
}

fn name(index: u64) -> String {
    format!("client-{index:03}")
}

/// A Satellite without its dispatcher, and the agents that look for it.
pub struct Stage {
    pub site: Site,
    /// Dropped with this.
    _database: Arc<Database>,
    pub queue: Arc<Queue>,
    agents: Agents,
    pub names: Vec<String>,
    /// No more is scheduled, and agents that end stay away.
    pub is_over: AtomicBool,
    scheduled: Mutex<usize>,
}

impl Stage {
    pub fn set(agents: u64) -> Self {
        let mut beside = BesideSatellite::usual();
        beside.log.process.kill();
        let queue = Queue::install(&beside.database);
        let names: Vec<String> = (0..agents).map(name).collect();
        let (existing, new) = names.split_at(usize::try_from(agents - NEW_AGENTS).unwrap());
        let identities: Vec<Identity> = beside
            .add_all(existing)
            .into_iter()
            .map(|(id, identity)| Identity {
                check: queue.check(&id, HURRY),
                ..identity
            })
            .collect();
        let new = new.iter().map(|name| start_osad(&beside, name)).collect();
        let running = identities.iter().cloned().map(ExistingAgent::start).map(Some).collect();
        Self {
            agents: Agents {
                identities,
                existing: Mutex::new(running),
                totals: Mutex::default(),
                _new: new,
            },
            site: beside.site,
            _database: beside.database,
            queue,
            names,
            is_over: AtomicBool::new(false),
            scheduled: Mutex::new(0),
        }
    }

    /// What happens beside the kills, until it is over.
    pub fn go_on(&self, mut dice: Dice) {
        while !self.is_over.load(Ordering::SeqCst) {
            self.schedule_some(&mut dice);
            self.agents.start_again();
            self.assert_one_request_each();
            sleep(SCHEDULE_EVERY);
        }
    }

    fn schedule_some(&self, dice: &mut Dice) {
        let first = usize::try_from(dice.below(self.names.len() as u64)).unwrap();
        let (many, chain, delay) = match dice.below(8) {
            0 => (50, 1, Duration::ZERO),
            1 | 2 => (1, 3, Duration::ZERO),
            3 => (3, 1, dice.millis(100, 2_000)),
            _ => (1, 1, Duration::ZERO),
        };
        let systems = &self.names[first..self.names.len().min(first + many)];
        *self.scheduled.lock().unwrap() += self.queue.schedule(systems, chain, delay);
        if dice.below(10) == 0 {
            self.queue.reschedule_failed();
        }
    }

    pub fn schedule_for_all(&self) {
        *self.scheduled.lock().unwrap() += self.queue.schedule(&self.names, 1, Duration::ZERO);
    }

    /// Waits until most agents are online since this start, for a while.
    pub fn wait_for_agents(&self) {
        let online =
            "SELECT count(*) FROM osa_push WHERE online AND incarnation = (SELECT max(incarnation) FROM osa_node)";
        self.wait_for(Duration::from_secs(6), online, self.names.len() * 2 / 3);
    }

    /// Waits until this query counts so many, but no longer than this.
    fn wait_for(&self, at_most: Duration, query: &str, enough: usize) {
        let end = Instant::now() + at_most;
        while self.queue.ask(|line| line.value::<usize>(query)).unwrap() < enough && Instant::now() < end {
            sleep(Duration::from_millis(20));
        }
    }

    /// Some existing agents hear nothing any more. Returns when each has a request on its way.
    pub fn agents_fall_silent(&self, how_many: usize) {
        let of_them = format!(
            "server_id IN (SELECT id FROM rhnServer WHERE name IN ({}))",
            list(&self.names[..how_many])
        );
        let online = format!(
            "SELECT count(*) FROM osa_push WHERE online AND incarnation = (SELECT max(incarnation) FROM osa_node) AND {of_them}"
        );
        self.wait_for(settled_within(), &online, how_many);
        self.agents.stop(how_many);
        self.schedule_for_all();
        let asked = format!("SELECT count(*) FROM osa_request WHERE ended_at IS NULL AND state = 'sent' AND {of_them}");
        self.wait_for(Duration::from_secs(6), &asked, how_many);
    }

    /// Some existing agents die, and nobody starts them again.
    pub fn agents_leave(&self, how_many: usize) {
        self.agents.leave(how_many);
    }

    pub fn agents_come_back(&self) {
        self.agents.come_back();
    }

    /// Waits until all of these systems have nothing to do, and all rows say what is; how long each took.
    pub fn settle(&self, there: &[String]) -> (Duration, Duration) {
        let since = Instant::now();
        let done = self.none_within("actions are left", since, || {
            self.agents.start_again();
            self.left(there)
        });
        let right = self.none_within("rows are wrong", since, || self.wrong_rows(there));
        (done, right)
    }

    /// How much there was to do, and what existing agents did that have ended.
    pub fn told(&self) -> String {
        let (scheduled, died) = (*self.scheduled.lock().unwrap(), self.queue.died());
        let mut text = format!("{scheduled} actions of systems scheduled, {died} checks died with one\n");
        for (what, count) in self.agents.totals.lock().unwrap().iter() {
            text += &format!("{count} {what}\n");
        }
        text
    }

    /// At most one request of a system is on its way, at any time.
    fn assert_one_request_each(&self) {
        let twice = self.queue.ask(|line| {
            line.rows(
                "SELECT server_id, count(*) FROM osa_request WHERE ended_at IS NULL AND state IN ('claimed', 'sent') \
                 GROUP BY server_id HAVING count(*) > 1",
            )
        });
        assert!(twice.is_empty(), "two requests of a system on their way: {twice:?}");
    }

    /// Actions that are not completed, of systems whose agents are there.
    fn left(&self, there: &[String]) -> Vec<Vec<String>> {
        self.queue.reschedule_failed();
        self.queue.ask(|line| {
            line.rows(&format!(
                "SELECT r.name, sa.action_id, sa.status FROM rhnServerAction sa JOIN rhnServer r ON r.id = sa.server_id \
                 WHERE sa.status <> 2 AND r.name IN ({})",
                list(there)
            ))
        })
    }

    /// Rows that say something else than that exactly these agents are connected, and have nothing to do.
    fn wrong_rows(&self, there: &[String]) -> Vec<Vec<String>> {
        let (there, newest) = (list(there), "(SELECT max(incarnation) FROM osa_node)");
        let questions = [
            format!(
                "SELECT 'rhnPushClient', r.name, s.label FROM rhnPushClient c JOIN rhnServer r ON r.id = c.server_id \
                 JOIN rhnPushClientState s ON s.id = c.state_id WHERE (s.label = 'online') <> (r.name IN ({there}))"
            ),
            format!(
                "SELECT 'osa_push', r.name, p.online, p.incarnation FROM osa_push p JOIN rhnServer r ON r.id = p.server_id \
                 WHERE p.online <> (r.name IN ({there})) OR (p.online AND p.incarnation <> {newest})"
            ),
            "SELECT 'osa_request', server_id, number, state, incarnation FROM osa_request WHERE ended_at IS NULL"
                .to_owned(),
            "SELECT 'rhnPushDispatcher', count(*) FROM rhnPushDispatcher HAVING count(*) <> 1".to_owned(),
            "SELECT 'rhnPushDispatcher', last_checkin FROM rhnPushDispatcher WHERE last_checkin < \
               (SELECT to_timestamp(max(started_at) / 1000.0) - interval '1 second' FROM osa_node)"
                .to_owned(),
        ];
        self.queue
            .ask(|line| questions.iter().flat_map(|question| line.rows(question)).collect())
    }

    /// Waits until there are none of these; how long that took since then.
    fn none_within(&self, what: &str, since: Instant, rows: impl Fn() -> Vec<Vec<String>>) -> Duration {
        loop {
            let found = rows();
            let took = since.elapsed();
            if found.is_empty() {
                return took;
            }
            assert!(
                took < settled_within(),
                "{what} after {took:?}: {} rows, {:?}\n{}",
                found.len(),
                &found[..found.len().min(20)],
                tail(&self.site)
            );
            sleep(Duration::from_millis(200));
        }
    }
}

/// Until when everything must be done, and shown as it is. A machine that does much else may need longer than a minute.
fn settled_within() -> Duration {
    Duration::from_secs(parameter("SETTLED_SECS", 240))
}

fn list(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    names.join(", ")
}

/// Our agent, as a process, whose check fetches what there is.
fn start_osad(beside: &BesideSatellite, name: &str) -> Process {
    let home = beside.new_home(name);
    let psql = beside.database.psql();
    let line: Vec<String> = std::iter::once(psql.get_program())
        .chain(psql.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let select = format!("SELECT rhn_check({})", beside.id(name));
    let check = home.path("check");
    fs::write(
        &check,
        format!("#!/bin/sh\nexec {} -Atc '{select}' > /dev/null\n", line.join(" ")),
    )
    .unwrap();
    fs::set_permissions(&check, fs::Permissions::from_mode(0o700)).unwrap();
    home.start()
}
