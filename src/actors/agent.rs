//! The agent's actors, joined.

use std::sync::Arc;
use std::time::Duration;

use actix::ArbiterHandle;

use super::check_runner::{CheckRunner, CheckRunnerParts};
use super::connector::{Connector, ConnectorParts, ReconnectPolicy};
use super::enroller::{AgentServer, Enroller, EnrollerParts};
use super::supervision::{ChildSpec, LiveAddr, Policy};
use crate::ports::account_file::AccountFile;
use crate::ports::agent_status::StatusBoard;
use crate::ports::check_launcher::CheckLauncher;
use crate::ports::clock::{Clock, Entropy};
use crate::ports::systemid::SystemidSource;

/// What an agent is built from.
#[derive(Clone)]
pub struct AgentParts {
    /// The servers, best first; not empty.
    pub servers: Arc<[AgentServer]>,
    /// Where the systemid is.
    pub systemid: Arc<dyn SystemidSource>,
    /// Where the account is kept.
    pub account: Arc<dyn AccountFile>,
    /// Starts runs and keeps their traces.
    pub launcher: Arc<dyn CheckLauncher>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The setting `run_rhn_check`.
    pub checks_enabled: bool,
    /// How to come back after a lost connection or a failed registration.
    pub reconnect: ReconnectPolicy,
    /// Longest time without a byte from the server.
    pub silence_timeout: Duration,
    /// Where it is shown how the agent is.
    pub status: Arc<dyn StatusBoard>,
}

/// Where an agent's actors are found.
#[derive(Clone)]
pub struct AgentActors {
    /// The keeper of check runs.
    pub check_runner: LiveAddr<CheckRunner>,
    /// The connection.
    pub connector: LiveAddr<Connector>,
    /// The keeper of the enrolment.
    pub enroller: LiveAddr<Enroller>,
}

impl AgentActors {
    /// Addresses with nobody behind them yet.
    pub fn vacant() -> Self {
        Self {
            check_runner: LiveAddr::vacant(),
            connector: LiveAddr::vacant(),
            enroller: LiveAddr::vacant(),
        }
    }

    /// The children of an agent's supervisor, in the order of their start. They end the other way round, so that the
    /// last words of the check runner are said before its connection closes.
    pub fn children(&self, parts: &AgentParts, arbiter: &ArbiterHandle) -> Vec<ChildSpec> {
        let connector = self.connector_parts(parts);
        let check_runner = self.check_runner_parts(parts);
        let enroller = self.enroller_parts(parts);
        let (permanent, here) = (Policy::Permanent, || arbiter.clone());
        vec![
            ChildSpec::new("connector", permanent, here(), self.connector.clone(), move |guard| {
                Connector::new(connector.clone(), guard)
            }),
            ChildSpec::new(
                "check_runner",
                permanent,
                here(),
                self.check_runner.clone(),
                move |guard| CheckRunner::new(check_runner.clone(), guard),
            ),
            ChildSpec::new("enroller", permanent, here(), self.enroller.clone(), move |guard| {
                Enroller::new(enroller.clone(), guard)
            }),
        ]
    }

    fn connector_parts(&self, parts: &AgentParts) -> ConnectorParts {
        ConnectorParts {
            servers: Arc::clone(&parts.servers),
            clock: Arc::clone(&parts.clock),
            entropy: Arc::clone(&parts.entropy),
            reconnect: parts.reconnect,
            silence_timeout: parts.silence_timeout,
            enroller: self.enroller.clone(),
            status: Arc::clone(&parts.status),
            check_runner: self.check_runner.clone(),
        }
    }

    fn check_runner_parts(&self, parts: &AgentParts) -> CheckRunnerParts {
        CheckRunnerParts {
            launcher: Arc::clone(&parts.launcher),
            entropy: Arc::clone(&parts.entropy),
            connector: self.connector.clone(),
            status: Arc::clone(&parts.status),
            enabled: parts.checks_enabled,
        }
    }

    fn enroller_parts(&self, parts: &AgentParts) -> EnrollerParts {
        EnrollerParts {
            servers: Arc::clone(&parts.servers),
            systemid: Arc::clone(&parts.systemid),
            account: Arc::clone(&parts.account),
            entropy: Arc::clone(&parts.entropy),
            backoff: parts.reconnect.backoff,
            status: Arc::clone(&parts.status),
            connector: self.connector.clone(),
            check_runner: self.check_runner.clone(),
        }
    }
}
