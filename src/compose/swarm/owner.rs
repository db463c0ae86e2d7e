//! Whose systems and actions are: the dispatcher's own, or a Satellite's.

use std::sync::Arc;
use std::time::Duration;

use super::control::Control;
use super::error::SwarmError;
use super::numbers::wall_clock;
use super::satellite::Satellite;
use super::site::random_hex;
use crate::compose::control::requests::Selection;
use crate::domain::ids::SystemId;
use crate::domain::secret::Secret;
use crate::protocol::systemid::{Profile, mint};

/// Who adds systems and schedules actions.
pub(super) enum Owner {
    Dispatcher(Control),
    Satellite {
        satellite: Arc<Satellite>,
        /// Those of the agents in this process.
        systems: Vec<i64>,
    },
}

/// A system with a program of its own.
#[derive(Clone, Debug)]
pub(super) struct System {
    pub(super) id: i64,
    pub(super) name: String,
    /// The text of its systemid file.
    pub(super) systemid: Secret,
}

/// When an action was scheduled, by the wall clock. The moment from which others see it lies in between.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scheduled {
    /// Before the Satellite sent its commit, or before the dispatcher was asked.
    pub(super) asked: Duration,
    /// When the commit was answered, or had happened.
    pub(super) committed: Duration,
}

impl Owner {
    /// Adds a system.
    pub(super) async fn add_system(&self, name: &str) -> Result<System, SwarmError> {
        match self {
            Self::Dispatcher(control) => {
                let added = control.add_system(name).await?;
                Ok(System {
                    id: added.id,
                    name: added.name,
                    systemid: Secret::new(added.systemid.0),
                })
            }
            Self::Satellite { satellite, .. } => {
                let secret = Secret::new(random_hex(32));
                let id = satellite.add_system(name, &secret).await?;
                let profile = Profile {
                    name,
                    username: "admin",
                    os_release: "6Server",
                    operating_system: "redhat-release",
                    architecture: "x86_64",
                };
                let systemid = mint(SystemId(id), &secret, profile).map_err(|_| SwarmError::Password)?;
                Ok(System {
                    id,
                    name: name.to_owned(),
                    systemid,
                })
            }
        }
    }

    /// Schedules an action for one system.
    pub(super) async fn schedule(&self, system: &System) -> Result<Scheduled, SwarmError> {
        match self {
            Self::Dispatcher(control) => {
                let asked = wall_clock();
                let committed = control.schedule(Selection::Named(vec![system.name.clone()])).await?;
                Ok(Scheduled { asked, committed })
            }
            Self::Satellite { satellite, .. } => {
                let (asked, committed) = satellite.schedule(&[system.id]).await?;
                Ok(Scheduled { asked, committed })
            }
        }
    }

    /// Schedules one action for everybody.
    pub(super) async fn schedule_all(&self, others: &[System]) -> Result<(), SwarmError> {
        match self {
            Self::Dispatcher(control) => control.schedule(Selection::All).await.map(drop),
            Self::Satellite { satellite, systems } => {
                let others = others.iter().map(|system| system.id);
                let all: Vec<i64> = systems.iter().copied().chain(others).collect();
                satellite.schedule(&all).await.map(drop)
            }
        }
    }

    /// What a check does.
    pub(super) async fn carry_out(&self, system: &System) -> Result<(), SwarmError> {
        match self {
            // The dispatcher knows by the check's report.
            Self::Dispatcher(_) => Ok(()),
            Self::Satellite { satellite, .. } => satellite.carry_out(system.id).await,
        }
    }

    /// How many systems are online.
    pub(super) async fn online(&self) -> Result<usize, SwarmError> {
        match self {
            Self::Dispatcher(control) => Ok(control.status().await?.online.unwrap_or(0)),
            Self::Satellite { satellite, .. } => satellite.online().await,
        }
    }
}
