//! Store operations, off the mailbox.

use super::*;
use crate::actors::poller::messages::PingDelivery;
use crate::domain::push::agenda::{Operation, Outcome};
use crate::domain::push::request::Entry;
use crate::ports::push::Standing;
use crate::ports::store::StoreError;

impl Poller {
    /// Runs one operation and tells the agenda what came of it.
    pub(super) fn perform(&mut self, operation: Operation, ctx: &mut Context<Self>) {
        let (store, clock) = (Arc::clone(&self.parts.store), Arc::clone(&self.parts.clock));
        let work = async move {
            let name = name_of(&operation);
            let start = store.incarnation();
            (name, start, ask(store.as_ref(), clock.as_ref(), operation).await)
        };
        ctx.spawn(work.into_actor(self).map(|(name, start, answer), poller, ctx| {
            let outcome = answer.map(|(outcome, standing)| {
                poller.note_standing(start, standing);
                outcome
            });
            poller.performed(name, outcome, ctx);
        }));
    }

    /// Of another start of this name that goes on, people are told once.
    fn note_standing(&mut self, start: Option<Incarnation>, standing: Standing) {
        let start = start.map(|start| start.0);
        match standing {
            Standing::Superseded(newer) if self.superseded_by != Some(newer) => {
                self.superseded_by = Some(newer);
                tracing::error!(
                    event = "node_superseded",
                    start,
                    newer = newer.0,
                    "another osa-dispatcher of this host name runs on the same database: stop one of them"
                );
            }
            Standing::Renewed(renewed) => tracing::warn!(
                event = "node_renewed",
                start,
                renewed = renewed.0,
                "the database knew nothing of this start: its tables were made anew, or restored"
            ),
            Standing::Superseded(_) | Standing::Current => {}
        }
    }

    fn performed(&mut self, operation: &'static str, outcome: Result<Outcome, StoreError>, ctx: &mut Context<Self>) {
        let outcome = match outcome {
            Ok(outcome) => {
                self.note_success(operation);
                outcome
            }
            Err(error) => {
                self.note_failure(operation, &error);
                Outcome::Failed
            }
        };
        self.agenda.performed(outcome, self.now());
        self.drive(ctx);
    }

    fn note_failure(&mut self, operation: &'static str, error: &StoreError) {
        let now = self.now();
        tracing::debug!(event = "store_operation_failed", operation, error = %error, "done again after a pause");
        self.agenda.settle_presence();
        if let Some(kept_back) = self.outage.failed(operation, error, now) {
            tracing::error!(event = "store_failed", operation, error = %error, kept_back, "requests wait, connections stay");
        }
    }

    /// After an outage everything is looked at: a database that was replaced may know less than it did.
    fn note_success(&mut self, operation: &'static str) {
        let Some(recovery) = self.outage.succeeded(operation, self.now()) else {
            return;
        };
        if let Some(kept_back) = recovery.said {
            let (seconds, error) = (recovery.lasted.as_secs(), recovery.error);
            tracing::warn!(
                event = "store_recovered",
                seconds,
                error,
                kept_back,
                "the database works again"
            );
        }
        if self.draining.is_none() {
            self.agenda.look_for_changes();
            self.agenda.reconcile();
        }
    }

    /// Tells agents that their reports are recorded, once they would survive a power cut: an agent forgets what is
    /// acknowledged. An acknowledgement that is lost is asked for again by its agent.
    pub(super) fn acknowledge(&self, reports: Vec<(SystemId, ConnectionId, RunId)>, ctx: &mut Context<Self>) {
        if reports.is_empty() {
            return;
        }
        let store = Arc::clone(&self.parts.store);
        let acknowledgements = self.parts.acknowledgements.clone();
        let tell = async move {
            let lost = match store.make_durable().await {
                Ok(()) => acknowledgements.try_send(AcknowledgeReports(reports)).is_err(),
                Err(error) => {
                    tracing::debug!(event = "store_operation_failed", operation = "make_durable", error = %error);
                    true
                }
            };
            if lost {
                tracing::warn!(event = "acknowledgements_lost", "agents will report again");
            }
        };
        ctx.spawn(tell.into_actor(self));
    }

    /// Pings a client with the name and key it has now.
    pub(super) fn ping(&mut self, system: SystemId, connection: ConnectionId, ctx: &mut Context<Self>) {
        let store = Arc::clone(&self.parts.store);
        let pings = self.parts.pings.clone();
        let ping = async move {
            let lost = match store.client_of_system(system).await {
                Ok(Some(client)) => pings
                    .try_send(DeliverPings(vec![PingDelivery {
                        system,
                        connection,
                        client,
                    }]))
                    .is_err(),
                Ok(None) | Err(_) => true,
            };
            if lost {
                // It counts as unanswered: the next request shows whether the client is there.
                tracing::warn!(event = "ping_not_sent", system_id = system.0);
            }
        };
        ctx.spawn(ping.into_actor(self));
    }
}

fn name_of(operation: &Operation) -> &'static str {
    match operation {
        Operation::Record(_) => "record",
        Operation::Claim(..) => "claim",
        Operation::Open(_) => "open",
        Operation::Read(_) => "read",
        Operation::AskChanged => "ask_changed",
        Operation::Settle(_) => "settle_presence",
    }
}

async fn ask(
    store: &dyn PushStore,
    clock: &dyn Clock,
    operation: Operation,
) -> Result<(Outcome, Standing), StoreError> {
    let mut standing = Standing::Current;
    let outcome = match operation {
        Operation::Record(entries) => {
            store.record(&entries).await?;
            for Entry { system, step, .. } in &entries {
                tracing::debug!(event = "step_recorded", system_id = system.0, step = ?step);
            }
            Outcome::Recorded
        }
        Operation::Claim(claims, lease_until) => {
            Outcome::Claimed(store.claim(&claims, lease_until, clock.now()).await?)
        }
        Operation::Open(systems) => Outcome::Opened(store.push_records(&systems).await?),
        Operation::Read(systems) => Outcome::Read(store.work(&systems).await?),
        Operation::AskChanged => Outcome::Changed(store.changed_systems().await?),
        Operation::Settle(connected) => {
            standing = store.settle_presence(&connected, clock.now()).await?;
            Outcome::Settled
        }
    };
    Ok((outcome, standing))
}
