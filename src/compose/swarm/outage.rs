//! The site's server is killed under all its clients, and comes back: what that costs them, and that it costs no action.
//!
//! By turns nothing is under way when it is killed, and everybody is being pushed. Fails if something is lost, run
//! twice, or shown wrong for too long.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::arguments::OutageArguments;
use super::error::SwarmError;
use super::flock::{Flock, Tally};
use super::numbers::{Report, Samples};
use super::satellite::Satellite;
use super::site::Site;
use super::transport::Transport;
use super::until::until;

/// How long the web interface may show what is not so.
const SHOWN_WITHIN: Duration = Duration::from_secs(90);
/// How long everything else may take.
const PATIENCE: Duration = Duration::from_secs(240);
/// From the commit of the pushes that are under way to the kill.
const UNDER_WAY: Duration = Duration::from_millis(50);

/// Measures, and reports.
pub(super) async fn run(arguments: &OutageArguments) -> Result<(), SwarmError> {
    let common = &arguments.site;
    let mut report = Report::new(common.json);
    report.progress("making a site");
    let mut site = Site::open(common, Some(&arguments.history())).await?;
    let Some(satellite) = site.satellite.clone() else {
        return Ok(());
    };
    site.add_jabberd(&satellite.usernames().await?)?;
    site.change_to(Transport::Jabberd).await?;
    let flock = site.flock(common.in_flight)?;
    flock.start(&site.members);
    let mut run = Run {
        outage: Duration::from_secs(arguments.outage_secs),
        settle: Duration::from_secs(common.settle_secs),
        systems: site.members.iter().map(|member| member.system).collect(),
        site: &mut site,
        satellite: &satellite,
        flock: &flock,
        results: Results::default(),
    };
    let took = run.everybody_shown(true).await?;
    report.say("first_all_shown_online_s", &Samples::from(took.as_secs_f64()));
    // From now on they come as they are, all at once.
    flock.open_gate();
    tokio::time::sleep(run.settle).await;
    for repeat in 0..common.repeats {
        let under_pushes = repeat % 2 == 1;
        report.progress(format_args!("repeat {repeat}, under pushes: {under_pushes}"));
        run.outage(under_pushes).await?;
    }
    run.results.tell(report, flock.failures());
    Ok(())
}

#[derive(Default)]
struct Results {
    offline: Samples,
    logged_in: Samples,
    pushable: Samples,
    online: Samples,
    done: Samples,
}

impl Results {
    fn tell(&self, mut report: Report, failures: usize) {
        report.say("killed_until_all_shown_offline_s", &self.offline);
        report.say("served_until_dispatcher_logged_in_s", &self.logged_in);
        report.say("served_until_all_pushable_s", &self.pushable);
        report.say("served_until_all_shown_online_s", &self.online);
        report.say("served_until_all_due_done_s", &self.done);
        report.say("failed_connections", &Samples::from(failures));
        report.finish();
    }
}

struct Run<'a> {
    outage: Duration,
    settle: Duration,
    systems: Vec<i64>,
    site: &'a mut Site,
    satellite: &'a Arc<Satellite>,
    flock: &'a Rc<Flock>,
    results: Results,
}

impl Run<'_> {
    async fn outage(&mut self, under_pushes: bool) -> Result<(), SwarmError> {
        let before = self.flock.tallies();
        if under_pushes {
            self.satellite.schedule(&self.systems).await?;
            tokio::time::sleep(UNDER_WAY).await;
        }
        self.jabberd()?.kill();
        let offline = self.everybody_shown(false).await?;
        self.satellite.schedule(&self.systems).await?;
        tokio::time::sleep(self.outage.saturating_sub(offline)).await;
        self.jabberd()?.launch().await?;
        let (logged_in, pushable, online, done) = tokio::try_join!(
            self.dispatcher_logged_in(),
            self.everybody_pushable(),
            self.everybody_shown(true),
            self.nothing_left()
        )?;
        // What comes twice would come now.
        tokio::time::sleep(self.settle).await;
        self.nobody_left_out(&before, if under_pushes { 2 } else { 1 })?;
        for (samples, took) in [
            (&mut self.results.offline, offline),
            (&mut self.results.logged_in, logged_in),
            (&mut self.results.pushable, pushable),
            (&mut self.results.online, online),
            (&mut self.results.done, done),
        ] {
            samples.push(took.as_secs_f64());
        }
        Ok(())
    }

    fn jabberd(&mut self) -> Result<&mut super::jabberd::Jabberd, SwarmError> {
        self.site.jabberd.as_mut().ok_or(SwarmError::NoJabberd)
    }

    async fn everybody_shown(&self, is_online: bool) -> Result<Duration, SwarmError> {
        let (what, wanted) = match is_online {
            true => ("everybody shown online", self.systems.len()),
            false => ("everybody shown offline", 0),
        };
        let shown = async || Ok(self.satellite.shown_online().await? == wanted);
        until(what, self.site.dispatcher.log(), SHOWN_WITHIN, shown).await
    }

    async fn dispatcher_logged_in(&self) -> Result<Duration, SwarmError> {
        let logged_in = async || Ok(self.site.upstream().await?.jid.is_some());
        until(
            "the dispatcher's login",
            self.site.dispatcher.log(),
            PATIENCE,
            logged_in,
        )
        .await
    }

    async fn everybody_pushable(&self) -> Result<Duration, SwarmError> {
        let online = async || Ok(self.satellite.online().await? == self.systems.len());
        until("everybody pushable", self.site.dispatcher.log(), PATIENCE, online).await
    }

    async fn nothing_left(&self) -> Result<Duration, SwarmError> {
        let done = async || Ok(self.satellite.left().await? == 0);
        until("what was due done", self.site.dispatcher.log(), PATIENCE, done).await
    }

    /// Whether each system checked at least once, and at most so often: once for each time that something became due,
    /// and once more for each connection that it lost again, as nobody knows what became of a request on that.
    fn nobody_left_out(&self, before: &BTreeMap<i64, Tally>, most: usize) -> Result<(), SwarmError> {
        let after = self.flock.tallies();
        let tally = |of: &BTreeMap<i64, Tally>, system| of.get(system).copied().unwrap_or_default();
        let wrong = self.systems.iter().find_map(|system| {
            let (now, then) = (tally(&after, system), tally(before, system));
            let (checks, welcomes) = (now.checks - then.checks, now.welcomes - then.welcomes);
            let most = most + welcomes.saturating_sub(1);
            (!(1..=most).contains(&checks)).then_some((system, checks, most))
        });
        match wrong {
            None => Ok(()),
            Some((system, checks, most)) => Err(SwarmError::Wrong(format!(
                "system {system} checked {checks} times instead of 1 to {most}"
            ))),
        }
    }
}
