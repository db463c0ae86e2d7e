//! A database in memory that follows the contract of the ports, with late commits.

// Said in full: another program of tests reads this file by its path.
#[path = "store/rows.rs"]
mod rows;

pub use rows::{Action, Request, Status, SystemRow};

use std::collections::{BTreeMap, BTreeSet, HashMap};

use osa::domain::ids::{ActionId, ClientName, RequestNumber, RunId, SystemId};
use osa::domain::push::action::{CoveredAction, PendingAction, Progress, SystemWork};
use osa::domain::push::agenda::{Operation, Outcome};
use osa::domain::push::changes::Changes;
use osa::domain::push::client::{Client, RunReport};
use osa::domain::push::policy::Authority;
use osa::domain::push::request::{Claim, ClaimOutcome, Entry, OpenRequest, PushRecord, RequestState, Step};
use osa::domain::secret::Secret;
use osa::domain::time::Timestamp;
use osa::protocol::osa::dispatcher_talk::Question;

pub const TRIES: u32 = 5;

pub struct MemStore {
    pub authority: Authority,
    pub systems: BTreeMap<SystemId, SystemRow>,
    pub actions: BTreeMap<ActionId, Action>,
    pub runs: HashMap<RunId, u32>,
    pub changed: BTreeSet<SystemId>,
}

impl MemStore {
    pub fn new(authority: Authority, systems: impl Iterator<Item = SystemId>) -> Self {
        Self {
            authority,
            systems: systems.map(|system| (system, SystemRow::default())).collect(),
            actions: BTreeMap::new(),
            runs: HashMap::new(),
            changed: BTreeSet::new(),
        }
    }

    pub fn start_node(&mut self, now: Timestamp) {
        for row in self.systems.values_mut() {
            row.online = false;
            for request in row.requests.values_mut() {
                if matches!(request.state, Some(RequestState::Claimed | RequestState::Sent)) {
                    request.lose(now);
                }
            }
        }
    }

    pub fn client(&self, system: SystemId) -> Option<Client> {
        let row = self.systems.get(&system).filter(|row| !row.gone)?;
        Some(Client {
            announced: row.announced,
            ..registration(system, row.key)
        })
    }

    /// `register_osad`: a new name and key.
    pub fn register(&mut self, system: SystemId) -> Client {
        let row = self.systems.get_mut(&system).expect("the system exists");
        row.key += 1;
        row.announced = false;
        registration(system, row.key)
    }

    /// What a session asks for.
    pub fn answer(&self, question: &Question) -> Option<Client> {
        let named = |client: &Client| match question {
            Question::ClientByJid(jid) => client.jid == *jid,
            Question::ClientByName(name) => client.name == *name,
        };
        let mut clients = self.systems.keys().filter_map(|&system| self.client(system));
        clients.find(named)
    }

    pub fn perform(&mut self, operation: &Operation, now: Timestamp) -> Outcome {
        match operation {
            Operation::Record(entries) => {
                entries.iter().for_each(|entry| self.apply(entry));
                Outcome::Recorded
            }
            Operation::Claim(claims, lease_until) => Outcome::Claimed(
                claims
                    .iter()
                    .map(|claim| self.claim(claim, *lease_until, now))
                    .collect(),
            ),
            Operation::Open(systems) => {
                let known = systems.iter().filter(|&&system| self.client(system).is_some());
                Outcome::Opened(known.map(|&system| (self.record(system), self.work(system))).collect())
            }
            Operation::Read(systems) => {
                let known = systems.iter().filter(|&&system| self.client(system).is_some());
                Outcome::Read(known.map(|&system| self.work(system)).collect())
            }
            Operation::AskChanged => Outcome::Changed(Changes {
                systems: std::mem::take(&mut self.changed).into_iter().collect(),
                ..Changes::default()
            }),
            Operation::Settle(connected) => {
                for (system, row) in &mut self.systems {
                    row.online = connected.contains(&(*system, true));
                }
                Outcome::Settled
            }
        }
    }

    fn claim(&mut self, claim: &Claim, lease_until: Timestamp, now: Timestamp) -> ClaimOutcome {
        let Some(client) = self.client(claim.system) else {
            return ClaimOutcome::Gone;
        };
        let row = self.systems.get_mut(&claim.system).expect("the client's system exists");
        let leased = row.requests.values().any(|request| {
            matches!(request.state, Some(RequestState::Claimed | RequestState::Sent)) && request.lease_until > now
        });
        if leased || claim.number <= row.last_number {
            return ClaimOutcome::Refused;
        }
        row.last_number = claim.number;
        let request = Request {
            state: Some(RequestState::Claimed),
            ended_by_loss: false,
            claimed: now,
            since: now,
            lease_until,
            covers: claim.covers.clone(),
        };
        row.requests.insert(claim.number, request);
        ClaimOutcome::Granted(client)
    }

    fn record(&self, system: SystemId) -> PushRecord {
        let row = &self.systems[&system];
        let open = row.requests.iter().filter_map(|(&number, request)| {
            let (since, covers) = (request.since, request.covers.clone());
            request.state.map(|state| OpenRequest {
                number,
                state,
                since,
                covers,
            })
        });
        PushRecord {
            last_number: row.last_number,
            open: open.collect(),
            covered: vec![],
            wait: None,
        }
    }

