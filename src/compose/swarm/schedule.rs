//! From the committed row to the start of the check.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::arguments::ScheduleArguments;
use super::connect::count;
use super::control::Control;
use super::error::SwarmError;
use super::flock::Flock;
use super::jabberd::Jabberd;
use super::numbers::{Report, Samples, millis, wall_clock};
use super::osads::Osads;
use super::owner::{Owner, System};
use super::passage;
use super::process::Usage;
use super::site::{Site, beside_us, random_share};
use super::stamp::{self, Stamp, Stamps};
use super::transport::Transport;
use super::until::until;

/// Longest wait for one check.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for everybody to be online: over a server that knows nobody, all systems are asked first.
const ONLINE_PATIENCE: Duration = Duration::from_secs(600);
/// A check is followed by reports; an agent has its next one no sooner than this.
const REST: Duration = Duration::from_millis(250);
/// How often the check is started directly, and the pause between.
const FLOOR_STARTS: usize = 50;
const FLOOR_PAUSE: Duration = Duration::from_millis(20);
/// How long requests and reports, the last ones, are waited for.
const PUSH_END: Duration = Duration::from_secs(2);

/// Measures, and reports.
pub(super) async fn run(arguments: &ScheduleArguments) -> Result<(), SwarmError> {
    let common = &arguments.site;
    let mut report = Report::new(common.json);
    report.progress("making a site");
    let mut site = open(arguments).await?;
    let flock = site.flock(common.in_flight)?;
    flock.start(&site.members);
    flock.all_up(common.agents, site.dispatcher.log()).await?;
    let owner = owner(&site);
    let socket = site.directory().join("stamps.sock");
    let stamps = Stamps::listen(&socket)?;
    let floor = floor(&stamps, &socket).await?;
    report.progress(format_args!("starting {} osad", arguments.osads));
    let mut osads = Osads::start(&site, &owner, arguments.osad.as_ref(), arguments.osads, &socket).await?;
    let mut turns = vec![(Transport::Embedded, Results::default())];
    turns.extend(arguments.over.map(|_| (Transport::Jabberd, Results::default())));
    for repeat in 0..common.repeats {
        for (transport, results) in &mut turns {
            report.progress(format_args!("{transport:?}, repeat {repeat}"));
            let changed = site.change_to(*transport).await?;
            let mut run = Run {
                site: &site,
                flock: &flock,
                owner: &owner,
                stamps: &stamps,
                results,
            };
            run.settle(arguments, &mut osads, changed || repeat == 0).await?;
            run.measure(arguments, &mut osads).await?;
        }
        // Whoever came last goes first: the machine's mood is shared.
        turns.reverse();
    }
    report.distribution("check_started_directly_ms", &floor);
    tell(report, turns, &osads);
    Ok(())
}

fn tell(mut report: Report, mut turns: Vec<(Transport, Results)>, osads: &Osads) {
    turns.sort_by_key(|(transport, _)| *transport == Transport::Jabberd);
    for (transport, results) in &turns {
        results.tell(&mut report, transport.prefix());
    }
    let largest = usize::try_from(osads.resident_max() / 1024).unwrap_or(0);
    report.say("osad_rss_max_kib", &Samples::from(largest));
    report.finish();
}

async fn open(arguments: &ScheduleArguments) -> Result<Site, SwarmError> {
    let history = arguments.satellite.then_some(&arguments.history);
    let mut site = Site::open(&arguments.site, history).await?;
    if let Some(satellite) = &site.satellite
        && arguments.triggers
    {
        satellite.set_triggers(true).await?;
        site.restart().await?;
    }
    if arguments.over.is_some() {
        let usernames: Vec<String> = site.members.iter().map(|member| member.username.clone()).collect();
        site.add_jabberd(&usernames)?;
    }
    Ok(site)
}

fn owner(site: &Site) -> Owner {
    match &site.satellite {
        None => Owner::Dispatcher(Control(site.control_socket())),
        Some(satellite) => Owner::Satellite {
            satellite: Arc::clone(satellite),
            systems: site.members.iter().map(|member| member.system).collect(),
        },
    }
}

