//! The invariants of the push life cycle, section 7.

use osa::domain::push::request::Claim;

use super::*;

/// Store and network in a healthy moment.
const SLACK: Duration = Duration::from_secs(5);

impl World {
    /// I1: an action, or version, that no request covered yet is requested in time. The clock starts when nothing but
    /// the planner keeps the system from being asked: it is pushable, the last request ended, the store works.
    pub(super) fn check_claims(&mut self, claims: &[Claim], failed: bool) {
        if failed {
            return;
        }
        for claim in claims {
            let free_since = self.witness.free_since.get(&claim.system).copied().unwrap_or(self.now);
            for covered in &claim.covers {
                let Some(action) = self.store.actions.get(&covered.action) else {
                    continue;
                };
                let first = *self
                    .witness
                    .requested
                    .entry((covered.action, covered.version))
                    .or_insert(self.now);
                let limited = self.policy.notify_threshold.is_some() || self.policy.pushes_per_second.is_some();
                if first != self.now || limited || action.version() != covered.version || self.faulty {
                    continue;
                }
                let queued = action.status == Status::Queued && action.prerequisite.is_none();
                let since = action
                    .committed
                    .max(action.earliest)
                    .max(free_since)
                    .max(self.witness.excused_until);
                let bound = if self.sees_all_changes { TICK } else { RECONCILE } + TICK + SLACK;
                assert!(
                    !queued || self.now.saturating_since(since) <= bound,
                    "I1: action {} of system {} was due at {since} and asked for at {}; {}",
                    covered.action,
                    claim.system,
                    self.now,
                    self.describe()
                );
            }
        }
    }

    /// What is checked whenever a request leaves: I2, I3, I4.
    pub(super) fn check_delivery(&mut self, system: SystemId, connection: ConnectionId, number: RequestNumber) {
        let on_their_way = self.store.on_their_way(system);
        assert_eq!(
            on_their_way,
            [number],
            "I2: one request of system {system}; {}",
            self.describe()
        );
        self.check_slots(system);
        self.check_reboot(system, connection);
        self.witness.free_since.remove(&system);
    }

    /// I3, counted anew from each system instead of the planner's running sum. Offline systems and reboots are left
    /// out; a request older than `slot_age` holds nothing.
    fn check_slots(&self, asked: SystemId) {
        let Some(threshold) = self.policy.notify_threshold else {
            return;
        };
        let planner = self.node.as_ref().expect("a node delivers").agenda.planner();
        let counts = |system: SystemId| {
            let Some(known) = planner.snapshot(system).filter(|known| !known.rebooting) else {
                return false;
            };
            let young = self.store.systems[&system]
                .requests
                .values()
                .any(|request| request.state.is_some() && request.claimed + self.policy.slot_age > self.now);
            known.outstanding.is_some() || (known.awaited > 0 && young)
        };
        let others = self
            .agents
            .iter()
            .filter(|agent| agent.system != asked && counts(agent.system))
            .count();
        // A rebooting system was claimed beside one that takes the slot, and takes none itself.
        let used = others + usize::from(counts(asked));
        assert!(
            used <= threshold,
            "I3: {used} of {threshold} slots used; {}",
            self.describe()
        );
    }

    /// I4: while a reboot is picked up, one request for each session, then none within half an hour. It counts from
    /// the reconciliation that must have shown the pick-up.
    fn check_reboot(&mut self, system: SystemId, connection: ConnectionId) {
        let now = self.now;
        let rebooting = self.store.actions.values().any(|action| {
            let known = matches!(action.status, Status::PickedUp(at) if at + RECONCILE + SLACK < now);
            action.system == system && action.kind == ActionKind::Reboot && known
        });
        if !rebooting || self.faulty {
            self.witness.reboot_asked.remove(&system);
            return;
        }
        let before = self.witness.reboot_asked.insert(system, (connection, now));
        if let Some((_, at)) = before.filter(|&(same, _)| same == connection) {
            let pause = now.saturating_since(at);
            // A request that could not be handed over, or got no answer, does not count.
            assert!(
                pause >= Duration::from_secs(60),
                "I4: asked twice in {pause:?}; {}",
                self.describe()
            );
        }
    }

    /// I9: a run that completes an action began after the action's version was committed.
    pub(super) fn check_coverage(&self, index: usize, run: RunId, started: Timestamp, code: i32) {
        let Body::New(agent) = &self.agents[index].body else {
            return;
        };
        let Some(start) = agent.disk.live.get(&run).filter(|_| code == 0) else {
            return;
        };
        let row = &self.store.systems[&self.agents[index].system];
        for request in row.requests.range(..=start.covers).map(|(_, request)| request) {
            if request.state.is_none() && !request.ended_by_loss {
                continue;
            }
            for covered in &request.covers {
                let Some(action) = self.store.actions.get(&covered.action) else {
                    continue;
                };
                let completes = action.version() == covered.version && action.is_pending();
                assert!(
                    !completes || action.committed <= started,
                    "I9: run {run} began at {started}, before action {} was committed; {}",
                    covered.action,
                    self.describe()
                );
            }
        }
    }

    /// The store failed, so nobody's delay is the planner's.
    pub(super) fn excuse_everybody(&mut self) {
        // Retries of the store are up to a minute apart.
        self.witness.excused_until = self.now + Duration::from_secs(61);
    }

    /// I9, after faults: an answered request whose report is awaited is known to its agent. Two looks in a row must
    /// agree, since words may be on their way.
    pub(super) fn check_awaited(&mut self) {
        if self.faulty {
            return;
        }
        let Some(node) = &self.node else { return };
        let mut forgotten = BTreeSet::new();
        for agent in &self.agents {
            let Body::New(new) = &agent.body else { continue };
            let awaited = node
                .agenda
                .planner()
                .snapshot(agent.system)
                .map_or(0, |known| known.awaited);
            let busy = new.core.as_ref().is_none_or(CheckCore::is_busy) || !new.disk.ended.is_empty();
            if awaited > 0 && !busy && agent.connection.is_some() {
                forgotten.insert(agent.system);
            }
        }
        let twice = forgotten.intersection(&self.witness.forgotten).next();
        assert_eq!(
            twice,
            None,
            "I9: a report is awaited that nobody will make; {}",
            self.describe()
        );
        self.witness.forgotten = forgotten;
    }

    /// When all is settled: I5, I8, I9, I10.
    pub(super) fn check_end(&mut self) {
        assert!(!self.faulty, "faults never ended; {}", self.describe());
        let node = self.node.as_ref().expect("a healed world has a node");
        let planner = node.agenda.planner();
        for agent in &self.agents {
            let row = &self.store.systems[&agent.system];
            let responsive = planner
                .snapshot(agent.system)
                .is_some_and(|snapshot| snapshot.responsive);
            assert_eq!(
                row.online,
                responsive,
                "I5: system {}; {}",
                agent.system,
                self.describe()
            );
            let awaited = planner.snapshot(agent.system).map_or(0, |snapshot| snapshot.awaited);
            assert_eq!(awaited, 0, "I8: requests are kept for ever; {}", self.describe());
        }
        assert!(
            self.store.runs.values().all(|&times| times == 1),
            "I10: a report was counted twice"
        );
        let pending = self.store.actions.values().filter(|action| action.is_pending()).count();
        assert_eq!(pending, 0, "I9: {}", self.describe());
    }
}
