//! Logins, memory, herds.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::arguments::ConnectArguments;
use super::error::SwarmError;
use super::flock::Flock;
use super::numbers::{Report, Samples};
use super::process::Usage;
use super::site::Site;

/// After a cut, agents wait up to a second before they knock.
const ALL_KNOCK: Duration = Duration::from_millis(1_100);

/// Measures, and reports.
pub(super) async fn run(arguments: &ConnectArguments) -> Result<(), SwarmError> {
    let arguments = &arguments.site;
    let report = Report::new(arguments.json);
    report.progress(format_args!("making {} systems", arguments.agents));
    let mut site = Site::open(arguments, None).await?;
    let flock = site.flock(arguments.in_flight)?;
    let mut run = Run {
        count: arguments.agents,
        settle: Duration::from_secs(arguments.settle_secs),
        flock: &flock,
        results: Results::default(),
    };
    run.logins(&site, arguments.repeats, &report).await?;
    flock.open_gate();
    run.herds(&site, arguments.repeats, &report).await?;
    run.crashes(&mut site, arguments.repeats, &report).await?;
    run.results.tell(report, flock.failures());
    Ok(())
}

#[derive(Default)]
struct Results {
    empty: Samples,
    per_agent: Samples,
    rate: Samples,
    login_cpu: Samples,
    login_store_cpu: Samples,
    login_wall: Samples,
    idle_cpu: Samples,
    herd: Samples,
    herd_cpu: Samples,
    herd_resident: Samples,
    crash: Samples,
}

impl Results {
    fn tell(&self, mut report: Report, failures: usize) {
        report.say("rss_empty_mib", &self.empty);
        report.say("rss_per_idle_agent_bytes", &self.per_agent);
        report.say("logins_per_second", &self.rate);
        report.say("cpu_per_login_us", &self.login_cpu);
        report.say("store_cpu_per_login_us", &self.login_store_cpu);
        report.distribution("login_wall_ms", &self.login_wall);
        report.say("idle_cpu_per_agent_us_per_s", &self.idle_cpu);
        report.say("herd_all_back_s", &self.herd);
        report.say("herd_cpu_per_login_us", &self.herd_cpu);
        report.say("rss_after_herd_mib", &self.herd_resident);
        report.say("crash_all_back_s", &self.crash);
        report.say("failed_connections", &Samples::from(failures));
        report.finish();
    }
}

struct Run<'a> {
    count: usize,
    settle: Duration,
    flock: &'a Rc<Flock>,
    results: Results,
}

impl Run<'_> {
    /// Paced logins: the first ones with the memory they take, then again.
    async fn logins(&mut self, site: &Site, repeats: usize, report: &Report) -> Result<(), SwarmError> {
        tokio::time::sleep(self.settle).await;
        let empty = site.dispatcher.usage();
        self.results.empty.push(mebibytes(empty.resident));
        let hold = self.flock.hold().await;
        self.flock.start(&site.members);
        drop(hold);
        self.paced(site).await?;
        self.idle(site, &empty).await;
        for repeat in 1..repeats {
            report.progress(format_args!("logins, repeat {repeat}"));
            let hold = self.flock.hold().await;
            self.flock.cut_all();
            self.flock.all_down(site.dispatcher.log()).await?;
            tokio::time::sleep(ALL_KNOCK).await;
            drop(hold);
            self.paced(site).await?;
        }
        Ok(())
    }

    async fn paced(&mut self, site: &Site) -> Result<(), SwarmError> {
        let before = site.dispatcher.usage();
        let took = self.flock.all_up(self.count, site.dispatcher.log()).await?;
        self.results.rate.push(count(self.count) / took.as_secs_f64());
        let used = site.dispatcher.usage();
        let cpu = self.per_login(used.cpu.saturating_sub(before.cpu));
        self.results.login_cpu.push(cpu);
        let cpu = self.per_login(used.store_cpu.saturating_sub(before.store_cpu));
        self.results.login_store_cpu.push(cpu);
        self.results.login_wall.append(self.flock.take_logins());
        Ok(())
    }

    async fn idle(&mut self, site: &Site, empty: &Usage) {
        let before = site.dispatcher.usage();
        let began = Instant::now();
        tokio::time::sleep(self.settle).await;
        let after = site.dispatcher.usage();
        let grown = count_bytes(after.resident.saturating_sub(empty.resident));
        self.results.per_agent.push(grown / count(self.count));
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6;
        let per_second = cpu / began.elapsed().as_secs_f64();
        self.results.idle_cpu.push(per_second / count(self.count));
    }

    /// Everybody loses the connection at one moment and comes back as `osad` does.
    async fn herds(&mut self, site: &Site, repeats: usize, report: &Report) -> Result<(), SwarmError> {
        for repeat in 0..repeats {
            report.progress(format_args!("herd {repeat}"));
            let before = site.dispatcher.usage();
            let began = Instant::now();
            self.flock.cut_all();
            self.flock.all_down(site.dispatcher.log()).await?;
            self.flock.all_up(self.count, site.dispatcher.log()).await?;
            self.results.herd.push(began.elapsed().as_secs_f64());
            let used = site.dispatcher.usage().cpu.saturating_sub(before.cpu);
            self.results.herd_cpu.push(self.per_login(used));
            tokio::time::sleep(self.settle).await;
            let resident = site.dispatcher.usage().resident;
            self.results.herd_resident.push(mebibytes(resident));
        }
        Ok(())
    }

    /// The dispatcher is killed and started again at once.
    async fn crashes(&mut self, site: &mut Site, repeats: usize, report: &Report) -> Result<(), SwarmError> {
        for repeat in 0..repeats {
            report.progress(format_args!("crash {repeat}"));
            let began = Instant::now();
            site.crash_and_restart().await?;
            self.flock.all_up(self.count, site.dispatcher.log()).await?;
            self.results.crash.push(began.elapsed().as_secs_f64());
            tokio::time::sleep(self.settle).await;
        }
        Ok(())
    }

    /// Microseconds for each agent.
    fn per_login(&self, used: Duration) -> f64 {
        used.as_secs_f64() * 1e6 / count(self.count)
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub(super) fn count(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn count_bytes(bytes: u64) -> f64 {
    bytes as f64
}

/// For people.
pub(super) fn mebibytes(bytes: u64) -> f64 {
    count_bytes(bytes) / f64::from(1 << 20)
}
