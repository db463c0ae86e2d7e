//! The dispatcher at a site's own server with thousands of contacts, of whom some are there.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::arguments::ContactsArguments;
use super::connect::mebibytes;
use super::error::SwarmError;
use super::flock::Flock;
use super::numbers::{Report, Samples, millis};
use super::process::Usage;
use super::satellite::Satellite;
use super::site::Site;
use super::transport::Transport;
use super::until::until;

/// How long any of it may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Measures, and reports.
pub(super) async fn run(arguments: &ContactsArguments) -> Result<(), SwarmError> {
    let report = Report::new(arguments.site.json);
    report.progress(format_args!("making {} systems", arguments.contacts));
    let mut site = Site::open(&arguments.site, Some(&arguments.history())).await?;
    let Some(satellite) = site.satellite.clone() else {
        return Ok(());
    };
    let usernames = satellite.usernames().await?;
    site.add_jabberd(&usernames)?;
    let flock = site.flock(arguments.site.in_flight)?;
    let mut run = Run {
        arguments,
        usernames,
        site: &mut site,
        satellite: &satellite,
        flock: &flock,
        report,
    };
    run.rest().await;
    run.memory("without_contacts");
    run.first_synchronisation().await?;
    run.first_presences().await?;
    run.full_roster().await?;
    run.presences().await?;
    run.idle().await;
    // From now on they come as they are, all at once.
    flock.open_gate();
    for repeat in 0..arguments.site.repeats {
        run.report.progress(format_args!("restarts, repeat {repeat}"));
        run.restart_of_dispatcher(repeat % 2 == 1).await?;
        run.restart_of_server().await?;
    }
    run.memory("at_the_end");
    run.report.finish();
    Ok(())
}

struct Run<'a> {
    arguments: &'a ContactsArguments,
    /// Of all accounts.
    usernames: Vec<String>,
    site: &'a mut Site,
    satellite: &'a Arc<Satellite>,
    flock: &'a Rc<Flock>,
    report: Report,
}

