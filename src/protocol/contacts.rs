//! The contacts of a dispatcher that logs in to a site's own server (RFC 6121, sections 2 to 4; compatibility contract,
//! sections 1.9, 1.10 and 9.2).
//!
//! The table of registrations says whose presence counts; the server's roster says what is subscribed already:
//!
//! ```text
//! roster ──► registrations read ──► presence, subscribe to who is missing, remove who is gone
//!                 ▲                                 │
//!                 └── each minute; 1 s after a JID that nobody knows, doubling to 60 s while it stays unknown
//! ```
//!
//! A client at another server is told to be gone by that server; and by nobody if that server is gone, or the way to it:
//! `doubts` finds out.
//!
//! A component has no roster and no server that keeps presence for it (XEP-0114), so it does both for itself. What is subscribed
//! is in the rosters of its contacts, at their servers: each is probed once, and one that shows itself is shown that we are there.
//! Who has not been seen when all are probed is asked, since it may have asked while we were not there.
//!
//! Only registered JIDs have an effect. Others wait in a small room for the next reading, since agents register a moment
//! before they show themselves, and are forgotten after it.

mod contact;
mod doubts;
mod room;
mod stanzas;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use minidom::Element;

pub use self::doubts::CONTACT_PING_ID;

use self::contact::{Contact, Duty, Keeper};
use self::doubts::Doubts;
use self::room::{Held, WaitingRoom};
use self::stanzas::{available, presence, removal};
use super::ns;
use super::roster::{RosterItem, Subscription};
use super::stanza::bare;

/// How often registrations are read without need.
const REFRESH: Duration = Duration::from_secs(60);
/// How soon they are read again after a failure.
const RETRY: Duration = Duration::from_secs(5);
/// How soon they are read for a JID that nobody knows.
const STRANGER_PAUSE_MIN: Duration = Duration::from_secs(1);
/// How late, while those JIDs stay unknown.
const STRANGER_PAUSE_MAX: Duration = Duration::from_secs(60);

/// What the contacts ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum ContactOutput {
    /// Read the full JIDs of all registrations, and call [`Contacts::registered`].
    ReadRegistrations,
    /// The client of this full JID is there.
    Available {
        /// Its full JID.
        jid: String,
        /// Its presence.
        presence: Element,
    },
    /// The client of this full JID is gone; of a bare JID: all of it.
    Unavailable(String),
}

/// The contacts of one login.
#[derive(Debug)]
pub struct Contacts {
    own: Box<str>,
    keeper: Keeper,
    /// By bare JID.
    contacts: HashMap<Box<str>, Contact>,
    /// Full JIDs.
    registered: HashSet<Box<str>>,
    room: WaitingRoom,
    duties: VecDeque<(Duty, Box<str>)>,
    announced: bool,
    presence_due: bool,
    readings: u64,
    is_reading: bool,
    read_at: Option<Instant>,
    stranger_pause: Duration,
    doubts: Doubts,
    outputs: VecDeque<ContactOutput>,
}

impl Contacts {
    /// Begins with a login under this JID; the roster is on its way.
    pub fn new(own: &str) -> Self {
        Self {
            own: bare(own).into(),
            keeper: Keeper::Server,
            contacts: HashMap::new(),
            registered: HashSet::new(),
            room: WaitingRoom::default(),
            duties: VecDeque::new(),
            announced: false,
            presence_due: false,
            readings: 0,
            is_reading: false,
            read_at: None,
            stranger_pause: STRANGER_PAUSE_MIN,
            doubts: Doubts::new(own),
            outputs: VecDeque::new(),
        }
    }

    /// Begins with a component's login under this JID to the server of this domain: the registrations are to be read.
    pub fn of_component(own: &str, server: &str, now: Instant) -> Self {
        Self {
            keeper: Keeper::Ourselves,
            doubts: Doubts::new(server),
            read_at: Some(now),
            ..Self::new(own)
        }
    }

    /// Takes the roster: the registrations are to be read.
    pub fn handle_roster(&mut self, items: Vec<RosterItem>, now: Instant) {
        self.handle_roster_change(items);
        self.read_at = Some(now);
    }

    /// Takes a change of the roster.
    pub fn handle_roster_change(&mut self, items: Vec<RosterItem>) {
        for item in items {
            let contact = self.contact(&item.jid);
            contact.in_roster = item.subscription != Subscription::Removed;
            contact.subscription = item.subscription;
            contact.is_asked = item.is_asked;
        }
    }

