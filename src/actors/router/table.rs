//! Which connection is whose; pure.
//!
//! One session per JID and one per system: of two, the one with the higher connection id stays. So a late message of
//! an older connection, in whatever order sessions register again after a crash of the router, never evicts a newer
//! one.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::ids::{ConnectionId, SystemId};

struct Entry<R> {
    route: R,
    jid: Arc<str>,
    system: Option<SystemId>,
}

/// The sessions of this process. `R` is whatever leads to one.
pub struct Table<R> {
    by_connection: HashMap<ConnectionId, Entry<R>>,
    by_jid: HashMap<Arc<str>, ConnectionId>,
    by_system: HashMap<SystemId, ConnectionId>,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self {
            by_connection: HashMap::new(),
            by_jid: HashMap::new(),
            by_system: HashMap::new(),
        }
    }
}

impl<R> Table<R> {
    /// Enters a session that has logged in as `jid`. Returns the route of the session that must give way: an older one
    /// of that JID, or this very one. A session that is in the table already changes nothing.
    pub fn register(&mut self, connection: ConnectionId, jid: &Arc<str>, route: R) -> Option<R> {
        if self.by_connection.contains_key(&connection) {
            return None;
        }
        let holder = self.by_jid.get(jid).copied();
        if holder.is_some_and(|holder| holder > connection) {
            return Some(route);
        }
        let displaced = holder.and_then(|holder| self.remove(holder));
        self.by_jid.insert(Arc::clone(jid), connection);
        let entry = Entry {
            route,
            jid: Arc::clone(jid),
            system: None,
        };
        self.by_connection.insert(connection, entry);
        displaced
    }

    /// Says which system a registered session belongs to; whether requests for the system now go there.
    pub fn open(&mut self, connection: ConnectionId, system: SystemId) -> bool {
        let newest = self.by_system.get(&system).is_none_or(|holder| *holder <= connection);
        let Some(entry) = self.by_connection.get_mut(&connection).filter(|_| newest) else {
            return false;
        };
        if let Some(before) = entry.system.replace(system)
            && self.by_system.get(&before) == Some(&connection)
        {
            self.by_system.remove(&before);
        }
        self.by_system.insert(system, connection);
        true
    }

    /// Removes a session and gives its route back. Newer sessions of the same JID or system stay.
    pub fn remove(&mut self, connection: ConnectionId) -> Option<R> {
        let entry = self.by_connection.remove(&connection)?;
        if self.by_jid.get(&entry.jid) == Some(&connection) {
            self.by_jid.remove(&entry.jid);
        }
        if let Some(system) = entry.system
            && self.by_system.get(&system) == Some(&connection)
        {
            self.by_system.remove(&system);
        }
        Some(entry.route)
    }

    /// The route to a system's session, if it still has this connection.
    pub fn route(&self, system: SystemId, connection: ConnectionId) -> Option<&R> {
        let holder = self.by_system.get(&system)?;
        let entry = self.by_connection.get(holder)?;
        (*holder == connection).then_some(&entry.route)
    }

    /// The route to a system's session, if that is another connection than this one.
    pub fn other(&self, system: SystemId, connection: ConnectionId) -> Option<&R> {
        let holder = self.by_system.get(&system).filter(|holder| **holder != connection)?;
        self.by_connection.get(holder).map(|entry| &entry.route)
    }

