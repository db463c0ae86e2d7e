//! A planner with one system, and what is said to it.

use std::time::Duration;

use osa::domain::ids::{ActionId, ClientName, ConnectionId, RequestNumber, RunId, SystemId};
use osa::domain::push::action::{ActionKind, ActionVersion, PendingAction, Progress, SystemWork};
use osa::domain::push::client::{AgentKind, Announcement, Client, ClientEvent, RunEnd, RunReport};
use osa::domain::push::planner::{Effect, Planner};
use osa::domain::push::policy::{Authority, Policy};
use osa::domain::push::request::{Claim, ClaimOutcome, PushRecord, Step};
use osa::domain::push::system::Opening;
use osa::domain::secret::Secret;
use osa::domain::time::Timestamp;

pub const SYSTEM: SystemId = SystemId(1);
pub const CONNECTION: ConnectionId = ConnectionId(7);
pub const START: Timestamp = Timestamp::from_secs(1_000_000);

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub fn queued(id: i64) -> PendingAction {
    PendingAction {
        id: ActionId(id),
        version: ActionVersion {
            row: id,
            earliest: START,
        },
        progress: Progress::Queued,
        kind: ActionKind::Ordinary,
    }
}

pub fn work(actions: &[PendingAction]) -> SystemWork {
    SystemWork {
        system: SYSTEM,
        actions: actions.to_vec(),
        last_change: None,
    }
}

pub fn client() -> Client {
    Client {
        system: SYSTEM,
        name: ClientName("name".into()),
        shared_key: Secret::new("key"),
        jid: "osad-1@sat.example.com/osad".into(),
        announced: true,
    }
}

/// A planner with one system and a clock, whose claims are granted and sent as soon as they are made.
pub struct Bench {
    pub planner: Planner,
    pub now: Timestamp,
    pub steps: Vec<Step>,
    pub requests: Vec<Claim>,
    pub pings: usize,
    pub rereads: usize,
}

impl Bench {
    pub fn new(kind: AgentKind, authority: Authority, actions: &[PendingAction]) -> Self {
        Self::opened(kind, authority, actions, PushRecord::default(), Announcement::default())
    }

    pub fn opened(
        kind: AgentKind,
        authority: Authority,
        actions: &[PendingAction],
        record: PushRecord,
        announcement: Announcement,
    ) -> Self {
        let planner = Planner::new(Policy {
            authority,
            ..Policy::default()
        });
        let mut bench = Self {
            planner,
            now: START,
            steps: vec![],
            requests: vec![],
            pings: 0,
            rereads: 0,
        };
        let announcement = Some(announcement);
        let opening = Opening {
            connection: CONNECTION,
            kind,
            announcement,
            record,
            work: work(actions),
        };
        bench.planner.open(SYSTEM, opening, bench.now);
        bench.settle();
        bench
    }

    /// The agent announces that it does nothing, while one action is queued.
    pub fn open_again(&mut self, connection: ConnectionId, record: PushRecord) {
        let opening = Opening {
            connection,
            kind: AgentKind::New,
            announcement: Some(Announcement::default()),
            record,
            work: work(&[queued(1)]),
        };
        self.planner.open(SYSTEM, opening, self.now);
        self.settle();
    }

    pub fn settle(&mut self) {
        self.planner.advance(self.now);
        while let Some(effect) = self.planner.poll_effect() {
            match effect {
                Effect::Claim(claims) => {
                    let lease_until = self.now + self.planner.policy().lease;
                    for claim in claims {
                        let outcome = ClaimOutcome::Granted(client());
                        self.planner.claimed(&claim, lease_until, outcome, self.now);
                        self.requests.push(claim);
                    }
                }
                Effect::Deliver { system, number, .. } => self.planner.sent(system, number, self.now),
                Effect::Ping { .. } => self.pings += 1,
                Effect::Record(entry) => self.steps.push(entry.step),
                Effect::Reread(_) => self.rereads += 1,
                Effect::Reload(_) => {}
            }
        }
    }

    pub fn after(&mut self, pause: Duration) -> &mut Self {
        let end = self.now + pause;
        while let Some(next) = self.planner.next_deadline().filter(|&next| next <= end) {
            self.now = next;
            self.settle();
        }
        self.now = end;
        self.settle();
        self
    }

    pub fn hear(&mut self, event: ClientEvent) -> &mut Self {
        self.planner.hear(SYSTEM, CONNECTION, event, self.now);
        self.settle();
        self
    }

    pub fn observe(&mut self, actions: &[PendingAction]) -> &mut Self {
        self.planner.observe(work(actions), self.now);
        self.settle();
        self
    }

    pub fn accept(&mut self) -> &mut Self {
        let number = self.requests.last().expect("a request was made").number;
        self.hear(ClientEvent::Accepted(number))
    }

    pub fn sent(&self) -> usize {
        self.requests.len()
    }
}

pub fn report(number: i64, end: RunEnd) -> RunReport {
    RunReport {
        run: RunId([1; 16]),
        covers: RequestNumber(number),
        end,
        run_time: secs(2),
    }
}