    /// Takes a presence of anybody.
    pub fn handle_presence(&mut self, presence: Element, now: Instant) {
        let Some(from) = presence.attr("from").map(str::to_owned) else {
            return;
        };
        if bare(&from) == &*self.own {
            return;
        }
        match presence.attr("type") {
            None if self.registered.contains(from.as_str()) => self.see(from, presence),
            None if !self.is_registered(bare(&from)) => self.hold(&from, Held::Presence(presence), now),
            Some("subscribe") if self.is_registered(bare(&from)) => self.accept(bare(&from)),
            Some("subscribe") => self.hold(&from, Held::Subscribe, now),
            Some("probe") if self.keeper == Keeper::Ourselves => self.answer_probe(bare(&from)),
            Some("unavailable") => self.lose_sight(from),
            Some("error") => {
                self.doubts.miss(&from);
                self.outputs.push_back(ContactOutput::Unavailable(from));
            }
            Some("unsubscribed") => self.lose(bare(&from)),
            // Another resource of a registered account; `subscribed`, which the roster tells as well; what servers answer.
            None | Some(_) => {}
        }
    }

    /// What was asked by [`ContactOutput::ReadRegistrations`]: full JIDs, or `None` if they could not be read.
    pub fn registered(&mut self, jids: Option<Vec<String>>, now: Instant) {
        self.is_reading = false;
        let Some(jids) = jids else {
            self.read_at = Some(now + RETRY);
            return;
        };
        let is_first = !self.announced;
        self.contacts
            .values_mut()
            .for_each(|contact| contact.is_registered = false);
        self.registered = jids.into_iter().map(String::into_boxed_str).collect();
        let mut accounts: HashSet<Box<str>> = self.registered.iter().map(|jid| bare(jid).into()).collect();
        self.presence_due |= is_first && self.keeper == Keeper::Server;
        self.announced = true;
        accounts.remove(&self.own);
        for account in accounts {
            let is_unknown = self.keeper == Keeper::Ourselves && !self.contacts.contains_key(&account);
            let contact = self.contact(&account);
            contact.is_registered = true;
            if is_unknown {
                self.queue(Duty::Probe, &account);
            } else if !contact.subscription.is_to() && (is_first || !contact.is_asked) {
                self.queue(Duty::Subscribe, &account);
            }
        }
        self.remove_the_gone();
        self.find_the_missed(now);
        self.receive_from_room(now);
    }