    /// The routes to all sessions of an account: those whose JID has this node.
    pub fn routes_of_account<'a>(&'a self, username: &'a str) -> impl Iterator<Item = &'a R> {
        let is_of_account = move |entry: &&Entry<R>| {
            let node = entry.jid.split_once('@').map(|(node, _)| node);
            node == Some(username)
        };
        self.by_connection
            .values()
            .filter(is_of_account)
            .map(|entry| &entry.route)
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.by_connection.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_connection.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SYSTEM: SystemId = SystemId(1000);

    fn id(number: u64) -> ConnectionId {
        ConnectionId(number)
    }

    fn jid(name: &str) -> Arc<str> {
        format!("{name}@sat.example.com/osad").into()
    }

    #[test]
    fn second_login_of_a_jid_displaces_the_first() {
        let mut table = Table::default();
        table.register(id(1), &jid("a"), "first");

        assert_eq!(table.register(id(2), &jid("a"), "second"), Some("first"));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn older_connection_that_registers_late_gives_way_itself() {
        let mut table = Table::default();
        table.register(id(2), &jid("a"), "second");

        assert_eq!(table.register(id(1), &jid("a"), "first"), Some("first"));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn session_that_registers_again_displaces_nobody() {
        let mut table = Table::default();
        table.register(id(1), &jid("a"), "first");

        assert_eq!(table.register(id(1), &jid("a"), "again"), None);
    }

    #[test]
    fn late_removal_of_an_older_connection_leaves_the_newer_one() {
        let mut table = Table::default();
        table.register(id(1), &jid("a"), "first");
        table.open(id(1), SYSTEM);
        table.register(id(2), &jid("a"), "second");
        table.open(id(2), SYSTEM);

        assert_eq!(table.remove(id(1)), None);
        assert_eq!(table.route(SYSTEM, id(2)), Some(&"second"));
    }

    #[test]
    fn request_for_an_older_connection_finds_no_route() {
        let mut table = Table::default();
        table.register(id(2), &jid("a"), "second");
        table.open(id(2), SYSTEM);

        assert_eq!(table.route(SYSTEM, id(1)), None);
    }

    #[test]
    fn system_under_a_new_jid_goes_to_the_newer_connection() {
        let mut table = Table::default();
        table.register(id(1), &jid("old"), "old");
        table.register(id(2), &jid("new"), "new");
        assert!(table.open(id(2), SYSTEM));

        assert!(!table.open(id(1), SYSTEM), "the older one comes too late");
        assert_eq!(table.route(SYSTEM, id(2)), Some(&"new"));
        assert_eq!(table.remove(id(1)), Some("old"));
        assert_eq!(table.route(SYSTEM, id(2)), Some(&"new"));
    }

    #[test]
    fn account_of_several_resources_is_found_whole() {
        let mut table = Table::default();
        table.register(id(1), &"a@sat.example.com/osad".into(), 1);
        table.register(id(2), &"a@sat.example.com/other".into(), 2);
        table.register(id(3), &"ab@sat.example.com/osad".into(), 3);

        let mut routes: Vec<_> = table.routes_of_account("a").copied().collect();
        routes.sort_unstable();
        assert_eq!(routes, [1, 2]);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Register(u64, u8),
        Open(u64, i64),
        Remove(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..8_u64, 0..3_u8).prop_map(|(connection, jid)| Step::Register(connection, jid)),
            (0..8_u64, 0..3_i64).prop_map(|(connection, system)| Step::Open(connection, system)),
            (0..8_u64).prop_map(Step::Remove),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn indexes_never_point_to_sessions_that_are_gone(steps in steps()) {
            let mut table = Table::default();
            for step in steps {
                match step {
                    Step::Register(connection, name) => {
                        table.register(id(connection), &jid(&name.to_string()), connection);
                    }
                    Step::Open(connection, system) => drop(table.open(id(connection), SystemId(system))),
                    Step::Remove(connection) => drop(table.remove(id(connection))),
                }
                for (jid, connection) in &table.by_jid {
                    prop_assert_eq!(Some(jid), table.by_connection.get(connection).map(|entry| &entry.jid));
                }
                for (system, connection) in &table.by_system {
                    let entry = table.by_connection.get(connection);
                    prop_assert_eq!(Some(*system), entry.and_then(|entry| entry.system));
                }
                prop_assert_eq!(table.by_jid.len(), table.by_connection.len());
            }
        }
    }
}
