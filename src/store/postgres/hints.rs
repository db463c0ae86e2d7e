//! What the triggers tell, kept until it is looked at.
//!
//! | Payload | Tells that | Trigger |
//! |---|---|---|
//! | `a17` | action 17 was assigned to systems, or its time changed | `osa_action_assigned`, `osa_action_postponed` |
//! | `s5` | an action of a system in bucket 5 changed its status | `osa_action_moved` |
//! | `c5` | a client in bucket 5 has another name, key or JID, or is to be pinged | `osa_client_changed` |
//! | anything else | something changed | those of the first version; any, where a column has another type than before |
//!
//! A system's bucket is its id modulo [`BUCKETS`]. Hints only say where to look: what was missed is found by the sweep and
//! by reconciliation.

use std::collections::BTreeSet;

use crate::domain::ids::SystemId;

/// Payloads of one transaction for systems at most, and as many for clients; part of the triggers' functions. PostgreSQL
/// before 13 compares each new payload with all before it: more would make the Satellite's large transactions slow,
/// fewer would name too many systems that nothing happened to.
pub(super) const BUCKETS: i64 = 4_096;
/// Actions that are kept by id. Of more, each connected system is compared instead.
const ACTIONS_MAX: usize = 10_000;

/// The bucket of a system.
pub(super) const fn bucket(system: SystemId) -> i64 {
    system.0.rem_euclid(BUCKETS)
}

/// What was told and not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hints {
    /// Actions by id.
    pub(super) actions: BTreeSet<i64>,
    /// Buckets of systems whose actions moved.
    pub(super) systems: BTreeSet<i64>,
    /// Any system's actions may have moved.
    pub(super) all_systems: bool,
    /// Buckets of clients that changed.
    pub(super) clients: BTreeSet<i64>,
    /// Any client may have changed.
    pub(super) all_clients: bool,
}

impl Hints {
    /// Takes in one notification.
    pub(super) fn hear(&mut self, payload: &str) {
        let number = payload.get(1..).and_then(|digits| digits.parse::<i64>().ok());
        match (payload.as_bytes().first(), number) {
            (Some(b'a'), Some(_)) if self.actions.len() >= ACTIONS_MAX => self.all_systems = true,
            (Some(b'a'), Some(action)) => drop(self.actions.insert(action)),
            (Some(b's'), Some(bucket)) if (0..BUCKETS).contains(&bucket) => drop(self.systems.insert(bucket)),
            (Some(b'c'), Some(bucket)) if (0..BUCKETS).contains(&bucket) => drop(self.clients.insert(bucket)),
            (Some(_) | None, _) => self.all_clients = true,
        }
    }

    /// Whether it was told where to look, and nowhere else is anything to be found.
    pub(super) fn say_where(&self) -> bool {
        let is_silent = self.actions.is_empty() && self.systems.is_empty() && self.clients.is_empty();
        !is_silent && !self.all_systems && !self.all_clients
    }

    /// Nobody listened for a while.
    pub(super) fn miss(&mut self) {
        self.all_systems = true;
        self.all_clients = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(payloads: &[&str]) -> Hints {
        let mut hints = Hints::default();
        payloads.iter().for_each(|payload| hints.hear(payload));
        hints
    }

    #[test]
    fn payloads_say_where_to_look() {
        let told = heard(&["a17", "s5", "c4095", "a17"]);

        let expected = Hints {
            actions: [17].into(),
            systems: [5].into(),
            clients: [4_095].into(),
            ..Hints::default()
        };
        assert_eq!(told, expected);
        assert!(told.say_where() && !Hints::default().say_where());
    }

    #[test]
    fn what_is_not_understood_says_that_something_changed() {
        for payload in ["", "a", "ä", "s4096", "s-1", "c1.5", "x1", "a99999999999999999999"] {
            let expected = Hints {
                all_clients: true,
                ..Hints::default()
            };
            assert_eq!(heard(&[payload]), expected, "{payload:?}");
            assert!(!heard(&[payload, "a1"]).say_where(), "{payload:?}");
        }
    }

    #[test]
    fn more_actions_than_are_kept_are_found_by_their_systems() {
        let payloads: Vec<String> = (0..=ACTIONS_MAX).map(|id| format!("a{id}")).collect();
        let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();

        let told = heard(&payloads);

        assert_eq!((told.actions.len(), told.all_systems), (ACTIONS_MAX, true));
    }

    #[test]
    fn triggers_have_the_same_buckets() {
        let installed = include_str!("../../../migrations/postgres/notify/install.sql");
        assert_eq!(installed.matches(&format!("NEW.server_id % {BUCKETS}")).count(), 2);
    }
}
