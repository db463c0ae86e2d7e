//! An existing dispatcher, as its recorded session and the compatibility contract (sections 1, 3.4 and 4) describe it,
//! with everything about it that an agent has to live with.
//!
//! * It makes up a password wherever its row is not there, or not alone; registers on the number 401; ends with status 0
//!   on 409.
//! * It asks for the roster in every turn, approves whoever asks, and asks back.
//! * It sends one request for each action, in every turn, until the action is over.
//! * Presence of a client that the database does not know, or an answer in its name, costs it its connection.
//! * After a conflict it never comes back; after anything else it does in 10 s.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use minidom::Element;

use super::link::{End, Link, sign};
use super::session::{BASE, Never};
use super::{Credentials, Event, ExistingAgent, Identity, Shared, statements};
use crate::cluster::Database;

/// Between its sessions. Units: seconds.
const PAUSE: u64 = 10;

/// A running dispatcher, killed when it is dropped. It can be waited for like an agent.
pub struct ExistingDispatcher(ExistingAgent);

impl ExistingDispatcher {
    /// At the XMPP server that this agent is given, on a Satellite's database.
    pub fn start(agent: &Identity, database: &Arc<Database>) -> Self {
        let credentials = Credentials {
            username: statements::NODE.to_owned(),
            password: String::new(),
        };
        let identity = Identity {
            credentials: Arc::new(Mutex::new(credentials)),
            ..agent.clone()
        };
        let database = Arc::clone(database);
        Self(ExistingAgent::spawn(identity, move |shared| live(shared, &database)))
    }
}

impl Deref for ExistingDispatcher {
    type Target = ExistingAgent;

    fn deref(&self) -> &ExistingAgent {
        &self.0
    }
}

impl DerefMut for ExistingDispatcher {
    fn deref_mut(&mut self) -> &mut ExistingAgent {
        &mut self.0
    }
}

fn live(shared: &Arc<Shared>, database: &Database) {
    let exit = loop {
        let end = match session(shared, database) {
            Err(end) => end,
            Ok(never) => match never {},
        };
        match end {
            End::Conflict => {
                shared.note(Event::Lost("conflict".into()));
                while !shared.ends() {
                    shared.sleep(shared.pause(PAUSE, PAUSE));
                }
            }
            End::Lost(why) => {
                shared.note(Event::Lost(why));
                shared.sleep(shared.pause(PAUSE, PAUSE));
            }
            End::Tls(why) => {
                shared.note(Event::Lost(why));
                break 1;
            }
            End::Taken | End::Told => break 0,
        }
        if shared.ends() {
            break 0;
        }
    };
    shared.note(Event::Exited(exit));
}

fn session(shared: &Arc<Shared>, database: &Database) -> Result<Never, End> {
    let password = statements::password(database);
    shared
        .identity
        .credentials
        .lock()
        .unwrap()
        .password
        .clone_from(&password);
    let mut link = Link::open(shared)?;
    let jid = link.log_in("superclient")?;
    let mut session = Session {
        shared,
        database,
        link,
        jid,
        contacts: BTreeMap::new(),
        available: BTreeSet::new(),
    };
    session.roster()?;
    statements::check_in(database, &session.jid, &shared.identity.host, &password);
    session.subscribe_to_all()?;
    session.link.write("<presence />")?;
    shared.note(Event::Available);
    session.process()
}

struct Contact {
    subscription: String,
    asked: bool,
}

struct Session<'a> {
    shared: &'a Arc<Shared>,
    database: &'a Database,
    link: Link<'a>,
    /// As the dispatcher assumes it; the server is never asked.
    jid: String,
    /// By bare JID.
    contacts: BTreeMap<String, Contact>,
    /// In memory only: it starts empty on every connection.
    available: BTreeSet<String>,
}

