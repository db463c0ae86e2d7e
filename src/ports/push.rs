//! What the push life cycle reads and writes.

use async_trait::async_trait;

use crate::domain::ids::{ClientName, Incarnation, SystemId};
use crate::domain::push::action::SystemWork;
use crate::domain::push::changes::Changes;
use crate::domain::push::client::Client;
use crate::domain::push::request::{Claim, ClaimOutcome, Entry, PushRecord};
use crate::domain::time::Timestamp;
use crate::ports::store::StoreError;

/// How many registrations of one JID are looked at: an agent that is registered anew leaves one behind each time.
pub const CLAIMANTS_MAX: usize = 8;

/// What is recorded about this start of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the newest of its name.
    Current,
    /// Another dispatcher of the same name was started later, under this number, and goes on: two run where one should.
    Superseded(Incarnation),
    /// Nothing was: the dispatcher's tables were made anew, or restored. It goes on as a start of this number.
    Renewed(Incarnation),
}

/// Use cases of the poller and of sessions.
#[async_trait]
pub trait PushStore: Send + Sync + 'static {
    /// Starts this node: counts its incarnation, voids what older ones had claimed or sent, and makes every system
    /// offline until its client is back. Request numbers go on above any that could have been given out before, so
    /// that neither a power cut nor a restored backup lets an old report be taken for a new one.
    async fn start_node(&self, node: &str, now: Timestamp) -> Result<Incarnation, StoreError>;

    /// This start of this node, once it has begun.
    fn incarnation(&self) -> Option<Incarnation>;

    /// The registrations that claim this full JID, at most [`CLAIMANTS_MAX`]. First those that have signed validly since
    /// they claimed it, the latest first; then the newest claims. Signing needs the JID's own connection, claiming only
    /// some systemid, so a claim alone never comes before a living client.
    async fn clients_by_jid(&self, jid: &str) -> Result<Vec<Client>, StoreError>;

    /// The registration with this client name.
    async fn client_by_name(&self, name: &ClientName) -> Result<Option<Client>, StoreError>;

    /// The registration of this system.
    async fn client_of_system(&self, system: SystemId) -> Result<Option<Client>, StoreError>;

    /// The recorded life cycle and the pending work of systems that just became pushable. Systems that are gone are
    /// left out.
    async fn push_records(&self, systems: &[SystemId]) -> Result<Vec<(PushRecord, SystemWork)>, StoreError>;

    /// What may have changed since the last call; a hint, not the truth. The first call counts from the opening of the
    /// database. What [`PushStore::record`] does to actions is told only where it may matter to others: a reboot, an
    /// action others depend on.
    async fn changed_systems(&self) -> Result<Changes, StoreError>;

    /// The pending work of these systems: the truth. Systems that are gone are left out.
    async fn work(&self, systems: &[SystemId]) -> Result<Vec<SystemWork>, StoreError>;

    /// Records requests of this node, each under "no live lease", in one transaction; one outcome per claim, in order.
    async fn claim(
        &self,
        claims: &[Claim],
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<ClaimOutcome>, StoreError>;

    /// Applies steps in order, in one transaction: all or none. They survive the end of this process; a power cut may
    /// take them back until [`PushStore::make_durable`] has returned.
    async fn record(&self, entries: &[Entry]) -> Result<(), StoreError>;

    /// Waits until everything recorded before this call survives a power cut. Others may go on recording meanwhile.
    async fn make_durable(&self) -> Result<(), StoreError>;

    /// Says that this node lives, and that exactly these systems are connected to it, and whether they answer; then
    /// makes `rhnPushClient.state_id` right for all systems, those of nodes that are dead included. Meant for once a
    /// minute; repairs what was missed. What is not recorded any more of this start is recorded anew, as by
    /// [`PushStore::start_node`].
    async fn settle_presence(&self, connected: &[(SystemId, bool)], now: Timestamp) -> Result<Standing, StoreError>;

    /// Removes ended requests and run ids that are older than `cutoff` and concern no pending action; how many requests.
    async fn prune(&self, cutoff: Timestamp) -> Result<usize, StoreError>;
}