    pub fn work(&self, system: SystemId) -> SystemWork {
        let mut actions: Vec<_> = self
            .actions
            .iter()
            .filter(|(_, action)| action.system == system && action.is_pending() && !self.is_blocked(action))
            .map(|(&id, action)| PendingAction {
                id,
                version: action.version(),
                progress: match action.status {
                    Status::PickedUp(at) => Progress::PickedUp(at),
                    Status::Queued | Status::Completed | Status::Failed | Status::Cancelled => Progress::Queued,
                },
                kind: action.kind,
            })
            .collect();
        actions.sort_by_key(|action| (action.version.earliest, action.id));
        SystemWork {
            system,
            actions,
            last_change: self.systems[&system].last_change,
        }
    }

    pub fn is_blocked(&self, action: &Action) -> bool {
        action.prerequisite.is_some_and(|id| {
            self.actions
                .get(&id)
                .is_some_and(|first| first.system == action.system && first.status != Status::Completed)
        })
    }

    fn apply(&mut self, entry: &Entry) {
        let Entry { system, at, step } = entry;
        let Some(row) = self.systems.get_mut(system).filter(|row| !row.gone) else {
            return;
        };
        match step {
            Step::Sent(number) => row.advance(*number, RequestState::Sent, *at),
            Step::Answered(number) => {
                row.advance(*number, RequestState::Answered, *at);
                self.pick_up(*system, *number, *at);
            }
            Step::Received(number) | Step::Refused(number, _) => row.end(*number, *at),
            Step::Lost(number, _) => row.lose(*number, *at),
            Step::Started(run) => {
                let numbers: Vec<_> = row.requests.range(..=run.covers).map(|(&number, _)| number).collect();
                for number in numbers {
                    if row.requests[&number].state == Some(RequestState::Answered) {
                        row.advance(number, RequestState::Started(*run), *at);
                    }
                }
            }
            Step::Finished(report) => self.finish(*system, report, *at),
            Step::Delivered(number, covers) => {
                row.end(*number, *at);
                self.settle(*system, covers, true, *at);
            }
            Step::Online(online) => row.online = *online,
            Step::AgentAnnounced => row.announced = true,
            Step::Waiting(_) | Step::Heard => {}
        }
    }

    fn pick_up(&mut self, system: SystemId, number: RequestNumber, at: Timestamp) {
        if self.authority == Authority::Satellite {
            return;
        }
        let Some(covers) = self.systems[&system]
            .requests
            .get(&number)
            .map(|request| request.covers.clone())
        else {
            return;
        };
        for covered in covers {
            if let Some(action) = self.actions.get_mut(&covered.action)
                && action.version() == covered.version
                && action.status == Status::Queued
            {
                action.status = Status::PickedUp(at);
            }
        }
    }

    fn finish(&mut self, system: SystemId, report: &RunReport, at: Timestamp) {
        let times = self.runs.entry(report.run).or_default();
        if *times > 0 {
            return;
        }
        *times += 1;
        let row = self.systems.get_mut(&system).expect("steps are for known systems");
        let mut covers: Vec<CoveredAction> = Vec::new();
        for request in row.requests.range_mut(..=report.covers).map(|(_, request)| request) {
            if request.state.is_some() || request.ended_by_loss {
                request.state = None;
                request.ended_by_loss = false;
                request.since = at;
                request.covers.iter().for_each(|covered| {
                    if !covers.contains(covered) {
                        covers.push(*covered);
                    }
                });
            }
        }
        self.settle(system, &covers, report.end.is_success(), at);
    }

    fn settle(&mut self, system: SystemId, covers: &[CoveredAction], success: bool, at: Timestamp) {
        if self.authority == Authority::Satellite {
            return;
        }
        for covered in covers {
            let Some(action) = self.actions.get_mut(&covered.action) else {
                continue;
            };
            if action.version() != covered.version || !action.is_pending() {
                continue;
            }
            if success {
                action.status = Status::Completed;
            } else {
                action.tries -= 1;
                if action.tries == 0 {
                    action.status = Status::Failed;
                    self.fail_dependents(covered.action);
                }
            }
        }
        self.systems
            .get_mut(&system)
            .expect("steps are for known systems")
            .last_change = Some(at);
    }

    pub fn fail_dependents(&mut self, failed: ActionId) {
        let system = self.actions[&failed].system;
        let dependents: Vec<_> = self
            .actions
            .iter()
            .filter(|(_, action)| action.prerequisite == Some(failed) && action.system == system && action.is_pending())
            .map(|(&id, _)| id)
            .collect();
        for id in dependents {
            self.actions.get_mut(&id).expect("just listed").status = Status::Failed;
            self.fail_dependents(id);
        }
    }

    /// How many requests of a system are Claimed or Sent.
    pub fn on_their_way(&self, system: SystemId) -> Vec<RequestNumber> {
        let requests = self.systems[&system].requests.iter();
        requests
            .filter(|(_, request)| matches!(request.state, Some(RequestState::Claimed | RequestState::Sent)))
            .map(|(&number, _)| number)
            .collect()
    }
}

/// The full JID of a system's agent.
pub fn jid(system: SystemId) -> String {
    format!("osad-{:010x}@sat.test/osad", system.0)
}

/// What a system's registration of this number gave it. A key has 40 characters, a name 16.
pub fn registration(system: SystemId, key: u64) -> Client {
    Client {
        system,
        name: ClientName(format!("{:08x}{key:08x}", system.0)),
        shared_key: Secret::new(format!("{:020x}{key:020x}", system.0 ^ 0x5eed)),
        jid: jid(system),
        announced: false,
    }
}
