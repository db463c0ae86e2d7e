//! What stands beside the poller: its database, and router and sessions.

use super::*;

/// The simulation's database behind the port, which can be made to fail.
pub struct Store {
    pub memory: Mutex<MemStore>,
    pub clock: RuntimeClock,
    pub fails: AtomicBool,
    pub standing: Mutex<Standing>,
}

pub fn stalled() -> StoreError {
    StoreError::Stalled {
        database: DatabaseLabel::new("osa.db"),
        within: Duration::from_secs(20),
    }
}

impl Store {
    pub fn perform(&self, operation: &Operation) -> Result<Outcome, StoreError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(stalled());
        }
        let now = osa::ports::clock::Clock::now(&self.clock);
        Ok(self.memory.lock().expect("not poisoned").perform(operation, now))
    }

    pub fn schedule(&self, id: i64) {
        let now = osa::ports::clock::Clock::now(&self.clock);
        let action = Action {
            system: SYSTEM,
            row: id,
            earliest: now,
            kind: ActionKind::Ordinary,
            status: Status::Queued,
            tries: TRIES,
            committed: now,
            prerequisite: None,
        };
        let mut memory = self.memory.lock().expect("not poisoned");
        memory.actions.insert(ActionId(id), action);
        memory.changed.insert(SYSTEM);
    }

    pub fn status(&self, id: i64) -> Status {
        self.memory.lock().expect("not poisoned").actions[&ActionId(id)].status
    }
}

#[async_trait]
impl PushStore for Store {
    async fn start_node(&self, _: &str, _: Timestamp) -> Result<Incarnation, StoreError> {
        unimplemented!("not asked by the poller")
    }

    fn incarnation(&self) -> Option<Incarnation> {
        Some(Incarnation(1))
    }

    async fn clients_by_jid(&self, _: &str) -> Result<Vec<Client>, StoreError> {
        unimplemented!("not asked by the poller")
    }

    async fn client_by_name(&self, _: &ClientName) -> Result<Option<Client>, StoreError> {
        unimplemented!("not asked by the poller")
    }

    async fn client_of_system(&self, system: SystemId) -> Result<Option<Client>, StoreError> {
        Ok(self.memory.lock().expect("not poisoned").client(system))
    }

    async fn push_records(&self, systems: &[SystemId]) -> Result<Vec<(PushRecord, SystemWork)>, StoreError> {
        match self.perform(&Operation::Open(systems.to_vec()))? {
            Outcome::Opened(found) => Ok(found),
            other => panic!("{other:?}"),
        }
    }

    async fn changed_systems(&self) -> Result<Changes, StoreError> {
        match self.perform(&Operation::AskChanged)? {
            Outcome::Changed(changes) => Ok(changes),
            other => panic!("{other:?}"),
        }
    }

    async fn work(&self, systems: &[SystemId]) -> Result<Vec<SystemWork>, StoreError> {
        match self.perform(&Operation::Read(systems.to_vec()))? {
            Outcome::Read(work) => Ok(work),
            other => panic!("{other:?}"),
        }
    }

    async fn claim(
        &self,
        claims: &[Claim],
        lease_until: Timestamp,
        _: Timestamp,
    ) -> Result<Vec<ClaimOutcome>, StoreError> {
        match self.perform(&Operation::Claim(claims.to_vec(), lease_until))? {
            Outcome::Claimed(outcomes) => Ok(outcomes),
            other => panic!("{other:?}"),
        }
    }

    async fn record(&self, entries: &[Entry]) -> Result<(), StoreError> {
        self.perform(&Operation::Record(entries.to_vec())).map(drop)
    }

    async fn make_durable(&self) -> Result<(), StoreError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(stalled());
        }
        Ok(())
    }

    async fn settle_presence(&self, connected: &[(SystemId, bool)], _: Timestamp) -> Result<Standing, StoreError> {
        self.perform(&Operation::Settle(connected.to_vec()))?;
        Ok(*self.standing.lock().expect("not poisoned"))
    }

    async fn prune(&self, _: Timestamp) -> Result<usize, StoreError> {
        unimplemented!("not asked by the poller")
    }
}

/// Stands for router and sessions: writes down what it is to deliver, and announces one session when asked.
pub struct Post {
    pub poller: LiveAddr<Poller>,
    pub announces: Arc<AtomicBool>,
    pub requests: Arc<Mutex<Vec<RequestNumber>>>,
    pub acknowledged: Arc<Mutex<Vec<RunId>>>,
    #[expect(dead_code, reason = "held for its drop")]
    pub guard: ExitGuard,
}

impl Actor for Post {
    type Context = Context<Self>;
}

impl Handler<DeliverRequests> for Post {
    type Result = ();

    fn handle(&mut self, DeliverRequests(requests): DeliverRequests, _: &mut Self::Context) {
        for request in requests {
            self.requests.lock().expect("not poisoned").push(request.number);
            let (system, number, connection) = (request.system, request.number, request.connection);
            let sent = SessionEvent::RequestSent {
                system,
                number,
                connection,
            };
            self.poller.try_send(sent).expect("room");
        }
    }
}

impl Handler<DeliverPings> for Post {
    type Result = ();

    fn handle(&mut self, DeliverPings(pings): DeliverPings, ctx: &mut Self::Context) {
        for ping in pings {
            let (system, connection) = (ping.system, ping.connection);
            let events = vec![ClientEvent::Ponged];
            let poller = self.poller.clone();
            ctx.run_later(Duration::from_millis(250), move |_, _| {
                poller
                    .try_send(SessionEvent::Reported {
                        system,
                        connection,
                        events,
                    })
                    .expect("room");
            });
        }
    }
}

impl Handler<AcknowledgeReports> for Post {
    type Result = ();

    fn handle(&mut self, AcknowledgeReports(reports): AcknowledgeReports, _: &mut Self::Context) {
        let runs = reports.into_iter().map(|(_, _, run)| run);
        self.acknowledged.lock().expect("not poisoned").extend(runs);
    }
}

impl Handler<AnnounceSessions> for Post {
    type Result = ();

    fn handle(&mut self, _: AnnounceSessions, _: &mut Self::Context) {
        if self.announces.load(Ordering::SeqCst) {
            self.poller.try_send(opened(None)).expect("room");
        }
    }
}

impl Handler<Shutdown> for Post {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

pub fn opened(announcement: Option<Announcement>) -> SessionEvent {
    let client = MemStore::new(Authority::Dispatcher, [SYSTEM].into_iter())
        .client(SYSTEM)
        .expect("it exists");
    SessionEvent::Opened(Box::new(SessionOpened {
        system: SYSTEM,
        connection: CONNECTION,
        client,
        kind: AgentKind::New,
        announcement,
        at: Timestamp::default(),
    }))
}
