//! What the processes of the server use, by whom they work for.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::super::error::SwarmError;

/// Between two looks. A process that ends in between takes along what it used since the last one.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// CPU, by whom it was spent for.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Spent {
    /// Over so long.
    pub(in super::super) time: Duration,
    /// By backends of the dispatcher.
    pub(in super::super) dispatcher: Duration,
    /// By backends of the Satellite.
    pub(in super::super) satellite: Duration,
    /// By the server for itself: writers, autovacuum.
    pub(in super::super) server: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Dispatcher,
    Satellite,
    Server,
}

/// One process.
struct Backend {
    group: Group,
    first: Duration,
    last: Duration,
}

/// Watches all processes of a server.
pub(in super::super) struct Backends {
    client: Client,
    postmaster: u32,
    began: Instant,
    backends: BTreeMap<i32, Backend>,
}

impl Backends {
    /// Begins.
    pub(super) async fn watch(client: Client, postmaster: u32) -> Result<Self, SwarmError> {
        let mut backends = Self {
            client,
            postmaster,
            began: Instant::now(),
            backends: BTreeMap::new(),
        };
        backends.look(true).await?;
        Ok(backends)
    }

    /// What is spent in a span of time that begins now.
    pub(in super::super) async fn spend(mut self, span: Duration) -> Result<Spent, SwarmError> {
        self.began = Instant::now();
        while self.began.elapsed() < span {
            tokio::time::sleep(LOOK_EVERY.min(span.saturating_sub(self.began.elapsed()))).await;
            self.look(false).await?;
        }
        let mut spent = Spent {
            time: self.began.elapsed(),
            ..Spent::default()
        };
        for backend in self.backends.values() {
            let group = match backend.group {
                Group::Dispatcher => &mut spent.dispatcher,
                Group::Satellite => &mut spent.satellite,
                Group::Server => &mut spent.server,
            };
            *group += backend.last.saturating_sub(backend.first);
        }
        Ok(spent)
    }

    /// Those that are new count from their beginning, except at the first look.
    async fn look(&mut self, is_first: bool) -> Result<(), SwarmError> {
        // This connection itself is nobody's.
        let text = "SELECT pid, coalesce(application_name, ''), backend_type = 'client backend' FROM pg_stat_activity \
             WHERE pid <> pg_backend_pid()";
        let mut seen: Vec<(i32, Group)> = Vec::new();
        for row in self.client.query(text, &[]).await? {
            let (name, is_client): (String, bool) = (row.get(1), row.get::<_, Option<bool>>(2).unwrap_or(false));
            let group = match (name.as_str(), is_client) {
                ("osa-dispatcher", _) => Group::Dispatcher,
                (_, true) => Group::Satellite,
                (_, false) => Group::Server,
            };
            seen.push((row.get(0), group));
        }
        seen.extend(i32::try_from(self.postmaster).map(|id| (id, Group::Server)));
        for (id, group) in seen {
            let Some(used) = used_by(id) else { continue };
            let first = if is_first { used } else { Duration::ZERO };
            let backend = self.backends.entry(id).or_insert(Backend {
                group,
                first,
                last: used,
            });
            // A connection has its name a little later than its process.
            backend.group = group;
            backend.last = used;
        }
        Ok(())
    }
}

fn used_by(process: i32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{process}/schedstat")).ok()?;
    let nanos = text.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}