    /// When [`Contacts::handle_deadline`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.read_at.filter(|_| !self.is_reading)
    }

    /// Has the registrations read when it is time.
    pub fn handle_deadline(&mut self, now: Instant) {
        if self.next_deadline().is_some_and(|at| at <= now) {
            self.is_reading = true;
            self.readings += 1;
            self.read_at = None;
            self.outputs.push_back(ContactOutput::ReadRegistrations);
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<ContactOutput> {
        self.outputs.pop_front()
    }

    /// The next stanza to send when the server has room for it: servers bear some hundred a second from one client.
    pub fn next_stanza(&mut self) -> Option<Element> {
        if std::mem::take(&mut self.presence_due) {
            return Some(Element::bare("presence", ns::CLIENT));
        }
        if let Some(ping) = self.doubts.next_ping() {
            return Some(ping);
        }
        loop {
            let (duty, jid) = self.duties.pop_front()?;
            let Some(contact) = self.contacts.get_mut(&jid) else {
                continue;
            };
            if !contact.fulfil(duty) {
                // It went before its turn.
                continue;
            }
            match duty {
                Duty::Approve => return Some(presence("subscribed", &jid)),
                Duty::Show => {
                    contact.is_shown = true;
                    return Some(available(&jid));
                }
                Duty::Probe if contact.is_registered => {
                    // Behind all probes: a contact that is seen by then is not asked.
                    if !contact.is_asked {
                        self.queue(Duty::Subscribe, &jid);
                    }
                    return Some(presence("probe", &jid));
                }
                Duty::Subscribe if contact.is_registered && !contact.subscription.is_to() => {
                    contact.is_asked = true;
                    return Some(presence("subscribe", &jid));
                }
                Duty::Remove if contact.in_roster && !contact.is_registered => {
                    contact.in_roster = false;
                    return Some(removal(&jid));
                }
                Duty::Probe | Duty::Subscribe | Duty::Remove => {}
            }
        }
    }

    /// Whether a stanza waits to be sent.
    pub fn has_stanzas(&self) -> bool {
        self.presence_due || self.doubts.has_pings() || !self.duties.is_empty()
    }

    /// What a component says when it goes, since nobody says it for it.
    pub fn farewells(&self) -> impl Iterator<Item = Element> {
        let shown = self.contacts.iter().filter(|(_, contact)| contact.is_shown);
        shown.map(|(account, _)| presence("unavailable", account))
    }

    /// How many registrations there are.
    pub fn registrations(&self) -> usize {
        self.registered.len()
    }

    fn contact(&mut self, account: &str) -> &mut Contact {
        let heard_in = self.readings;
        let contact = self.contacts.entry(account.into()).or_insert(Contact::new(heard_in));
        contact.heard_in = heard_in;
        contact
    }

    fn is_registered(&self, account: &str) -> bool {
        self.contacts.get(account).is_some_and(|contact| contact.is_registered)
    }

    /// A component has to show itself to whoever is there, once; from then on clients' servers probe it as they come.
    fn greet(&mut self, account: &str) {
        if self.keeper == Keeper::Ourselves {
            let contact = self.contact(account);
            contact.subscription = Subscription::To;
            if !contact.is_shown {
                self.queue(Duty::Show, account);
            }
        }
    }

    /// A contact wants to know whether we are there, as its server asks for it when it comes. If it is not seen in spite of that,
    /// its roster may say that we do not want to.
    fn answer_probe(&mut self, account: &str) {
        if !self.is_registered(account) {
            return;
        }
        self.queue(Duty::Show, account);
        let contact = self.contact(account);
        if !contact.subscription.is_to() && !contact.is_asked {
            self.queue(Duty::Subscribe, account);
        }
    }

    /// A contact does not let us see it any more; strangers make no entry by saying so.
    fn lose(&mut self, account: &str) {
        let Some(contact) = self.contacts.get_mut(account) else {
            return;
        };
        contact.is_asked = false;
        contact.subscription = match contact.subscription {
            Subscription::Both | Subscription::From => Subscription::From,
            Subscription::To | Subscription::None => Subscription::None,
            Subscription::Removed => Subscription::Removed,
        };
        self.lose_sight(account.to_owned());
    }

    /// Lets a registered client see us, and asks to see it, whatever was asked before: it may have lost that. It is there,
    /// so it goes before all those who may not be.
    fn accept(&mut self, account: &str) {
        let shows = self.keeper == Keeper::Ourselves;
        let contact = self.contact(account);
        if !contact.take_on(Duty::Approve) {
            return;
        }
        let asks = !contact.subscription.is_to();
        let wanted = [(Duty::Subscribe, asks), (Duty::Show, shows), (Duty::Approve, true)];
        for (duty, _) in wanted.into_iter().filter(|(_, is_wanted)| *is_wanted) {
            self.contact(account).take_on(duty);
            self.duties.push_front((duty, account.into()));
        }
    }

    /// Once each at a time, so that the queue is no longer than the table.
    fn queue(&mut self, duty: Duty, account: &str) {
        if self.contact(account).take_on(duty) {
            self.duties.push_back((duty, account.into()));
        }
    }

    fn hold(&mut self, from: &str, held: Held, now: Instant) {
        self.room.hold(from, held);
        if self.announced {
            let soon = now + self.stranger_pause;
            self.read_at = Some(self.read_at.map_or(soon, |at| at.min(soon)));
        }
    }

    /// Whoever was heard of since the reading began may have registered since.
    fn remove_the_gone(&mut self) {
        let readings = self.readings;
        let gone = |contact: &Contact| !contact.is_registered && contact.heard_in < readings;
        let accounts = self.contacts.iter().filter(|(_, contact)| gone(contact));
        let accounts: Vec<(Box<str>, bool, bool)> = accounts
            .map(|(jid, contact)| (jid.clone(), contact.in_roster, contact.subscription.is_to()))
            .collect();
        for (account, in_roster, is_seen) in accounts {
            self.doubts.forget(&account);
            if in_roster {
                self.queue(Duty::Remove, &account);
            } else {
                self.contacts.remove(&account);
            }
            if in_roster || is_seen {
                self.outputs.push_back(ContactOutput::Unavailable(account.into()));
            }
        }
    }

    fn receive_from_room(&mut self, now: Instant) {
        let mut came = false;
        let waited = !self.room.is_empty();
        for (from, held) in self.room.clear() {
            match held {
                Held::Presence(presence) if self.registered.contains(from.as_str()) => {
                    came = true;
                    self.see(from, presence);
                }
                Held::Subscribe if self.is_registered(bare(&from)) => {
                    came = true;
                    self.accept(bare(&from));
                }
                // Not registered, which may change; whoever registers shows itself again.
                Held::Presence(_) | Held::Subscribe => {}
            }
        }
        self.stranger_pause = match (waited, came) {
            (true, false) => (self.stranger_pause * 2).min(STRANGER_PAUSE_MAX),
            (true, true) | (false, _) => STRANGER_PAUSE_MIN,
        };
        self.read_at = Some(now + REFRESH);
    }
}
