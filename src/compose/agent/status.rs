//! `osad status`: what the agent's files say.

use std::path::Path;

use super::arguments::PlainArgs;
use super::error::AgentError;
use super::print;
use crate::host::state_dir::{StateDir, StateDirError};
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

/// Says whether the agent runs, under which account, and how many runs it has in hand.
pub fn status(args: &PlainArgs) -> Result<u8, AgentError> {
    let settings = AgentSettings::load(&args.config.flags(), std::env::vars())?.settings;
    let running = is_running(&settings.state_dir)?;
    let account = std::fs::read_to_string(&settings.auth_file).ok();
    let account = account
        .and_then(|text| Credentials::parse(&text).ok().flatten())
        .map(|found| found.username);
    let runs = count(&settings.state_dir);
    if args.json {
        let report = serde_json::json!({
            "running": running,
            "account": account,
            "runs": { "begun": runs.begun, "unreported": runs.unreported },
        });
        print(&report.to_string());
    } else {
        print(if running { "osad runs" } else { "osad does not run" });
        print(&format!("account: {}", account.as_deref().unwrap_or("none yet")));
        print(&format!(
            "checks: {} begun, {} ended and not yet reported",
            runs.begun, runs.unreported
        ));
    }
    Ok(if running { 0 } else { EXIT_NOT_RUNNING })
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
