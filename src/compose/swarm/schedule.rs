//! From the committed row to the start of the check.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::arguments::ScheduleArguments;
use super::connect::count;
use super::control::Control;
use super::error::SwarmError;
use super::flock::Flock;
use super::numbers::{Report, Samples, millis, wall_clock};
use super::osads::Osads;
use super::process::Usage;
use super::site::{Site, beside_us, random_share};
use super::stamp::{self, Stamps};
use crate::compose::control::requests::Selection;

/// Longest wait for one check, and for everybody to be online.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the dispatcher is asked whether everybody is online.
const ASK_INTERVAL: Duration = Duration::from_millis(200);
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
    let report = Report::new(common.json);
    report.progress(format_args!("making {} systems", common.agents));
    let site = Site::open(common).await?;
    let flock = site.flock(common.in_flight)?;
    flock.start(&site.members);
    flock.all_up(common.agents, site.dispatcher.log()).await?;
    let control = Control(site.control_socket());
    let socket = site.directory().join("stamps.sock");
    let stamps = Stamps::listen(&socket)?;
    let floor = floor(&stamps, &socket).await?;
    report.progress(format_args!("starting {} osad", arguments.osads));
    let mut osads = Osads::start(&site, &control, arguments.osad.as_ref(), arguments.osads, &socket).await?;
    let mut run = Run {
        site: &site,
        flock: &flock,
        control: &control,
        stamps: &stamps,
        results: Results {
            floor,
            ..Results::default()
        },
    };
    run.everybody_online(common.agents + arguments.osads).await?;
    tokio::time::sleep(Duration::from_secs(common.settle_secs)).await;
    run.drain().await;
    for repeat in 0..common.repeats {
        report.progress(format_args!("actions, repeat {repeat}"));
        run.singles(osads.names(), arguments).await?;
        osads.check()?;
    }
    for repeat in 0..common.repeats {
        report.progress(format_args!("one action for all, repeat {repeat}"));
        run.fan_out(common.agents, &mut osads).await?;
        run.requests(common.agents, &mut osads).await?;
    }
    run.results.tell(report, &osads);
    Ok(())
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
        let stamp = stamps.next().await;
        samples.push(millis(stamp.at.saturating_sub(began)));
        // It has nothing more to do.
        let _ = child.wait();
    }
    Ok(samples)
}

#[derive(Default)]
struct Results {
    floor: Samples,
    from_request: Samples,
    from_commit: Samples,
    p50: Samples,
    p99: Samples,
    send_cpu: Cpu,
    push_cpu: Cpu,
    push_wall: Samples,
}

impl Results {
    fn tell(&self, mut report: Report, osads: &Osads) {
        report.distribution("check_started_directly_ms", &self.floor);
        report.distribution("request_to_check_ms", &self.from_request);
        report.say("request_to_check_p50_ms", &self.p50);
        report.say("request_to_check_p99_ms", &self.p99);
        report.distribution("commit_to_check_ms", &self.from_commit);
        report.say("cpu_per_1000_requests_ms", &self.send_cpu.total);
        report.say("cpu_per_1000_requests_without_store_ms", &self.send_cpu.without_store);
        report.say("cpu_per_1000_pushes_ms", &self.push_cpu.total);
        report.say("cpu_per_1000_pushes_without_store_ms", &self.push_cpu.without_store);
        report.say("fan_out_all_checked_s", &self.push_wall);
        report.say(
            "osad_rss_max_kib",
            &Samples::from(usize::try_from(osads.resident_max() / 1024).unwrap_or(0)),
        );
        report.finish();
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
    control: &'a Control,
    stamps: &'a Stamps,
    results: Results,
}

impl Run<'_> {
    async fn everybody_online(&self, wanted: usize) -> Result<(), SwarmError> {
        let asking = async {
            while self.control.status().await?.online < Some(wanted) {
                tokio::time::sleep(ASK_INTERVAL).await;
            }
            Ok(())
        };
        let log = self.site.dispatcher.log().to_owned();
        let timed_out = |_| SwarmError::TimedOut("everybody online", PATIENCE.as_secs(), log);
        tokio::time::timeout(PATIENCE, asking).await.map_err(timed_out)?
    }

