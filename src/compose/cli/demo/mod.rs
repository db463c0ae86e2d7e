//! `demo`: the main job, shown with real processes in a throw-away directory.
//!
//! A dispatcher with its own database, authority and certificate, and some `osad`, each a process of its own. The server
//! is called `localhost`: agents connect by name and refuse addresses, and this name resolves everywhere.

mod board;
mod error;
mod process;
mod site;
mod summary;

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use self::board::Board;
pub use self::error::DemoError;
use self::site::DemoSite;
use self::summary::Summary;
use super::arguments::DemoArgs;
use super::error::CliError;
use super::{Done, output};
use crate::compose::control::answers::{Action, Answer, System};
use crate::compose::control::requests::{ActionQuery, Request, Schedule, Selection};

/// Exit code if an action was not carried out.
const EXIT_FAILED: u8 = 1;
/// How often the dispatcher is asked for what happened.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Actions, one after the other, each for all systems.
const ACTIONS: [&str; 2] = ["update packages", "restart web server"];
/// Actions shown while staying up.
const KEPT_ACTIONS_MAX: usize = 10_000;

/// Shows the main job.
///
/// # Errors
/// [`CliError`]: why it could not be shown.
pub fn demo(args: &DemoArgs) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(CliError::Runtime)?.block_on(run(args))
}

async fn run(args: &DemoArgs) -> Done {
    // From here on Ctrl-C ends nothing before it is cleaned up.
    let interrupted = interrupted();
    let mut site = DemoSite::make(args)?;
    let shown = match select(pin!(show(&mut site, args)), pin!(interrupted)).await {
        Either::Left((shown, _)) => shown,
        Either::Right(_) if args.keep => Ok(0),
        Either::Right(_) => Err(DemoError::Interrupted.into()),
    };
    // Whatever happened, nothing is left behind.
    site.end().await;
    shown
}

/// Returns at Ctrl-C, or when told to end.
fn interrupted() -> impl Future<Output = ()> {
    let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    async move {
        let [Ok(mut interrupt), Ok(mut terminate)] = signals else {
            return std::future::pending().await;
        };
        select(pin!(interrupt.recv()), pin!(terminate.recv())).await;
    }
}

async fn show(site: &mut DemoSite, args: &DemoArgs) -> Done {
    let say = |text: &str| {
        if args.json { Ok(()) } else { output::line(text) }
    };
    let limited = timeout(args.within, async {
        say("starting a dispatcher with its own database, CA and certificate")?;
        site.start_dispatcher().await?;
        say(&format!("starting {} agents, each an osad process", args.agents))?;
        site.start_agents(args.agents).await?;
        wait_until_online(site).await?;
        let mut board = Board::new(args.json);
        carry_out(site, &mut board).await
    });
    let Ok(actions) = limited.await else {
        let within = args.within;
        let reason = what_is_missing(site).await?;
        return Err(DemoError::TooSlow { within, reason }.into());
    };
    let actions = actions?;
    let summary = Summary::of(&actions);
    match args.json {
        true => output::json(&serde_json::json!({ "agents": args.agents, "actions": actions, "summary": summary }))?,
        false => output::print(&summary.in_words())?,
    }
    let code = if summary.carried_out == summary.actions {
        0
    } else {
        EXIT_FAILED
    };
    if args.keep {
        stay_up(site).await?;
    }
    Ok(code)
}

async fn wait_until_online(site: &mut DemoSite) -> Result<(), CliError> {
    loop {
        site.check_processes()?;
        let Answer::Systems(systems) = site.ask(Request::ListSystems).await? else {
            return Err(CliError::OtherAnswer);
        };
        if systems.iter().all(|system: &System| system.online) && site.first_checks_are_over() {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Schedules the actions one after the other, and shows what becomes of them.
async fn carry_out(site: &mut DemoSite, board: &mut Board) -> Result<Vec<Action>, CliError> {
    let mut ids = Vec::new();
    loop {
        let actions = match ids.is_empty() {
            true => Vec::new(),
            false => list(site, ids.clone()).await?,
        };
        board.show(&actions)?;
        if actions.iter().all(board::is_over) {
            match ACTIONS.get(ids.len()) {
                Some(name) => ids.push(schedule(site, name).await?),
                None => return Ok(actions),
            }
        } else {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        site.check_processes()?;
    }
}

async fn schedule(site: &DemoSite, name: &str) -> Result<i64, CliError> {
    let schedule = Schedule {
        name: name.to_owned(),
        systems: Selection::All,
        at: None,
        after: None,
    };
    match site.ask(Request::Schedule(schedule)).await? {
        Answer::Scheduled(scheduled) => Ok(scheduled.id),
        _ => Err(CliError::OtherAnswer),
    }
}

/// The first thing that is not as it should be, and why.
async fn what_is_missing(site: &DemoSite) -> Result<String, CliError> {
    let Answer::Systems(systems) = site.ask(Request::ListSystems).await? else {
        return Err(CliError::OtherAnswer);
    };
    if let Some(offline) = systems.iter().find(|system| !system.online) {
        return Ok(format!("{} is not online", offline.name));
    }
    let Some(waiting) = list(site, Vec::new())
        .await?
        .into_iter()
        .find(|action| !board::is_over(action))
    else {
        return Ok("all that was scheduled is done, but not all was scheduled".to_owned());
    };
    let system = waiting.system.name.clone();
    match site.ask(Request::Explain { system }).await? {
        Answer::Explained(explained) => Ok(format!(
            "action {} ({}) of {}: {}",
            waiting.id, waiting.name, waiting.system.name, explained.verdict
        )),
        _ => Err(CliError::OtherAnswer),
    }
}

/// Oldest first.
async fn list(site: &DemoSite, ids: Vec<i64>) -> Result<Vec<Action>, CliError> {
    let query = ActionQuery {
        ids,
        limit: KEPT_ACTIONS_MAX,
        ..ActionQuery::default()
    };
    let Answer::Actions(mut actions) = site.ask(Request::ListActions(query)).await? else {
        return Err(CliError::OtherAnswer);
    };
    actions.sort_by_key(|action| (action.id, action.system.id));
    Ok(actions)
}

async fn stay_up(site: &mut DemoSite) -> Result<(), CliError> {
    output::print(&site.invitation())?;
    // In lines: a table of everything that was ever tried would outgrow the terminal.
    let mut board = Board::lines();
    board.pass_over(&list(site, Vec::new()).await?);
    loop {
        site.check_processes()?;
        board.show(&list(site, Vec::new()).await?)?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
