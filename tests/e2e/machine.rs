//! A client's check beside a Satellite: what `queue.get` and `queue.submit` do for `rhn_check`; compatibility contract,
//! section 7.3.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use crate::beside_satellite::BesideSatellite;
use crate::cluster::Database;
use crate::existing::Identity;

/// The machine that checks.
#[derive(Clone)]
pub struct Machine {
    database: Arc<Database>,
    /// The profile that its systemid stands for.
    pub system: Arc<Mutex<String>>,
    /// Whether what it carries out fails.
    pub fails: Arc<AtomicBool>,
    /// When it was booted last; it is told at each check.
    pub boot: Arc<AtomicI64>,
}

impl Machine {
    /// The machine of this system, and its agent's identity.
    pub fn of(beside: &BesideSatellite, name: &str, identity: Identity) -> (Self, Identity) {
        let machine = Self {
            database: Arc::clone(&beside.database),
            system: Arc::new(Mutex::new(beside.id(name))),
            fails: Arc::default(),
            boot: Arc::default(),
        };
        let check = machine.clone();
        let check: Arc<dyn Fn() -> i32 + Send + Sync> = Arc::new(move || {
            check.check();
            0
        });
        (machine, Identity { check, ..identity })
    }

    /// Fetches and carries out one action after the other. Each step is a transaction of its own.
    pub fn check(&self) {
        let (system, boot) = (self.system.lock().unwrap().clone(), self.boot.load(Ordering::SeqCst));
        let status = if self.fails.load(Ordering::SeqCst) { 3 } else { 2 };
        self.database.sql(&format!(
            "DO $$ DECLARE next RECORD; \
             BEGIN LOOP \
               UPDATE rhnServerAction sa SET status = 2 FROM rhnAction a, rhnServer s \
                 WHERE a.id = sa.action_id AND a.action_type = 9 AND sa.server_id = {system} AND sa.status = 1 \
                   AND s.id = sa.server_id AND abs(s.last_boot - {boot}) > 5; \
               UPDATE rhnServer SET last_boot = {boot} WHERE id = {system} AND abs(last_boot - {boot}) > 5; \
               WITH RECURSIVE failed AS (SELECT action_id FROM rhnServerAction WHERE server_id = {system} AND status = 3 \
                   UNION SELECT a.id FROM rhnAction a JOIN failed ON a.prerequisite = failed.action_id) \
                 UPDATE rhnServerAction sa SET status = 3, result_code = -100 FROM failed \
                   WHERE sa.server_id = {system} AND sa.action_id = failed.action_id AND sa.status = 0; \
               COMMIT; \
               EXIT WHEN EXISTS (SELECT 1 FROM rhnServerAction sa JOIN rhnAction a ON a.id = sa.action_id \
                 WHERE sa.server_id = {system} AND sa.status = 1 AND a.action_type = 9); \
               SELECT sa.action_id AS id, t.label INTO next FROM rhnServerAction sa \
                 JOIN rhnAction a ON a.id = sa.action_id JOIN rhnActionType t ON t.id = a.action_type \
                 WHERE sa.server_id = {system} AND sa.status IN (0, 1) AND a.earliest_action <= clock_timestamp() \
                   AND NOT EXISTS (SELECT 1 FROM rhnServerAction first WHERE first.server_id = sa.server_id \
                     AND first.action_id = a.prerequisite AND first.status <> 2) \
                   AND (t.unlocked_only = 'N' \
                     OR NOT EXISTS (SELECT 1 FROM rhnServerLock l WHERE l.server_id = sa.server_id)) \
                 ORDER BY a.earliest_action, a.prerequisite NULLS FIRST, a.id LIMIT 1; \
               EXIT WHEN NOT FOUND; \
               UPDATE rhnServerAction SET status = 1, remaining_tries = remaining_tries - 1 \
                 WHERE server_id = {system} AND action_id = next.id; \
               COMMIT; \
               IF next.label <> 'reboot.reboot' THEN \
                 UPDATE rhnServerAction SET status = {status}, result_code = 0 \
                   WHERE server_id = {system} AND action_id = next.id; \
                 COMMIT; \
               END IF; \
             END LOOP; END $$"
        ));
    }
}
