//! Clients at other servers: a server that is gone, and a way that is cut, tell nobody who is behind them.
//!
//! ```text
//!                  a message or a ping comes back
//!   there ────────────────────────────────────────────────► missed: pinged in each round
//!     ▲                                                        │
//!     └── presence, an answer, or silence over three rounds ─┘
//! ```
//!
//! In each round, which is a minute, one client of each other server is pinged (XEP-0199); if it is missed, so may be its neighbours, who are pinged
//! then. Existing agents answer no ping, and are there as long as none comes back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use minidom::Element;

use super::{ContactOutput, Contacts};
use crate::protocol::ns;
use crate::protocol::stanza::{bare, set_attribute};

/// Marks our pings, and their answers.
pub const CONTACT_PING_ID: &str = "contact";
/// Rounds over which a client that is missed has kept silent: longer than servers try to find each other, for a minute.
const SILENT_ROUNDS: u8 = 3;
/// How long a round takes at least. Readings may follow each other faster, while clients register.
const ROUND: Duration = Duration::from_secs(60);

/// See the [module](self). JIDs are full, but for those that are asked for.
#[derive(Debug)]
pub(super) struct Doubts {
    /// That of our server.
    own_domain: Box<str>,
    /// By domain.
    there: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    /// Over how many rounds they have kept silent.
    missed: BTreeMap<Box<str>, u8>,
    /// Domains all of whose clients were pinged in this round.
    doubted: BTreeSet<Box<str>>,
    round_ends: Option<Instant>,
    pings: VecDeque<Box<str>>,
}

impl Contacts {
    /// Something that this full JID was sent came back.
    pub fn handle_returned(&mut self, jid: &str) {
        if self.doubts.miss(jid) {
            self.outputs.push_back(ContactOutput::Unavailable(jid.to_owned()));
        }
    }

    /// This full JID answered a ping of [`Contacts::next_stanza`].
    pub fn handle_answered(&mut self, jid: &str) {
        if self.doubts.missed.contains_key(jid) {
            self.see(jid.to_owned(), plain_presence());
        }
    }

    pub(super) fn find_the_missed(&mut self, now: Instant) {
        for jid in self.doubts.handle_reading(now) {
            self.see(jid.into(), plain_presence());
        }
    }

    /// A registered client is there.
    pub(super) fn see(&mut self, jid: String, presence: Element) {
        self.doubts.see(&jid);
        self.greet(bare(&jid));
        self.outputs.push_back(ContactOutput::Available { jid, presence });
    }

    /// Whoever should know says that a client, or all of an account, is gone.
    pub(super) fn lose_sight(&mut self, jid: String) {
        self.doubts.forget(&jid);
        self.outputs.push_back(ContactOutput::Unavailable(jid));
    }
}

impl Doubts {
    /// Begins for our JID, or for the domain of the server.
    pub(super) fn new(own: &str) -> Self {
        Self {
            own_domain: domain(own).into(),
            there: BTreeMap::new(),
            missed: BTreeMap::new(),
            doubted: BTreeSet::new(),
            round_ends: None,
            pings: VecDeque::new(),
        }
    }

    fn see(&mut self, jid: &str) {
        self.missed.remove(jid);
        if domain(jid) != &*self.own_domain {
            self.there.entry(domain(jid).into()).or_default().insert(jid.into());
        }
    }

    /// What this client, or all of a bare JID, was sent came back; whether any was there.
    pub(super) fn miss(&mut self, jid: &str) -> bool {
        for (_, silent) in self.missed.range_mut(of(jid)) {
            *silent = 0;
        }
        let lost = self.take(jid);
        if lost.is_empty() {
            return false;
        }
        self.missed.extend(lost.into_iter().map(|jid| (jid, 0)));
        if self.doubted.insert(domain(jid).into()) {
            self.pings
                .extend(self.there.get(domain(jid)).into_iter().flatten().cloned());
        }
        true
    }

    pub(super) fn forget(&mut self, jid: &str) {
        self.take(jid);
        self.missed.extract_if(of(jid), |_, _| true).for_each(drop);
    }

    /// The registrations are read again. Whose pings came to rest somewhere, instead of coming back, is there.
    fn handle_reading(&mut self, now: Instant) -> Vec<Box<str>> {
        if self.round_ends.is_some_and(|end| now < end) {
            return Vec::new();
        }
        self.round_ends = Some(now + ROUND);
        self.doubted.clear();
        let samples = self.there.values().filter_map(BTreeSet::first).cloned();
        self.pings = samples.collect();
        let mut silent = Vec::new();
        for (jid, rounds) in &mut self.missed {
            *rounds += 1;
            if *rounds > SILENT_ROUNDS {
                silent.push(jid.clone());
            } else {
                self.pings.push_back(jid.clone());
            }
        }
        silent
    }

    pub(super) fn next_ping(&mut self) -> Option<Element> {
        let jid = self.pings.pop_front()?;
        let mut ping = Element::bare("iq", ns::CLIENT);
        set_attribute(&mut ping, "type", "get");
        set_attribute(&mut ping, "id", CONTACT_PING_ID);
        set_attribute(&mut ping, "to", &jid);
        ping.append_child(Element::bare("ping", ns::PING));
        Some(ping)
    }

    pub(super) fn has_pings(&self) -> bool {
        !self.pings.is_empty()
    }

    /// Takes those of this JID out of those who are there.
    fn take(&mut self, jid: &str) -> Vec<Box<str>> {
        let Some(neighbours) = self.there.get_mut(domain(jid)) else {
            return Vec::new();
        };
        let taken = neighbours.extract_if(of(jid), |_| true).collect();
        if neighbours.is_empty() {
            self.there.remove(domain(jid));
        }
        taken
    }
}

fn plain_presence() -> Element {
    Element::bare("presence", ns::CLIENT)
}

/// Where this full JID stands in an order, or all of a bare one.
fn of(jid: &str) -> Range<Box<str>> {
    let [first, next] = if jid.contains('/') { ["", "\0"] } else { ["/", "0"] };
    format!("{jid}{first}").into()..format!("{jid}{next}").into()
}

fn domain(jid: &str) -> &str {
    let account = bare(jid);
    account.split_once('@').map_or(account, |(_, domain)| domain)
}
