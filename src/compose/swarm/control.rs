//! Asks the dispatcher, as its subcommands do.

use std::path::PathBuf;
use std::time::Duration;

use crate::compose::control::answers::{Answer, Status, SystemAdded};
use crate::compose::control::envelope::{read_answer, write_request};
use crate::compose::control::requests::{Request, Schedule, Selection};
use crate::net::control::ask;

use super::error::SwarmError;

/// The dispatcher's control socket.
pub(super) struct Control(pub(super) PathBuf);

impl Control {
    /// Adds a system.
    pub(super) async fn add_system(&self, name: &str) -> Result<SystemAdded, SwarmError> {
        let request = Request::AddSystem { name: name.to_owned() };
        match self.ask(request).await? {
            Answer::SystemAdded(added) => Ok(*added),
            other => Err(unexpected(&other)),
        }
    }

    /// How it is.
    pub(super) async fn status(&self) -> Result<Status, SwarmError> {
        match self.ask(Request::Status).await? {
            Answer::Status(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// Schedules an action that may run at once; when it was committed, by the wall clock.
    pub(super) async fn schedule(&self, systems: Selection) -> Result<Duration, SwarmError> {
        let schedule = Schedule {
            name: "swarm".to_owned(),
            systems,
            at: None,
            after: None,
        };
        match self.ask(Request::Schedule(schedule)).await? {
            Answer::Scheduled(scheduled) => Ok(Duration::from_micros(scheduled.committed_us.unsigned_abs())),
            other => Err(unexpected(&other)),
        }
    }

    async fn ask(&self, request: Request) -> Result<Answer, SwarmError> {
        let answer = ask(&self.0, &write_request(request)).await?;
        read_answer(&answer).map_err(|rejection| SwarmError::Rejected(rejection.to_string()))
    }
}

fn unexpected(answer: &Answer) -> SwarmError {
    SwarmError::Rejected(format!("something else: {answer:?}"))
}