/// What starting the check takes without anything of ours before it: it is in every other number.
async fn floor(stamps: &Stamps, socket: &Path) -> Result<Samples, SwarmError> {
    let program = beside_us("osa-swarm");
    let mut samples = Samples::default();
    for _ in 0..FLOOR_STARTS {
        tokio::time::sleep(FLOOR_PAUSE).await;
        let mut command = Command::new(&program);
        command.args([stamp::SUBCOMMAND.as_ref(), socket.as_os_str(), "floor".as_ref()]);
        let began = wall_clock();
        let mut child = command.spawn().map_err(SwarmError::file("start", &program))?;
        let (stamp, check) = stamps.next().await;
        drop(check);
        samples.push(millis(stamp.at.saturating_sub(began)));
        // It has nothing more to do.
        let _ = child.wait();
    }
    Ok(samples)
}

#[derive(Default)]
struct Results {
    from_request: Samples,
    from_commit: Samples,
    commit_p50: Samples,
    commit_p99: Samples,
    p50: Samples,
    p99: Samples,
    send_cpu: Cpu,
    push_cpu: Cpu,
    push_wall: Samples,
    /// A message from one client to another.
    passage: Samples,
    server_cpu: Cpu,
}

impl Results {
    /// One repeat.
    fn take(&mut self, from_request: Samples, from_commit: Samples) {
        self.p50.push(from_request.quantile(0.5));
        self.p99.push(from_request.quantile(0.99));
        self.commit_p50.push(from_commit.quantile(0.5));
        self.commit_p99.push(from_commit.quantile(0.99));
        self.from_request.append(from_request);
        self.from_commit.append(from_commit);
    }

    fn tell(&self, report: &mut Report, prefix: &str) {
        for (name, samples) in [
            ("request_to_check", &self.from_request),
            ("commit_to_check", &self.from_commit),
            ("between_two_clients", &self.passage),
        ] {
            if samples.len() > 0 {
                report.distribution(&format!("{prefix}{name}_ms"), samples);
            }
        }
        for (name, samples) in [
            ("request_to_check_p50_ms", &self.p50),
            ("request_to_check_p99_ms", &self.p99),
            ("commit_to_check_p50_ms", &self.commit_p50),
            ("commit_to_check_p99_ms", &self.commit_p99),
            ("cpu_per_1000_requests_ms", &self.send_cpu.total),
            ("cpu_per_1000_requests_without_store_ms", &self.send_cpu.without_store),
            ("cpu_per_1000_pushes_ms", &self.push_cpu.total),
            ("cpu_per_1000_pushes_without_store_ms", &self.push_cpu.without_store),
            ("server_cpu_per_1000_pushes_ms", &self.server_cpu.total),
            ("fan_out_all_checked_s", &self.push_wall),
        ] {
            if samples.len() > 0 {
                report.say(&format!("{prefix}{name}"), samples);
            }
        }
    }
}

/// CPU for 1 000 of something. Units: milliseconds.
#[derive(Default)]
struct Cpu {
    total: Samples,
    without_store: Samples,
}

impl Cpu {
    fn add(&mut self, before: &Usage, after: &Usage, times: usize) {
        let total = after.cpu.saturating_sub(before.cpu);
        let store = after.store_cpu.saturating_sub(before.store_cpu);
        let of_thousand = |cpu: Duration| millis(cpu) * 1e3 / count(times);
        self.total.push(of_thousand(total));
        self.without_store.push(of_thousand(total.saturating_sub(store)));
    }
}

struct Run<'a> {
    site: &'a Site,
    flock: &'a Flock,
    owner: &'a Owner,
    stamps: &'a Stamps,
    results: &'a mut Results,
}

