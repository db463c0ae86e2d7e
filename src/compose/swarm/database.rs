//! What a dispatcher costs the database of a Satellite.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::arguments::DatabaseArguments;
use super::connect::count;
use super::error::SwarmError;
use super::flock::Flock;
use super::numbers::{Report, Samples, millis};
use super::process::Usage;
use super::satellite::{NATURAL_JOIN, Satellite, Spent};
use super::site::Site;
use super::until::until;

/// How often the natural join is run.
const JOINS: usize = 5;
/// How long it may take until everybody is online.
const PATIENCE: Duration = Duration::from_secs(300);

/// Measures, and reports.
pub(super) async fn run(arguments: &DatabaseArguments) -> Result<(), SwarmError> {
    let mut report = Report::new(arguments.site.json);
    report.progress("making a Satellite");
    let mut site = Site::open(&arguments.site, Some(&arguments.history)).await?;
    let Some(satellite) = site.satellite.clone() else {
        return Ok(());
    };
    let flock = site.flock(arguments.site.in_flight)?;
    flock.start(&site.members);
    for (name, triggers) in [("polled", false), ("notified", true)] {
        if triggers {
            satellite.set_triggers(true).await?;
            site.restart().await?;
        }
        let mut run = Run {
            name,
            arguments,
            site: &site,
            satellite: &satellite,
            flock: &flock,
            report: &mut report,
        };
        run.start().await?;
        run.listen_connects().await?;
        run.listen_idle().await?;
        run.cost_idle().await?;
        run.cost_pushes().await?;
        run.listen_pushes().await?;
    }
    report.finish();
    Ok(())
}

struct Run<'a> {
    /// How the dispatcher learns of new actions.
    name: &'static str,
    arguments: &'a DatabaseArguments,
    site: &'a Site,
    satellite: &'a Arc<Satellite>,
    flock: &'a Rc<Flock>,
    report: &'a mut Report,
}

impl Run<'_> {
    fn say(&mut self, what: &str, value: f64) {
        let mut samples = Samples::default();
        samples.push(value);
        self.report.say(&format!("{}_{what}", self.name), &samples);
    }

    /// The dispatcher's start, which lies behind us, until all agents may be pushed.
    async fn start(&mut self) -> Result<(), SwarmError> {
        let (wanted, began) = (self.site.members.len(), std::time::Instant::now());
        let online = async || Ok(self.satellite.online().await? >= wanted);
        until("everybody online", self.site.dispatcher.log(), PATIENCE, online).await?;
        let until_online = self.site.started_in + began.elapsed();
        self.say("start_until_listening_ms", millis(self.site.started_in));
        self.say("start_until_all_online_ms", millis(until_online));
        self.say("failed_connections", count(self.flock.failures()));
        tokio::time::sleep(self.settle()).await;
        Ok(())
    }

    /// CPU of the database and of the dispatcher, while nothing happens.
    async fn cost_idle(&mut self) -> Result<(), SwarmError> {
        self.report.progress(format_args!("{}: cost while idle", self.name));
        let span = Duration::from_secs(self.arguments.cost_secs);
        let before = self.site.dispatcher.usage();
        let spent = self.satellite.backends().await?.spend(span).await?;
        self.tell("idle", &spent, &before);
        Ok(())
    }

    /// The same, under pushes.
    async fn cost_pushes(&mut self) -> Result<(), SwarmError> {
        self.report.progress(format_args!("{}: cost under pushes", self.name));
        let span = Duration::from_secs(self.arguments.cost_secs);
        let watching = self.satellite.backends().await?;
        let (before, ran) = (self.site.dispatcher.usage(), self.flock.runs());
        let spent = self.under_pushes(self.arguments.pushes, watching.spend(span)).await?;
        let runs = count(self.flock.runs() - ran);
        self.say("pushes_checks_per_s", runs / spent.time.as_secs_f64());
        self.tell("pushes", &spent, &before);
        Ok(())
    }

    fn tell(&mut self, when: &str, spent: &Spent, before: &Usage) {
        let after = self.site.dispatcher.usage();
        let per_second = |cpu: Duration| millis(cpu) / spent.time.as_secs_f64();
        for (who, cpu) in [
            ("database_for_dispatcher", spent.dispatcher),
            ("database_for_satellite", spent.satellite),
            ("database_for_itself", spent.server),
            ("dispatcher", after.cpu.saturating_sub(before.cpu)),
            (
                "dispatcher_store_threads",
                after.store_cpu.saturating_sub(before.store_cpu),
            ),
        ] {
            self.say(&format!("{when}_cpu_{who}_ms_per_s"), per_second(cpu));
        }
    }

    /// What comes of `until`, while actions are scheduled.
    async fn under_pushes<T>(
        &self,
        per_second: u32,
        until: impl Future<Output = Result<T, SwarmError>>,
    ) -> Result<T, SwarmError> {
        let systems: Vec<i64> = self.site.members.iter().map(|member| member.system).collect();
        tokio::select! {
            done = until => done,
            failed = self.satellite.schedule_steadily(&systems, per_second) => {
                failed?;
                Err(SwarmError::Rejected("no agents".to_owned()))
            }
        }
    }

    /// Statements with their plans while all agents come back.
    async fn listen_connects(&mut self) -> Result<(), SwarmError> {
        self.report
            .progress(format_args!("{}: statements while agents connect", self.name));
        let statements = self.satellite.statements().await?;
        let log = self.site.dispatcher.log();
        self.flock.cut_all();
        self.flock.all_down(log).await?;
        self.flock.all_up(self.site.members.len(), log).await?;
        tokio::time::sleep(self.settle()).await;
        let heard = statements.heard().await?;
        heard.tell(self.report, &format!("{}_connect_statements", self.name));
        Ok(())
    }

    fn settle(&self) -> Duration {
        Duration::from_secs(self.arguments.site.settle_secs)
    }

    /// Statements with their plans while nothing happens, and beside them what everybody would ask first.
    async fn listen_idle(&mut self) -> Result<(), SwarmError> {
        self.report
            .progress(format_args!("{}: statements while idle", self.name));
        let statements = self.satellite.statements().await?;
        tokio::time::sleep(self.listen_span()).await;
        let mut heard = statements.heard().await?;
        let client = self.satellite.connect().await?;
        heard.compare(&client, NATURAL_JOIN, JOINS).await?;
        heard.tell(self.report, &format!("{}_idle_statements", self.name));
        Ok(())
    }

    /// The same under few pushes, as the server has to write a plan for each statement.
    async fn listen_pushes(&mut self) -> Result<(), SwarmError> {
        self.report
            .progress(format_args!("{}: statements under pushes", self.name));
        let statements = self.satellite.statements().await?;
        let span = self.listen_span();
        let pause = async move {
            tokio::time::sleep(span).await;
            Ok(())
        };
        self.under_pushes(self.arguments.pushes.div_ceil(10), pause).await?;
        let heard = statements.heard().await?;
        heard.tell(self.report, &format!("{}_push_statements", self.name));
        Ok(())
    }

    fn listen_span(&self) -> Duration {
        Duration::from_secs(self.arguments.listen_secs)
    }
}
