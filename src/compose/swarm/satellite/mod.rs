//! A Satellite: its PostgreSQL with years of history, and what it does to its tables beside the dispatcher.
//!
//! The Satellite is played by SQL on connections of its own: it schedules, and it carries out what a check fetches.

mod backends;
mod cluster;
mod history;
mod plan;
mod registrar;
mod statements;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Client;

pub(super) use backends::{Backends, Spent};
use cluster::{Cluster, DATABASE, OWNER};
pub(super) use registrar::serve_registration;
pub(super) use statements::{NATURAL_JOIN, Statements};

use super::arguments::HistoryArguments;
use super::error::SwarmError;
use super::flock::Member;
use super::numbers::wall_clock;
use crate::domain::ids::ClientName;
use crate::domain::secret::Secret;
use crate::store::postgres::{PostgresOptions, ServerAddress, administration};

/// What the Satellite's web interface does: one statement, so one transaction.
const SCHEDULE: &str = "\
    WITH added AS (INSERT INTO rhnAction (id, action_type, name, earliest_action) \
      VALUES (nextval('rhn_event_id_seq'), 30, 'check', current_timestamp) RETURNING id) \
    INSERT INTO rhnServerAction (server_id, action_id, status) \
      SELECT s, added.id, 0 FROM added, unnest($1::bigint[]) s";
/// What the Satellite does when a check asks for work, and when it reports it done.
const PICK_UP: &str = "\
    UPDATE rhnServerAction sa SET status = 1 FROM rhnAction a WHERE a.id = sa.action_id \
      AND sa.server_id = $1::bigint::numeric AND sa.status = 0 AND a.earliest_action <= current_timestamp";
const COMPLETE: &str = "UPDATE rhnServerAction SET status = 2 WHERE server_id = $1::bigint::numeric AND status = 1";

/// A Satellite.
pub(super) struct Satellite {
    cluster: Cluster,
    /// The web interface's connection.
    scheduler: Client,
    /// Where checks ask and report; its commits are not waited for.
    checks: Client,
}

impl Satellite {
    /// Makes one with its history, below `directory`; the dispatcher's tables are there, its triggers are not.
    pub(super) async fn open(directory: &Path, history: &HistoryArguments) -> Result<Self, SwarmError> {
        let kept = history.kept();
        let template = kept.as_deref().filter(|kept| kept.exists());
        let mut cluster = Cluster::start(directory.join("postgres"), template, &history.shared_buffers).await?;
        if template.is_none() {
            history::make(&cluster.connect(DATABASE).await?, history).await?;
            if let Some(kept) = &kept {
                cluster.keep_copy(kept).await?;
            }
        }
        let satellite = Self {
            scheduler: cluster.connect(DATABASE).await?,
            checks: cluster.connect(DATABASE).await?,
            cluster,
        };
        satellite.checks.batch_execute("SET synchronous_commit = off").await?;
        administration::migrate(&satellite.options()).await?;
        Ok(satellite)
    }

    /// Installs the triggers, or removes them.
    pub(super) async fn set_triggers(&self, wanted: bool) -> Result<(), SwarmError> {
        let options = self.options();
        match wanted {
            true => administration::install_notify(&options).await?,
            false => administration::remove_notify(&options).await?,
        }
        Ok(())
    }

    fn options(&self) -> PostgresOptions {
        let address = ServerAddress::Socket(self.cluster.socket().to_owned());
        PostgresOptions::new(address, DATABASE, OWNER)
    }

    /// The part of the dispatcher's configuration that names it.
    pub(super) fn configuration(&self) -> String {
        let host = self.cluster.socket();
        format!("[postgres]\nhost = {host:?}\nname = \"{DATABASE}\"\nuser = \"{OWNER}\"\n")
    }

