//! How the dispatcher and its systems are.

use std::time::Duration;

use super::arguments::{PlainArgs, SystemArgs};
use super::ask::{ask, settings};
use super::error::CliError;
use super::{Done, lists, output};
use crate::compose::control::answers::{Answer, DatabaseState, RunningStatus, Status, UpstreamStatus};
use crate::compose::control::explanation::Explained;
use crate::compose::control::requests::Request;
use crate::compose::time::Time;
use crate::settings::units::format_duration;

/// Exit code of `status` when no dispatcher runs (`EX_UNAVAILABLE`).
const EXIT_NOT_RUNNING: u8 = 69;

pub fn status(args: &PlainArgs) -> Done {
    let Answer::Status(status) = ask(&settings(&args.config)?, Request::Status)? else {
        return Err(CliError::OtherAnswer);
    };
    match args.json {
        true => output::json(&status)?,
        false => output::print(&lines(&rows(&status)))?,
    }
    Ok(if status.running.is_some() { 0 } else { EXIT_NOT_RUNNING })
}

fn rows(status: &Status) -> Vec<(&'static str, String)> {
    let mut rows = match &status.running {
        Some(running) => running_rows(running),
        None => vec![(
            "dispatcher",
            "not running; start it with `systemctl start osa-dispatcher`".to_owned(),
        )],
    };
    rows.push(("server", status.hostname.clone()));
    if let (Some(systems), Some(online)) = (status.systems, status.online) {
        rows.push(("systems", format!("{systems}, {online} online")));
    }
    rows.push(("pending actions", output::or_dash(status.pending)));
    rows.push(("version", status.version.clone()));
    rows
}

fn running_rows(running: &RunningStatus) -> Vec<(&'static str, String)> {
    let since = running.started.local();
    let (pid, incarnation) = (running.pid, running.incarnation);
    let interval = Duration::from_millis(running.reconcile_interval_ms);
    let (connections, logging_in) = (running.connections, running.logging_in);
    vec![
        (
            "dispatcher",
            format!("running since {since}, process {pid}, start {incarnation}"),
        ),
        match &running.upstream {
            Some(upstream) => ("agents are reached through", through(upstream)),
            None => ("agents connect to", running.xmpp.join(", ")),
        },
        (
            "agents register at",
            match running.registration.is_empty() {
                true => "the Satellite".to_owned(),
                false => running.registration.join(", "),
            },
        ),
        (
            "certificate",
            match running.certificate_expires {
                Some(expires) => format!("expires {}", expires.local()),
                None => "that of the XMPP server".to_owned(),
            },
        ),
        ("database", database(running)),
        ("connections", format!("{connections}, {logging_in} logging in")),
        ("looks through all systems every", format_duration(interval)),
    ]
}

fn through(upstream: &UpstreamStatus) -> String {
    let UpstreamStatus {
        server,
        jid,
        error,
        registered,
        available,
    } = upstream;
    match (jid, error) {
        (Some(jid), _) => {
            let [available, registered] = [available, registered].map(|count| count.unwrap_or_default());
            format!("{server}, as {jid}; {available} of {registered} registered agents are there")
        }
        (None, Some(error)) => format!("{server}, but not now: {error}; tried again"),
        (None, None) => format!("{server}, being connected to"),
    }
}

fn database(running: &RunningStatus) -> String {
    let in_words = match running.database {
        DatabaseState::Ok => "in use",
        DatabaseState::Stalled | DatabaseState::Failing => "requests wait, agents stay connected",
        DatabaseState::Deleted => "its file is gone: see the log for how to rescue it before a restart",
    };
    match &running.database_error {
        Some(error) => format!("{error}; {in_words}"),
        None => in_words.to_owned(),
    }
}

fn lines(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| format!("{name:width$}  {}\n", output::plain(value));
    rows.iter().map(line).collect()
}

pub fn ping(args: SystemArgs) -> Done {
    let settings = settings(&args.plain.config)?;
    let Answer::Pong(pong) = ask(&settings, Request::Ping { system: args.name })? else {
        return Err(CliError::OtherAnswer);
    };
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let milliseconds = pong.elapsed_us as f64 / 1_000.0;
    match args.plain.json {
        true => output::json(&pong)?,
        false => output::line(format!("{} answered in {milliseconds:.1} ms", pong.system.name))?,
    }
    Ok(0)
}

pub fn explain(args: SystemArgs) -> Done {
    let settings = settings(&args.plain.config)?;
    let Answer::Explained(explained) = ask(&settings, Request::Explain { system: args.name })? else {
        return Err(CliError::OtherAnswer);
    };
    match args.plain.json {
        true => output::json(&explained)?,
        false => output::print(&in_words(*explained))?,
    }
    Ok(0)
}

fn in_words(explained: Explained) -> String {
    let mut text = format!("{}: {}\n", explained.system.name, explained.verdict);
    if let Some(session) = &explained.session {
        let answers = if session.responsive {
            "answers"
        } else {
            "does not answer"
        };
        text += &format!("its {} agent is connected and {answers}\n", session.agent);
    }
    // Twice or more, and it is the verdict.
    if let Some(rivals) = explained.rivals.filter(|rivals| rivals.times == 1) {
        text += &format!("{}\n", rivals.sentence());
    }
    for request in &explained.open {
        let since = request.since.local();
        text += &format!(
            "request {} is {} since {since}, for actions {:?}\n",
            request.number, request.state, request.actions
        );
    }
    if !explained.pending.is_empty() {
        text += "\nPending\n";
        text += &lists::action_table(explained.pending.into_iter());
    }
    if !explained.history.is_empty() {
        let rows = explained.history.into_iter().map(|entry| {
            let time = |time: Option<Time>| output::or_dash(time.map(Time::local));
            let request = entry.request;
            [
                output::or_dash(request.number),
                time(request.claimed),
                time(request.answered),
                time(request.ended),
                entry.outcome,
            ]
        });
        text += "\nLast requests\n";
        text += &output::table(["REQUEST", "CLAIMED", "ANSWERED", "ENDED", "OUTCOME"], rows);
    }
    text
}
