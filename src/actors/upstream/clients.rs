//! The sessions of the clients whose presence is there.

use std::collections::HashMap;

use actix::Addr;
use minidom::Element;

use crate::actors::session::{EndCause, Relayed, Session, SessionOrder};
use crate::actors::supervision::insist;
use crate::protocol::stanza::bare;
use crate::protocol::stream::server::ClientActivity;

struct Client {
    jid: Box<str>,
    session: Addr<Session>,
}

/// By account: each has one resource, but for mistakes.
#[derive(Default)]
pub(super) struct Clients {
    accounts: HashMap<Box<str>, Vec<Client>>,
}

impl Clients {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.accounts.values().map(Vec::len).sum()
    }

    /// Hands a message to the session of its sender; `false` if there is none.
    pub(super) fn hear(&self, from: &str, message: Element) -> bool {
        let Some(session) = self.session(from) else {
            return false;
        };
        tell(session, from, ClientActivity::Message(message));
        true
    }

    /// Hands a presence to the session of its sender; gives it back if there is none that lives.
    pub(super) fn see(&self, from: &str, presence: Element) -> Option<Element> {
        match self.session(from).filter(|session| session.connected()) {
            Some(session) => {
                tell(session, from, ClientActivity::Available(presence));
                None
            }
            None => Some(presence),
        }
    }

    /// A session was started for this client.
    pub(super) fn insert(&mut self, jid: &str, session: Addr<Session>) {
        let account = self.accounts.entry(bare(jid).into()).or_default();
        account.retain(|client| &*client.jid != jid);
        account.push(Client {
            jid: jid.into(),
            session,
        });
    }

    /// Ends the session of this full JID, or all of a bare one.
    pub(super) fn end(&mut self, jid: &str) {
        let Some(account) = self.accounts.get_mut(bare(jid)) else {
            return;
        };
        let is_meant = |client: &mut Client| jid == bare(jid) || &*client.jid == jid;
        for client in account.extract_if(.., is_meant) {
            insist(&client.session.recipient(), SessionOrder::End(EndCause::Unavailable));
        }
        if account.is_empty() {
            self.accounts.remove(bare(jid));
        }
    }

    /// The clients whose sessions have ended although their presence is there.
    pub(super) fn abandoned(&self) -> Vec<String> {
        let clients = self.accounts.values().flatten();
        let abandoned = clients.filter(|client| !client.session.connected());
        abandoned.map(|client| client.jid.to_string()).collect()
    }

    fn session(&self, jid: &str) -> Option<&Addr<Session>> {
        let clients = self.accounts.get(bare(jid))?;
        let client = clients.iter().find(|client| &*client.jid == jid)?;
        Some(&client.session)
    }
}

/// A session that has no room has a client that says too much; what it repeats is heard.
fn tell(session: &Addr<Session>, jid: &str, activity: ClientActivity) {
    if session.try_send(Relayed(activity)).is_err() {
        tracing::debug!(event = "stanza_ignored", jid, reason = "its session has no room");
    }
}