    /// So many of the systems, spread over all, with an account each. What is pending for them is not due for a month:
    /// whatever is pending for long is for systems that are not online.
    pub(super) async fn members(&self, count: usize, verifiers: &str) -> Result<Vec<Member>, SwarmError> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let text = "\
            SELECT v.id, v.name, v.shared_key, split_part(v.jabber_id, '@', 1) FROM ( \
              SELECT server_id::bigint AS id, name, shared_key, jabber_id, row_number() OVER (ORDER BY server_id) AS row, \
                greatest(count(*) OVER () / $1, 1) AS step FROM rhnPushClient) v \
            WHERE v.row % v.step = 0 ORDER BY v.id LIMIT $1";
        let rows = self.scheduler.query(text, &[&count]).await?;
        let members: Vec<Member> = rows
            .into_iter()
            .map(|row| Member {
                system: row.get(0),
                client: ClientName(row.get(1)),
                key: Secret::new(row.get::<_, String>(2)),
                username: row.get(3),
            })
            .collect();
        let names: Vec<&str> = members.iter().map(|member| member.username.as_str()).collect();
        let text = "INSERT INTO osa_account (username, verifiers, created) SELECT unnest($1::text[]), $2, 0";
        self.scheduler.execute(text, &[&names, &verifiers]).await?;
        let systems: Vec<i64> = members.iter().map(|member| member.system).collect();
        let text = "UPDATE rhnAction a SET earliest_action = now() + interval '30 days' FROM rhnServerAction sa \
             WHERE sa.action_id = a.id AND sa.server_id = ANY($1::bigint[]::numeric[]) AND sa.status = 0";
        self.scheduler.execute(text, &[&systems]).await?;
        Ok(members)
    }

    /// Adds a system; its number.
    pub(super) async fn add_system(&self, name: &str, secret: &Secret) -> Result<i64, SwarmError> {
        let text = "INSERT INTO rhnServer (id, digital_server_id, secret, name) \
             SELECT id, 'ID-' || id, $1, $2 FROM (SELECT nextval('rhn_server_id_seq') AS id) next RETURNING id::bigint";
        let row = self.scheduler.query_one(text, &[&secret.expose(), &name]).await?;
        Ok(row.get(0))
    }

    /// Schedules one action for these systems; the wall clock just before its commit was sent, and when it was answered.
    pub(super) async fn schedule(&self, systems: &[i64]) -> Result<(Duration, Duration), SwarmError> {
        self.scheduler.batch_execute("BEGIN").await?;
        self.scheduler.execute(SCHEDULE, &[&systems]).await?;
        let sent = wall_clock();
        self.scheduler.batch_execute("COMMIT").await?;
        Ok((sent, wall_clock()))
    }

    /// Schedules actions for one system each, `per_second` of them in irregular order of time, until dropped.
    pub(super) async fn schedule_steadily(&self, systems: &[i64], per_second: u32) -> Result<(), SwarmError> {
        let schedule = self.scheduler.prepare(SCHEDULE).await?;
        let mut turns = tokio::time::interval(Duration::from_secs(1) / per_second.max(1));
        for &system in systems.iter().cycle() {
            turns.tick().await;
            self.scheduler.execute(&schedule, &[&[system].as_slice()]).await?;
        }
        Ok(())
    }

    /// What a check does: fetches what is due for its system, and reports it done.
    pub(super) async fn carry_out(&self, system: i64) -> Result<(), SwarmError> {
        self.checks.execute(PICK_UP, &[&system]).await?;
        self.checks.execute(COMPLETE, &[&system]).await?;
        Ok(())
    }

    /// How many systems are online.
    pub(super) async fn online(&self) -> Result<usize, SwarmError> {
        self.count("SELECT count(*) FROM osa_push WHERE online").await
    }

    /// How many systems the web interface shows as online.
    pub(super) async fn shown_online(&self) -> Result<usize, SwarmError> {
        let text = "SELECT count(*) FROM rhnPushClient c JOIN rhnPushClientState s ON s.id = c.state_id \
             WHERE s.label = 'online'";
        self.count(text).await
    }

    /// How many checks that were scheduled here have not been carried out.
    pub(super) async fn left(&self) -> Result<usize, SwarmError> {
        let text = "SELECT count(*) FROM rhnServerAction sa JOIN rhnAction a ON a.id = sa.action_id \
             WHERE a.name = 'check' AND sa.status <> 2";
        self.count(text).await
    }

    async fn count(&self, text: &str) -> Result<usize, SwarmError> {
        let count: i64 = self.scheduler.query_one(text, &[]).await?.get(0);
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// The accounts of all systems.
    pub(super) async fn usernames(&self) -> Result<Vec<String>, SwarmError> {
        let text = "SELECT split_part(jabber_id, '@', 1) FROM rhnPushClient WHERE jabber_id IS NOT NULL";
        let rows = self.scheduler.query(text, &[]).await?;
        Ok(rows.into_iter().map(|row| row.get(0)).collect())
    }

    /// A connection for whatever is to be tried.
    pub(super) async fn connect(&self) -> Result<Client, SwarmError> {
        self.cluster.connect(DATABASE).await
    }

    /// What the server's processes have spent from now on.
    pub(super) async fn backends(self: &Arc<Self>) -> Result<Backends, SwarmError> {
        Backends::watch(self.cluster.connect(DATABASE).await?, self.cluster.id()).await
    }

    /// What the dispatcher asks, from now on.
    pub(super) async fn statements(&self) -> Result<Statements, SwarmError> {
        Statements::listen(self.cluster.connect(DATABASE).await?, self.cluster.log()).await
    }
}
