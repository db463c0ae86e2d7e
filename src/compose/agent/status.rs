//! `osad status`: what the agent's files say.

use std::path::Path;

use serde_json::{Value, json};

use super::arguments::PlainArgs;
use super::error::AgentError;
use crate::compose::console::answer;
use crate::compose::time::Time;
use crate::domain::time::Timestamp;
use crate::host::state_dir::{StateDir, StateDirError};
use crate::host::status_file::{self, AgentRecord, Failure, LinkState};
use crate::ports::file_error::FileError;
use crate::settings::agent::AgentSettings;
use crate::settings::legacy::credentials::Credentials;

/// Exit code while no agent runs (`EX_UNAVAILABLE`).
const EXIT_NOT_RUNNING: u8 = 69;

/// What is in the state directory.
#[derive(Debug, Default, PartialEq, Eq)]
struct Runs {
    /// Runs whose supervising process may live.
    begun: usize,
    /// Ended runs that no dispatcher has acknowledged.
    unreported: usize,
}

/// All that is found.
struct Found {
    running: bool,
    account: Option<String>,
    runs: Runs,
    /// By the agent that runs, or by the last one.
    record: Option<AgentRecord>,
}

/// Says whether the agent runs and is linked, under which account, and how many runs it has in hand.
pub fn status(args: &PlainArgs) -> Result<u8, AgentError> {
    let settings = AgentSettings::load(&args.config.flags(), std::env::vars())?.settings;
    let account = std::fs::read_to_string(&settings.auth_file).ok();
    let account = account.and_then(|text| Credentials::parse(&text).ok().flatten());
    let found = Found {
        running: is_running(&settings.state_dir)?,
        account: account.map(|found| found.username),
        runs: count(&settings.state_dir),
        record: status_file::read(&settings.state_dir),
    };
    if args.json {
        answer::line(found.as_json().to_string())?;
    } else {
        answer::line(found.lines().join("\n"))?;
    }
    Ok(if found.running { 0 } else { EXIT_NOT_RUNNING })
}

impl Found {
    /// What an agent that does not run said of its connection is of no interest.
    fn live(&self) -> Option<&AgentRecord> {
        self.record.as_ref().filter(|_| self.running)
    }

    fn as_json(&self) -> Value {
        let last_request = self.record.as_ref().and_then(|record| record.last_request.as_ref());
        let last_run = self.record.as_ref().and_then(|record| record.last_run.as_ref());
        json!({
            "running": self.running,
            "pid": self.live().map(|record| record.pid),
            "account": self.account,
            "link": self.live().map(|AgentRecord { link, .. }| json!({
                "state": link.state,
                "since": time(link.since),
                "server": link.server,
                "address": link.address,
                "failure": link.failure.as_ref().map(failure_json),
            })),
            "registration_failure": self.live().and_then(|record| record.registration.as_ref()).map(failure_json),
            "last_request": last_request.map(|request| json!({ "number": request.number, "at": time(request.at) })),
            "last_run": last_run.map(|run| json!({ "exit": run.exit, "at": time(run.at), "run_time_ms": run.run_time })),
            "runs": { "begun": self.runs.begun, "unreported": self.runs.unreported },
        })
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![match self.live() {
            Some(record) => format!("osad runs, process {}", record.pid),
            None if self.running => "osad runs".to_owned(),
            None => "osad does not run".to_owned(),
        }];
        lines.push(format!("account: {}", self.account.as_deref().unwrap_or("none yet")));
        lines.extend(self.live().map(link_line));
        if let Some(failure) = self.live().and_then(|record| record.registration.as_ref()) {
            lines.push(format!("registration: failed: {}", failure_text(failure)));
        }
        if let Some(request) = self.record.as_ref().and_then(|record| record.last_request.as_ref()) {
            let number = request.number.map(|number| format!("{number}, ")).unwrap_or_default();
            lines.push(format!("last request: {number}{}", time(request.at).local()));
        }
        if let Some(run) = self.record.as_ref().and_then(|record| record.last_run.as_ref()) {
            let exit = run.exit.map_or("lost".to_owned(), |exit| format!("exit status {exit}"));
            let (at, run_time) = (time(run.at).local(), run.run_time);
            lines.push(format!("last check: {exit}, {at}, after {run_time} ms"));
        }
        let Runs { begun, unreported } = self.runs;
        lines.push(format!(
            "checks: {begun} begun, {unreported} ended and not yet reported"
        ));
        lines
    }
}

fn link_line(AgentRecord { link, .. }: &AgentRecord) -> String {
    let (server, since) = (link.server.as_deref().unwrap_or("a server"), time(link.since).local());
    let state = match link.state {
        LinkState::Linked => {
            let address = link.address.as_deref().unwrap_or("no address");
            return format!("link: to {server} ({address}), since {since}");
        }
        LinkState::Registering => "registering".to_owned(),
        LinkState::Connecting => format!("connecting to {server}"),
        LinkState::LoggedIn => format!("logged in to {server}, whose dispatcher has not answered"),
        LinkState::Waiting => format!("waiting to connect to {server} again"),
    };
    let why = link
        .failure
        .as_ref()
        .map(|failure| format!(": {}", failure_text(failure)));
    format!("link: none since {since}; {state}{}", why.unwrap_or_default())
}

fn failure_text(failure: &Failure) -> String {
    // Servers have a say in it, and nothing in it may move the cursor.
    let reason = failure.reason.replace(char::is_control, " ");
    format!("{reason}; next try {}", time(failure.retry_at).local())
}

fn failure_json(failure: &Failure) -> Value {
    json!({ "reason": failure.reason, "retry_at": time(failure.retry_at) })
}

fn time(millis: i64) -> Time {
    Time(Timestamp::from_millis(millis))
}

/// An agent holds the lock of its state directory.
fn is_running(state_dir: &Path) -> Result<bool, AgentError> {
    if !state_dir.try_exists().map_err(FileError::new("open", state_dir))? {
        return Ok(false);
    }
    match StateDir::open(state_dir) {
        Ok(_) => Ok(false),
        Err(StateDirError::InUse(_)) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn count(state_dir: &Path) -> Runs {
    let entries = std::fs::read_dir(state_dir).into_iter().flatten().flatten();
    let names: Vec<_> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let ended = |run: &str| names.iter().any(|name| name.strip_suffix(".exit") == Some(run));
    let locks = names
        .iter()
        .filter_map(|name| name.strip_suffix(".lock"))
        .filter(|run| *run != "agent");
    Runs {
        begun: locks.filter(|run| !ended(run)).count(),
        unreported: names.iter().filter(|name| name.ends_with(".exit")).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_counted_by_their_files() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["agent.lock", "a.lock", "b.lock", "b.exit", "c.exit"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }

        assert_eq!(
            count(directory.path()),
            Runs {
                begun: 1,
                unreported: 2
            }
        );
    }

    #[test]
    fn agent_runs_while_its_state_directory_is_locked() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!is_running(directory.path()).unwrap());

        let lock = StateDir::open(directory.path()).unwrap();

        assert!(is_running(directory.path()).unwrap());
        drop(lock);
        assert!(!is_running(directory.path()).unwrap());
    }
}