    /// The checks that every agent runs once after its start are none of ours.
    async fn drain(&self) {
        while tokio::time::timeout(REST, self.stamps.next()).await.is_ok() {}
    }

    /// Actions one after the other, each for another agent.
    async fn singles(&mut self, names: &[String], arguments: &ScheduleArguments) -> Result<(), SwarmError> {
        let mut rested: HashMap<&str, Instant> = HashMap::new();
        let mut latencies = Samples::default();
        for name in names.iter().cycle().take(arguments.actions) {
            let pause = Duration::from_millis(arguments.pause_ms).mul_f64(2.0 * random_share());
            tokio::time::sleep(pause).await;
            if let Some(at) = rested.get(name.as_str()) {
                tokio::time::sleep_until((*at).into()).await;
            }
            let latency = self.single(name).await?;
            latencies.push(latency);
            rested.insert(name, Instant::now() + REST);
        }
        self.results.p50.push(latencies.quantile(0.5));
        self.results.p99.push(latencies.quantile(0.99));
        self.results.from_request.append(latencies);
        Ok(())
    }

    /// One action; milliseconds from before the request was written, so the commit and its flush are inside.
    async fn single(&mut self, name: &str) -> Result<f64, SwarmError> {
        let asked = wall_clock();
        let committed = self.control.schedule(Selection::Named(vec![name.to_owned()])).await?;
        let started = self.started(name).await?;
        self.results.from_commit.push(millis(started.saturating_sub(committed)));
        Ok(millis(started.saturating_sub(asked)))
    }

    async fn started(&self, name: &str) -> Result<Duration, SwarmError> {
        let waiting = async {
            loop {
                let stamp = self.stamps.next().await;
                if stamp.name == name {
                    return stamp.at;
                }
            }
        };
        let log = self.site.directory().join(name).join("osad.log");
        let timed_out = |_| SwarmError::TimedOut("the start of a check", PATIENCE.as_secs(), log);
        tokio::time::timeout(PATIENCE, waiting).await.map_err(timed_out)
    }

    /// One action for everybody: what a push costs the dispatcher, its database and the reports included.
    async fn fan_out(&mut self, agents: usize, osads: &mut Osads) -> Result<(), SwarmError> {
        tokio::time::sleep(REST).await;
        let (ran, before) = (self.flock.runs(), self.site.dispatcher.usage());
        let began = Instant::now();
        self.control.schedule(Selection::All).await?;
        self.flock.all_ran(ran + agents, self.site.dispatcher.log()).await?;
        self.results.push_wall.push(began.elapsed().as_secs_f64());
        // The reports and their acknowledgements are still on their way.
        tokio::time::sleep(PUSH_END).await;
        let pushes = agents + osads.names().len();
        self.results
            .push_cpu
            .add(&before, &self.site.dispatcher.usage(), pushes);
        self.drain().await;
        osads.check()
    }

    /// One action for everybody, to which nobody listens at first: what claiming and sending the requests costs. Only
    /// the `osad`s answer at once.
    async fn requests(&mut self, agents: usize, osads: &mut Osads) -> Result<(), SwarmError> {
        self.flock.turn_deaf(true);
        tokio::time::sleep(REST).await;
        let (ran, before) = (self.flock.runs(), self.site.dispatcher.usage());
        self.control.schedule(Selection::All).await?;
        tokio::time::sleep(PUSH_END).await;
        let pushes = agents + osads.names().len();
        self.results
            .send_cpu
            .add(&before, &self.site.dispatcher.usage(), pushes);
        self.flock.turn_deaf(false);
        self.flock.all_ran(ran + agents, self.site.dispatcher.log()).await?;
        tokio::time::sleep(PUSH_END).await;
        self.drain().await;
        osads.check()
    }
}
