//! Carries out requests, with or without a running dispatcher.

mod names;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use self::names::check_system_name;
use self::names::{account_of, check_name, name_of, unknown_systems};
use super::answers::{
    AccountEntry, Action, Answer, DatabaseState, Pong, Private, RunningStatus, Scheduled, Status, System, SystemAdded,
};
use super::envelope::{Rejection, RejectionKind};
use super::explanation::{Explained, RivalsView};
use super::requests::{ActionQuery, Request, Schedule, Selection};
use super::verdict::Facts;
use crate::domain::ids::{ActionId, SystemId};
use crate::domain::push::system::Snapshot;
use crate::domain::secret::Secret;
use crate::ports::clock::{Clock, Entropy};
use crate::ports::inventory::{ActionFilter, ActionStatus, NewAction, SystemRow};
use crate::ports::store::{Store, StoreError};
use crate::protocol::systemid::{self, Profile};

/// Actions listed at once at most, so that an answer fits the control socket.
const ACTIONS_MAX: usize = 100_000;
/// Pending actions shown by `explain`.
const EXPLAINED_ACTIONS_MAX: usize = 1_000;

/// What only a running dispatcher can do.
#[async_trait]
pub trait RunningDispatcher: Send + Sync + 'static {
    /// How it is.
    async fn status(&self) -> RunningStatus;
    /// Looks at these systems now. Best effort: what is missed is found at the next poll.
    async fn wake(&self, systems: Vec<SystemId>);
    /// Asks an agent for a sign of life; how long that took.
    async fn ping(&self, system: SystemId) -> Option<Duration>;
    /// How it sees a system that is connected.
    async fn snapshot(&self, system: SystemId) -> Option<Snapshot>;
    /// Agents that take a system from each other.
    async fn rivals(&self, system: SystemId) -> Option<RivalsView>;
    /// Ends the connections of an account.
    async fn end_sessions(&self, username: String);
    /// Makes an actor panic; whether it was there to hear it. Not in release builds.
    #[cfg(debug_assertions)]
    async fn crash(&self, actor: super::requests::Crashable) -> bool;
}

/// The server as its clients know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its name.
    pub hostname: String,
    /// Port for agents.
    pub xmpp_port: u16,
    /// Port of the registration endpoint.
    pub registration_port: u16,
}

/// Where requests are carried out.
#[derive(Clone)]
pub struct Desk {
    /// The database.
    pub store: Arc<dyn Store>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The server.
    pub site: Site,
    /// The dispatcher, if this is its desk.
    pub running: Option<Arc<dyn RunningDispatcher>>,
}

type Outcome = Result<Answer, Rejection>;

impl Desk {
    /// Carries out a request.
    ///
    /// # Errors
    /// [`Rejection`]; then nothing was changed.
    pub async fn handle(&self, request: Request) -> Outcome {
        match request {
            Request::Status => self.status().await,
            Request::AddSystem { name } => self.add_system(name).await,
            Request::ListSystems => {
                let systems = self.store.systems().await?;
                Ok(Answer::Systems(systems.into_iter().map(System::from).collect()))
            }
            Request::RemoveSystem { name } => self.remove_system(&name).await,
            Request::ListAccounts => self.accounts().await,
            Request::ResetAccount { username } => self.reset_account(username).await,
            Request::Schedule(schedule) => self.schedule(schedule).await,
            Request::ListActions(query) => self.actions(query).await,
            Request::Ping { system } => self.ping(&system).await,
            Request::Explain { system } => self.explain(&system).await,
            #[cfg(debug_assertions)]
            Request::Crash { actor } => match &self.running {
                Some(running) if running.crash(actor).await => Ok(Answer::Crashed),
                Some(_) | None => Err(Rejection::new(RejectionKind::Unavailable, "that actor is not there")),
            },
        }
    }