impl Run<'_> {
    /// Waits until everybody may be pushed; after a start or a change until everything rests.
    async fn settle(
        &self,
        arguments: &ScheduleArguments,
        osads: &mut Osads,
        has_changed: bool,
    ) -> Result<(), SwarmError> {
        self.everybody_online(arguments.site.agents + arguments.osads).await?;
        if has_changed {
            tokio::time::sleep(Duration::from_secs(arguments.site.settle_secs)).await;
        }
        self.drain(osads.systems()).await?;
        osads.check()
    }

    /// One repeat.
    async fn measure(&mut self, arguments: &ScheduleArguments, osads: &mut Osads) -> Result<(), SwarmError> {
        if self.site.jabberd_in_use().is_some() {
            self.results
                .passage
                .append(passage::measure(&self.site.target()?).await?);
        }
        self.singles(osads.systems(), arguments).await?;
        osads.check()?;
        self.fan_out(arguments.site.agents, osads).await?;
        self.requests(arguments.site.agents, osads).await
    }

    async fn everybody_online(&self, wanted: usize) -> Result<(), SwarmError> {
        let online = async || Ok(self.owner.online().await? >= wanted);
        until("everybody online", self.site.dispatcher.log(), ONLINE_PATIENCE, online).await?;
        Ok(())
    }

    /// The checks that every agent runs once after its start are none of ours.
    async fn drain(&self, systems: &[System]) -> Result<(), SwarmError> {
        while let Ok(stamp) = tokio::time::timeout(REST, self.next_stamp(systems)).await {
            stamp?;
        }
        Ok(())
    }

    /// The start of the next check, which is carried out.
    async fn next_stamp(&self, systems: &[System]) -> Result<Stamp, SwarmError> {
        let (stamp, check) = self.stamps.next().await;
        if let Some(system) = systems.iter().find(|system| system.name == stamp.name) {
            self.owner.carry_out(system).await?;
        }
        drop(check);
        Ok(stamp)
    }

    /// Actions one after the other, each for another agent.
    async fn singles(&mut self, systems: &[System], arguments: &ScheduleArguments) -> Result<(), SwarmError> {
        let mut rested: HashMap<i64, Instant> = HashMap::new();
        let (mut from_request, mut from_commit) = (Samples::default(), Samples::default());
        for system in systems.iter().cycle().take(arguments.actions) {
            let pause = Duration::from_millis(arguments.pause_ms).mul_f64(2.0 * random_share());
            tokio::time::sleep(pause).await;
            if let Some(at) = rested.get(&system.id) {
                tokio::time::sleep_until((*at).into()).await;
            }
            let scheduled = self.owner.schedule(system).await?;
            let started = self.started(system, systems, scheduled.asked).await?;
            // A check that is started before the commit is answered took no time from there.
            from_request.push(millis(started.saturating_sub(scheduled.asked)));
            from_commit.push(millis(started.saturating_sub(scheduled.committed)));
            rested.insert(system.id, Instant::now() + REST);
        }
        self.results.take(from_request, from_commit);
        Ok(())
    }

    async fn started(&self, system: &System, systems: &[System], after: Duration) -> Result<Duration, SwarmError> {
        let waiting = async {
            loop {
                let stamp = self.next_stamp(systems).await?;
                if stamp.name == system.name && stamp.at >= after {
                    return Ok(stamp.at);
                }
            }
        };
        let log = self.site.directory().join(&system.name).join("osad.log");
        let timed_out = |_| SwarmError::TimedOut("the start of a check", PATIENCE.as_secs(), log);
        tokio::time::timeout(PATIENCE, waiting).await.map_err(timed_out)?
    }

    /// One action for everybody: what a push costs the dispatcher, its database and the reports included.
    async fn fan_out(&mut self, agents: usize, osads: &mut Osads) -> Result<(), SwarmError> {
        tokio::time::sleep(REST).await;
        let (ran, before) = (self.flock.runs(), self.site.dispatcher.usage());
        let (jabberd, began) = (self.site.jabberd_in_use(), Instant::now());
        let server_before = jabberd.map(Jabberd::usage);
        self.owner.schedule_all(osads.systems()).await?;
        self.flock.all_ran(ran + agents, self.site.dispatcher.log()).await?;
        self.results.push_wall.push(began.elapsed().as_secs_f64());
        // The reports and their acknowledgements are still on their way.
        tokio::time::sleep(PUSH_END).await;
        let pushes = agents + osads.systems().len();
        self.results
            .push_cpu
            .add(&before, &self.site.dispatcher.usage(), pushes);
        if let (Some(jabberd), Some(before)) = (jabberd, server_before) {
            self.results.server_cpu.add(&before, &jabberd.usage(), pushes);
        }
        self.drain(osads.systems()).await?;
        osads.check()
    }

    /// One action for everybody, to which nobody listens at first: what claiming and sending the requests costs. Only
    /// the `osad`s answer at once.
    async fn requests(&mut self, agents: usize, osads: &mut Osads) -> Result<(), SwarmError> {
        self.flock.turn_deaf(true);
        tokio::time::sleep(REST).await;
        let (ran, before) = (self.flock.runs(), self.site.dispatcher.usage());
        self.owner.schedule_all(osads.systems()).await?;
        tokio::time::sleep(PUSH_END).await;
        let pushes = agents + osads.systems().len();
        self.results
            .send_cpu
            .add(&before, &self.site.dispatcher.usage(), pushes);
        self.flock.turn_deaf(false);
        self.flock.all_ran(ran + agents, self.site.dispatcher.log()).await?;
        tokio::time::sleep(PUSH_END).await;
        self.drain(osads.systems()).await?;
        osads.check()
    }
}