impl Run<'_> {
    fn say(&mut self, name: &str, value: f64) {
        self.report.say(name, &Samples::from(value));
    }

    fn memory(&mut self, when: &str) {
        let resident = self.site.dispatcher.usage().resident;
        self.say(&format!("rss_{when}_mib"), mebibytes(resident));
    }

    /// CPU of both since then.
    fn cpu(&mut self, what: &str, dispatcher: &Usage, server: &Usage) {
        let used = |before: &Usage, after: Usage| millis(after.cpu.saturating_sub(before.cpu));
        let of_dispatcher = used(dispatcher, self.site.dispatcher.usage());
        self.say(&format!("{what}_cpu_ms"), of_dispatcher);
        let of_server = used(server, self.server());
        self.say(&format!("{what}_cpu_server_ms"), of_server);
    }

    fn server(&self) -> Usage {
        self.site
            .jabberd_in_use()
            .map_or_else(Usage::default, |jabberd| jabberd.usage())
    }

    async fn rest(&self) {
        tokio::time::sleep(Duration::from_secs(self.arguments.site.settle_secs)).await;
    }

    /// A server that knows nothing of the dispatcher: nobody is there, all are asked.
    async fn first_synchronisation(&mut self) -> Result<(), SwarmError> {
        self.report.progress("first synchronisation");
        self.site.change_to(Transport::Jabberd).await?;
        let (began, server) = (Instant::now(), self.server());
        let log = self.site.dispatcher.log().to_owned();
        let jabberd = self.site.jabberd_in_use().ok_or(SwarmError::NoJabberd)?;
        let all_asked = async || Ok(jabberd.contacts()? >= self.usernames.len());
        until("a subscription for everybody", &log, PATIENCE, all_asked).await?;
        self.say("first_synchronisation_s", began.elapsed().as_secs_f64());
        self.cpu("first_synchronisation", &Usage::default(), &server);
        self.rest().await;
        self.memory("all_asked");
        Ok(())
    }

    /// Agents come, find that they were asked, approve, and are seen.
    async fn first_presences(&mut self) -> Result<(), SwarmError> {
        self.report.progress("agents come for the first time");
        self.flock.start(&self.site.members);
        let took = self.everybody_pushable().await?;
        self.say("first_presences_all_pushable_s", took.as_secs_f64());
        Ok(())
    }

    /// Everybody is a contact, and nobody is there.
    async fn full_roster(&mut self) -> Result<(), SwarmError> {
        self.report.progress("start with the full roster");
        let hold = self.flock.hold().await;
        self.site.restart_with_contacts(&self.usernames).await?;
        self.flock.all_down(self.site.dispatcher.log()).await?;
        self.say("full_roster_start_s", self.site.started_in.as_secs_f64());
        self.rest().await;
        self.memory("full_roster");
        self.cpu("full_roster_start", &Usage::default(), &Usage::default());
        drop(hold);
        Ok(())
    }

    /// Agents come as they do every day.
    async fn presences(&mut self) -> Result<(), SwarmError> {
        self.report.progress("agents come");
        let (dispatcher, server) = (self.site.dispatcher.usage(), self.server());
        let took = self.everybody_pushable().await?;
        self.say("presences_all_pushable_s", took.as_secs_f64());
        self.cpu("presences", &dispatcher, &server);
        self.rest().await;
        self.memory("full_roster_with_agents");
        Ok(())
    }

    async fn idle(&mut self) {
        self.report.progress("idle");
        let (dispatcher, server) = (self.site.dispatcher.usage(), self.server());
        let began = Instant::now();
        tokio::time::sleep(Duration::from_secs(self.arguments.idle_secs)).await;
        let span = began.elapsed().as_secs_f64();
        let (dispatcher_after, server_after) = (self.site.dispatcher.usage(), self.server());
        let per_second = |before: Duration, after: Duration| millis(after.saturating_sub(before)) / span;
        for (name, cpu) in [
            ("dispatcher", per_second(dispatcher.cpu, dispatcher_after.cpu)),
            (
                "dispatcher_store_threads",
                per_second(dispatcher.store_cpu, dispatcher_after.store_cpu),
            ),
            ("server", per_second(server.cpu, server_after.cpu)),
        ] {
            self.say(&format!("idle_cpu_{name}_ms_per_s"), cpu);
        }
    }

    /// Agents stay where they are.
    async fn restart_of_dispatcher(&mut self, by_crash: bool) -> Result<(), SwarmError> {
        let (name, server) = (if by_crash { "crash" } else { "restart" }, self.server());
        match by_crash {
            true => self.site.crash_and_restart().await?,
            false => self.site.restart().await?,
        }
        let until_login = self.site.started_in;
        let took = until_login + self.everybody_pushable().await?;
        self.say(&format!("dispatcher_{name}_until_login_s"), until_login.as_secs_f64());
        self.say(&format!("dispatcher_{name}_all_pushable_s"), took.as_secs_f64());
        self.cpu(&format!("dispatcher_{name}"), &Usage::default(), &server);
        self.rest().await;
        self.memory("after_restart");
        Ok(())
    }

    /// All connections end, and all come back.
    async fn restart_of_server(&mut self) -> Result<(), SwarmError> {
        tokio::time::sleep(Duration::from_secs(self.arguments.stable_secs)).await;
        let dispatcher = self.site.dispatcher.usage();
        if let Some(jabberd) = &mut self.site.jabberd {
            jabberd.stop();
        }
        let nobody = async || Ok(self.satellite.online().await? == 0);
        until("nobody online", self.site.dispatcher.log(), PATIENCE, nobody).await?;
        if let Some(jabberd) = &mut self.site.jabberd {
            jabberd.launch().await?;
        }
        let served = Instant::now();
        let log = self.site.dispatcher.log();
        let logged_in = async || Ok(self.site.is_reachable().await);
        let until_login = until("the dispatcher's login", log, PATIENCE, logged_in).await?;
        self.say("server_restart_until_login_s", until_login.as_secs_f64());
        self.everybody_pushable().await?;
        let took = served.elapsed();
        self.say("server_restart_all_pushable_s", took.as_secs_f64());
        self.cpu("server_restart", &dispatcher, &Usage::default());
        self.rest().await;
        Ok(())
    }

    async fn everybody_pushable(&self) -> Result<Duration, SwarmError> {
        let wanted = self.arguments.site.agents;
        let log = self.site.dispatcher.log();
        let pushable = async || {
            let available = self.site.upstream().await?.available;
            let is_seen = available.is_some_and(|available| available >= wanted);
            Ok(is_seen && self.satellite.online().await? >= wanted)
        };
        until("everybody pushable", log, PATIENCE, pushable).await
    }
}
