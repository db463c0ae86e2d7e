//! What the control socket asks of the running actors.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

use crate::actors::poller::Poller;
use crate::actors::poller::messages::{DescribeSystems, LookAt, PingSystem};
use crate::actors::router::{DescribeRivals, EndAccountSessions, Rival, Router};
use crate::actors::supervision::LiveAddr;
use crate::actors::tls_supervisor::Roster;
use crate::actors::upstream::{DescribeUpstream, LoginReport, Upstream};
use crate::compose::control::answers::{DatabaseState, RunningStatus, UpstreamStatus};
use crate::compose::control::desk::RunningDispatcher;
use crate::compose::control::explanation::{RivalView, RivalsView};
use crate::domain::ids::SystemId;
use crate::domain::push::system::Snapshot;
use crate::domain::time::Timestamp;
use crate::ports::clock::Clock;
use crate::ports::push::PushStore;
use crate::ports::tls::Certificates;

/// How long an actor may take to answer.
const ACTOR_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an agent may take to answer a ping; existing ones read one record per 6 to 10 s.
const PING_WITHIN: Duration = Duration::from_secs(20);

/// The running dispatcher.
pub struct Live {
    /// The clock that the database's times are taken from.
    pub clock: Arc<dyn Clock>,
    /// When it started.
    pub started: Timestamp,
    /// The database.
    pub store: Arc<dyn PushStore>,
    /// Where agents connect.
    pub xmpp: Vec<SocketAddr>,
    /// Where agents register.
    pub registration: Vec<SocketAddr>,
    /// `push.reconcile_interval`.
    pub reconcile_interval: Duration,
    /// Whether the database's file is no longer at its path.
    pub database_deleted: Arc<AtomicBool>,
    /// The sessions.
    pub roster: Arc<Roster>,
    /// The certificates in use.
    pub certificates: Option<Arc<dyn Certificates>>,
    /// Who is logged in to the site's own server, if agents are reached through one.
    pub upstream: Option<LiveAddr<Upstream>>,
    /// Who pushes.
    pub poller: LiveAddr<Poller>,
    /// Who knows the sessions.
    pub router: LiveAddr<Router>,
    /// Who owns TLS.
    #[cfg(debug_assertions)]
    pub tls: LiveAddr<crate::actors::tls_supervisor::TlsSupervisor>,
}

impl Live {
    async fn database(&self) -> (DatabaseState, Option<String>) {
        let asked = self.poller.send(DescribeSystems(Some(Vec::new())));
        let poller = timeout(ACTOR_TIMEOUT, asked).await.ok().and_then(Result::ok);
        if let Some(trouble) = poller.and_then(|poller| poller.store) {
            let state = match trouble.stalled {
                true => DatabaseState::Stalled,
                false => DatabaseState::Failing,
            };
            return (state, Some(trouble.error));
        }
        match self.database_deleted.load(Ordering::Relaxed) {
            true => (DatabaseState::Deleted, None),
            false => (DatabaseState::Ok, None),
        }
    }

    async fn upstream(&self) -> Option<UpstreamStatus> {
        let asked = self.upstream.as_ref()?.send(DescribeUpstream);
        let report = timeout(ACTOR_TIMEOUT, asked).await.ok()?.ok()?;
        let (jid, error) = match report.login {
            LoginReport::Connecting => (None, None),
            LoginReport::LoggedIn { jid } => (Some(jid), None),
            LoginReport::Down { reason } => (None, Some(reason)),
        };
        // Without a login, nobody looks who is registered.
        let known = |count| jid.is_some().then_some(count);
        let (registered, available) = (known(report.registrations), known(report.available));
        Some(UpstreamStatus {
            server: report.server,
            jid,
            error,
            registered,
            available,
        })
    }
}

#[async_trait]
impl RunningDispatcher for Live {
    async fn status(&self) -> RunningStatus {
        let (connections, logging_in) = self.roster.counts();
        let (database, database_error) = self.database().await;
        let text = |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect();
        RunningStatus {
            pid: std::process::id(),
            started: self.started.into(),
            incarnation: self.store.incarnation().map_or(0, |start| start.0),
            xmpp: text(&self.xmpp),
            registration: text(&self.registration),
            connections,
            logging_in,
            database,
            database_error,
            certificate_expires: self.certificates.as_ref().map(|tls| tls.in_use().not_after.into()),
            upstream: self.upstream().await,
            reconcile_interval_ms: u64::try_from(self.reconcile_interval.as_millis()).unwrap_or(u64::MAX),
        }
    }

    async fn wake(&self, systems: Vec<SystemId>) {
        // What a poller that is just being restarted misses, it reads as it starts.
        timeout(ACTOR_TIMEOUT, self.poller.send(LookAt(systems))).await.ok();
    }

    async fn ping(&self, system: SystemId) -> Option<Duration> {
        let within = PING_WITHIN;
        let asked = self.poller.send(PingSystem { system, within });
        timeout(within + ACTOR_TIMEOUT, asked).await.ok()?.ok()?
    }

    async fn snapshot(&self, system: SystemId) -> Option<Snapshot> {
        let asked = self.poller.send(DescribeSystems(Some(vec![system])));
        let status = timeout(ACTOR_TIMEOUT, asked).await.ok()?.ok()?;
        status.systems.into_iter().map(|(_, snapshot)| snapshot).next()
    }

    async fn rivals(&self, system: SystemId) -> Option<RivalsView> {
        let asked = self.router.send(DescribeRivals(system));
        let rivalry = timeout(ACTOR_TIMEOUT, asked).await.ok()?.ok()??;
        let view = |rival: Rival| RivalView {
            jid: rival.jid.to_string(),
            address: rival.address,
        };
        Some(RivalsView {
            times: rivalry.times,
            last: (self.clock.now() - rivalry.ago).into(),
            agents: vec![view(rivalry.older), view(rivalry.newer)],
        })
    }

    async fn end_sessions(&self, username: String) {
        // A router that is just being restarted knows no sessions; the account is gone all the same.
        timeout(ACTOR_TIMEOUT, self.router.send(EndAccountSessions { username }))
            .await
            .ok();
    }
    #[cfg(debug_assertions)]
    async fn crash(&self, actor: crate::compose::control::requests::Crashable) -> bool {
        use crate::actors::supervision::Crash;
        use crate::compose::control::requests::Crashable;
        match actor {
            Crashable::Poller => self.poller.try_send(Crash).is_ok(),
            Crashable::Router => self.router.try_send(Crash).is_ok(),
            Crashable::TlsSupervisor => self.tls.try_send(Crash).is_ok(),
        }
    }
}