    async fn status(&self) -> Outcome {
        let mut running = match &self.running {
            Some(running) => Some(running.status().await),
            None => None,
        };
        let systems = self.systems_for_status(running.as_mut()).await?;
        let count = |counted: fn(&SystemRow) -> bool| {
            let systems = systems.as_ref()?;
            Some(systems.iter().filter(|system| counted(system)).count())
        };
        Ok(Answer::Status(Box::new(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hostname: self.site.hostname.clone(),
            running,
            systems: count(|_| true),
            online: count(|system| system.online),
            pending: systems
                .as_ref()
                .map(|systems| systems.iter().map(|system| system.pending).sum()),
        })))
    }

    /// What is known is said, and at once, whatever the database does to a running dispatcher.
    async fn systems_for_status(
        &self,
        running: Option<&mut RunningStatus>,
    ) -> Result<Option<Vec<SystemRow>>, Rejection> {
        if running
            .as_ref()
            .is_some_and(|running| running.database == DatabaseState::Stalled)
        {
            return Ok(None);
        }
        match (self.store.systems().await, running) {
            (Ok(systems), _) => Ok(Some(systems)),
            (Err(error), Some(running)) => {
                if is_outage(&error) {
                    running.database = DatabaseState::Failing;
                }
                running.database_error = Some(error.to_string());
                Ok(None)
            }
            (Err(error), None) => Err(error.into()),
        }
    }

    async fn add_system(&self, name: String) -> Outcome {
        check_system_name(&name)?;
        let secret = self.new_secret();
        let id = self.store.add_system(&name, &secret, self.clock.now()).await?;
        let profile = Profile {
            name: &name,
            username: "osa-dispatcher",
            os_release: "unknown",
            operating_system: "Linux",
            architecture: "unknown",
        };
        let systemid = systemid::mint(id, &secret, profile)
            .map_err(|error| Rejection::new(RejectionKind::Internal, format!("cannot make a systemid: {error}")))?;
        Ok(Answer::SystemAdded(Box::new(SystemAdded {
            id: id.0,
            name,
            systemid: Private(systemid.expose().to_owned()),
            hostname: self.site.hostname.clone(),
            xmpp_port: self.site.xmpp_port,
            registration_port: self.site.registration_port,
        })))
    }

    /// 64 hex digits: with so many, systemids are signed with SHA-256 (compatibility contract, section 2.3).
    fn new_secret(&self) -> Secret {
        let mut bytes = zeroize::Zeroizing::new([0; 32]);
        self.entropy.fill(&mut *bytes);
        Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    async fn system(&self, name: &str) -> Result<SystemRow, Rejection> {
        let found = self.store.system_by_name(name).await?;
        found.ok_or_else(|| unknown_systems(&[name]))
    }

    async fn remove_system(&self, name: &str) -> Outcome {
        let system = self.system(name).await?;
        self.store.remove_system(system.id).await?;
        self.wake(vec![system.id]).await;
        if let Some(username) = system.jid.as_deref().and_then(account_of) {
            self.remove_orphaned_account(username).await?;
        }
        Ok(Answer::SystemRemoved(name_of(&system)))
    }

    /// Removes the account of a system that is gone, unless a clone of it uses the same, and ends its connections.
    async fn remove_orphaned_account(&self, username: &str) -> Result<(), Rejection> {
        let account = self.store.account(username).await?;
        if account.is_some_and(|account| !account.linked) {
            self.store.remove_account(username).await?;
        }
        if let Some(running) = &self.running {
            running.end_sessions(username.to_owned()).await;
        }
        Ok(())
    }

    async fn accounts(&self) -> Outcome {
        let entries = self.store.accounts().await?.into_iter().map(|account| AccountEntry {
            username: account.username,
            created: account.created.into(),
            linked: account.linked,
        });
        Ok(Answer::Accounts(entries.collect()))
    }

    async fn reset_account(&self, username: String) -> Outcome {
        if !self.store.remove_account(&username).await? {
            let message = format!("account {username:?} does not exist; see `osa-dispatcher accounts list`");
            return Err(Rejection::new(RejectionKind::NotFound, message));
        }
        if let Some(running) = &self.running {
            running.end_sessions(username.clone()).await;
        }
        Ok(Answer::AccountReset { username })
    }

    async fn schedule(&self, schedule: Schedule) -> Outcome {
        check_name("action", &schedule.name)?;
        let systems = self.select(schedule.systems).await?;
        let ids: Vec<SystemId> = systems.iter().map(|system| system.id).collect();
        let now = self.clock.now();
        let action = NewAction {
            name: schedule.name,
            systems: ids.clone(),
            earliest: schedule.at.map_or(now, |at| at.0),
            prerequisite: schedule.after.map(ActionId),
        };
        let (id, committed) = self.store.schedule_timed(&action, now).await?;
        let ago = i64::try_from(committed.elapsed().as_micros()).unwrap_or(i64::MAX);
        let committed_us = self.clock.now_micros().saturating_sub(ago);
        self.wake(ids).await;
        Ok(Answer::Scheduled(Scheduled {
            id: id.0,
            name: action.name,
            at: action.earliest.into(),
            committed_us,
            systems: systems.iter().map(name_of).collect(),
        }))
    }

    async fn select(&self, selection: Selection) -> Result<Vec<SystemRow>, Rejection> {
        let names = match selection {
            Selection::All => {
                let systems = self.store.systems().await?;
                let none = || {
                    Rejection::new(
                        RejectionKind::NotFound,
                        "there are no systems: add one with `systems add`",
                    )
                };
                return if systems.is_empty() { Err(none()) } else { Ok(systems) };
            }
            // One is the usual case, and is not worth reading all.
            Selection::Named(names) if names.len() == 1 => {
                let name = names.first().map_or("", String::as_str);
                return Ok(vec![self.system(name).await?]);
            }
            Selection::Named(names) => names,
        };
        let rows = self.store.systems().await?;
        let mut known: HashMap<String, SystemRow> = rows.into_iter().map(|row| (row.name.clone(), row)).collect();
        let unknown: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|name| !known.contains_key(*name))
            .collect();
        if !unknown.is_empty() {
            return Err(unknown_systems(&unknown));
        }
        // A name given twice is one system.
        Ok(names.iter().filter_map(|name| known.remove(name)).collect())
    }

    async fn actions(&self, query: ActionQuery) -> Outcome {
        let system = match &query.system {
            Some(name) => Some(self.system(name).await?.id),
            None => None,
        };
        let filter = ActionFilter {
            system,
            statuses: query.states.into_iter().map(ActionStatus::from).collect(),
            ids: query.ids.into_iter().map(ActionId).collect(),
            limit: query.limit.min(ACTIONS_MAX),
        };
        let rows = self.store.actions(&filter).await?;
        for id in filter.ids {
            // What is not among the rows may be left out by the rest of the filter.
            if !rows.iter().any(|row| row.id == id) {
                self.check_action(id).await?;
            }
        }
        Ok(Answer::Actions(rows.into_iter().map(Action::from).collect()))
    }

    async fn check_action(&self, id: ActionId) -> Result<(), Rejection> {
        let filter = ActionFilter {
            ids: vec![id],
            limit: 1,
            ..ActionFilter::default()
        };
        if self.store.actions(&filter).await?.is_empty() {
            let message = format!("action {} does not exist; see `osa-dispatcher actions`", id.0);
            return Err(Rejection::new(RejectionKind::NotFound, message));
        }
        Ok(())
    }

    async fn ping(&self, name: &str) -> Outcome {
        let system = self.system(name).await?;
        let unavailable = |message: String| Rejection::new(RejectionKind::Unavailable, message);
        let running = self
            .running
            .as_ref()
            .ok_or_else(|| unavailable("no dispatcher runs, and only it can ping: start osa-dispatcher".to_owned()))?;
        let Some(elapsed) = running.ping(system.id).await else {
            let silent = || format!("system {name:?} does not answer: see `systemctl status osad` there");
            return Err(unavailable(self.outage().await.unwrap_or_else(silent)));
        };
        Ok(Answer::Pong(Pong {
            system: name_of(&system),
            elapsed_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        }))
    }

    async fn explain(&self, name: &str) -> Outcome {
        let system = self.system(name).await?;
        let records = self.store.explain(system.id).await?;
        let pending = ActionFilter {
            system: Some(system.id),
            statuses: vec![ActionStatus::Queued, ActionStatus::PickedUp],
            ids: Vec::new(),
            limit: EXPLAINED_ACTIONS_MAX,
        };
        let pending = self.store.actions(&pending).await?;
        let (session, rivals) = match &self.running {
            Some(running) => (running.snapshot(system.id).await, running.rivals(system.id).await),
            None => (None, None),
        };
        let outage = match session {
            Some(_) => None,
            None => self.outage().await,
        };
        let verdict = Facts {
            system: &system,
            pending: &pending,
            is_running: self.running.is_some(),
            session: session.as_ref(),
            rivals: rivals.as_ref(),
            outage,
            now: self.clock.now(),
        }
        .verdict();
        let parts = (session, rivals, records, pending);
        Ok(Answer::Explained(Box::new(Explained::new(system, verdict, parts))))
    }

    /// Why no agent at all is there: it is the site's own server that is not.
    async fn outage(&self) -> Option<String> {
        let upstream = self.running.as_ref()?.status().await.upstream?;
        upstream.outage()
    }

    async fn wake(&self, systems: Vec<SystemId>) {
        if let Some(running) = &self.running {
            running.wake(systems).await;
        }
    }
}

/// Whether it is the database that fails. What it has against one statement may be of this one alone: those that matter are the
/// poller's, and it says what they met.
const fn is_outage(error: &StoreError) -> bool {
    !matches!(error, StoreError::Other { .. })
}

#[cfg(test)]
mod tests;