impl Session<'_> {
    /// Asks everybody, and removes who is no longer known.
    fn subscribe_to_all(&mut self) -> Result<(), End> {
        let known = statements::clients(self.database);
        let known: BTreeSet<String> = known.iter().map(|jid| bare(jid).to_owned()).collect();
        for jid in &known {
            self.subscribe_if_needed(jid)?;
        }
        let strangers = self.contacts.iter().filter(|(jid, contact)| {
            !known.contains(*jid) && matches!(contact.subscription.as_str(), "to" | "from" | "both")
        });
        let items: Vec<String> = strangers
            .map(|(jid, _)| format!("<item jid='{jid}' subscription='remove' />"))
            .collect();
        if items.is_empty() {
            return Ok(());
        }
        let id = format!("remove-{}", self.link.id());
        self.link.write(&format!(
            "<iq type='set' id='{id}'><query xmlns = 'jabber:iq:roster' >{}</query></iq>",
            items.concat()
        ))?;
        self.shared.note(Event::Removed(items.len()));
        Ok(())
    }

    /// The inner loop: one turn, then a pause.
    fn process(&mut self) -> Result<Never, End> {
        loop {
            self.roster()?;
            self.ping()?;
            let read = self.link.read(Instant::now());
            if self.shared.ends() {
                self.link.write("<presence type='unavailable' /></stream:stream>").ok();
            }
            for stanza in read?.into_iter().flatten() {
                self.handle(&stanza)?;
            }
            self.notify()?;
            self.shared.sleep(self.shared.pause(6, 10));
        }
    }

    /// Asks for the roster, handles what came before the answer, and what the answer asks for.
    fn roster(&mut self) -> Result<(), End> {
        let id = format!("iq-request-{}", self.link.id());
        let get = format!("<iq type='get' id='{id}'><query xmlns = 'jabber:iq:roster'  /></iq>");
        let result = self.link.request(&id, &get)?;
        for stanza in self.link.take_early() {
            self.handle(&stanza)?;
        }
        self.note_items(&result);
        let waiting: Vec<(String, bool)> = self
            .contacts
            .iter()
            .filter(|(_, contact)| contact.subscription == "from")
            .map(|(jid, contact)| (jid.clone(), contact.asked))
            .collect();
        for (jid, asked) in waiting {
            let kind = if asked { "subscribed" } else { "subscribe" };
            self.link.write(&format!("<presence to='{jid}' type='{kind}' />"))?;
        }
        Ok(())
    }

    fn note_items(&mut self, iq: &Element) {
        let queries = iq.children().filter(|child| child.ns() == "jabber:iq:roster");
        for item in queries.flat_map(Element::children) {
            let jid = bare(item.attr("jid").unwrap_or_default()).to_owned();
            if let known @ ("none" | "to" | "from" | "both") = item.attr("subscription").unwrap_or("none") {
                let contact = Contact {
                    subscription: known.to_owned(),
                    asked: item.attr("ask") == Some("subscribe"),
                };
                self.contacts.insert(jid, contact);
            }
        }
    }

    fn handle(&mut self, stanza: &Element) -> Result<(), End> {
        let from = stanza.attr("from").unwrap_or_default().to_owned();
        match (stanza.name(), stanza.attr("type")) {
            ("message", Some("normal")) => self.handle_message(stanza, &from),
            ("presence", None | Some("subscribed")) => {
                self.heard(&from, true);
                self.subscribe_if_needed(&from)
            }
            ("presence", Some("unavailable" | "unsubscribed")) => {
                self.heard(&from, false);
                Ok(())
            }
            ("presence", Some("subscribe")) => {
                let id = stanza.attr("id").map(|id| format!(" id='{id}'")).unwrap_or_default();
                self.link
                    .write(&format!("<presence to='{from}' type='subscribed'{id} />"))?;
                self.subscribe_if_needed(&from)
            }
            ("presence", Some("probe")) => self.link.write(&format!("<presence to='{from}' />")),
            ("iq", Some("set")) => {
                self.note_items(stanza);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn heard(&mut self, jid: &str, available: bool) {
        if available {
            self.available.insert(jid.to_owned());
        } else {
            self.available.remove(jid);
        }
        statements::set_state(self.database, jid, available);
        let jid = jid.to_owned();
        self.shared.note(Event::Heard { jid, available });
    }

    fn subscribe_if_needed(&mut self, jid: &str) -> Result<(), End> {
        let bare = bare(jid).to_owned();
        let contact = self.contacts.get(&bare);
        if contact.is_some_and(|it| it.asked || matches!(it.subscription.as_str(), "to" | "both")) {
            return Ok(());
        }
        let id = format!("presence-{}", self.link.id());
        let signed = self.signed("/presence/subscribe", &format!("{bare}/osad"))?;
        let subscription = contact_state(self.contacts.get(&bare));
        let asked = true;
        self.contacts.insert(bare.clone(), Contact { subscription, asked });
        self.link.write(&format!(
            "<presence to='{bare}' type='subscribe' id='{id}'>{signed}</presence>"
        ))?;
        self.shared.note(Event::Subscribed(bare));
        Ok(())
    }

    fn ping(&mut self) -> Result<(), End> {
        statements::reap(self.database);
        let wanted = statements::pings_wanted(self.database);
        wanted.iter().try_for_each(|jid| self.ask("ping", jid))
    }

    /// One request for each action, not for each client.
    fn notify(&mut self) -> Result<(), End> {
        let mut due = statements::due(self.database);
        due.retain(|jid| self.available.contains(jid));
        due.iter().try_for_each(|jid| self.ask("checkin", jid))
    }

    fn ask(&mut self, kind: &str, jid: &str) -> Result<(), End> {
        let signed = self.signed(&format!("/message/request/{kind}"), jid)?;
        self.link
            .write(&format!("<message to='{jid}' type='normal'>{signed}</message>"))?;
        self.shared.note(Event::Asked(jid.to_owned()));
        Ok(())
    }

    fn handle_message(&mut self, message: &Element, from: &str) -> Result<(), End> {
        let signed = message.children().find(|child| child.name() == "x");
        let Some(x) = signed.filter(|x| x.ns() == format!("{BASE}/signed")) else {
            return Ok(());
        };
        let fields = ["client-id", "timestamp", "serial", "action", "signature"];
        let [client, timestamp, serial, action, signature] = fields.map(|name| x.attr(name).unwrap_or("None"));
        let Some(key) = statements::key_by_name(self.database, client) else {
            return Err(End::Lost(format!("invalid client {from}")));
        };
        let expected = sign(&key, &[&self.jid, client, timestamp, serial, action, from]);
        if signature != expected {
            self.shared.note(Event::Distrusted);
            return Ok(());
        }
        statements::note_answer(self.database, from);
        self.shared.note(Event::Verified(from.to_owned()));
        Ok(())
    }

    /// For the client with this full JID, which must be one that the database knows.
    fn signed(&mut self, action: &str, jid: &str) -> Result<String, End> {
        let Some(key) = statements::key_by_jid(self.database, jid) else {
            return Err(End::Lost(format!("invalid client {jid}")));
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let (now, serial, action) = (now.as_secs().to_string(), self.link.id(), format!("{BASE}{action}"));
        let signature = sign(&key, &[jid, &now, &serial, &action, &self.jid]);
        Ok(format!(
            "<x xmlns = '{BASE}/signed'  timestamp='{now}' serial='{serial}' action='{action}' jid='{}' \
             signature='{signature}' />",
            self.jid
        ))
    }
}

fn contact_state(contact: Option<&Contact>) -> String {
    contact.map_or_else(|| "none".to_owned(), |contact| contact.subscription.clone())
}

fn bare(jid: &str) -> &str {
    jid.split('/').next().unwrap_or(jid)
}
