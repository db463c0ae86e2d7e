//! The existing agent's two loops: from session to session, and from record to record.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use minidom::Element;

use super::calls::{Registration, register_osad, register_osad_jid};
use super::link::{End, Link, sign};
use super::{Credentials, Event, Shared};

pub const BASE: &str = "http://jabber.rhn.redhat.com/jabber";

/// The outer loop.
pub fn live(shared: &Arc<Shared>) {
    let exit = loop {
        let end = match session(shared) {
            Err(end) => end,
            Ok(never) => match never {},
        };
        match end {
            End::Conflict => {
                shared.note(Event::Lost("conflict".into()));
                *shared.identity.credentials.lock().unwrap() = Credentials::random();
            }
            End::Lost(why) => {
                shared.note(Event::Lost(why));
                shared.sleep(shared.pause(60, 120));
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

/// There is no end but an [`End`].
pub enum Never {}

fn session(shared: &Arc<Shared>) -> Result<Never, End> {
    let systemid = shared.identity.systemid.lock().unwrap().clone();
    let mut link = Link::open(shared)?;
    let jid = link.log_in("osad")?;
    let id = format!("iq-request-{}", link.id());
    let roster = link.request(
        &id,
        &format!("<iq type='get' id='{id}'><query xmlns = 'jabber:iq:roster'  /></iq>"),
    )?;
    let registration = register_osad(&shared.identity).map_err(End::Lost)?;
    shared.note(Event::Enrolled(registration.client_name.clone()));
    register_osad_jid(&shared.identity, &jid).map_err(End::Lost)?;
    let mut session = Session {
        shared,
        link,
        jid,
        registration,
        systemid,
        check: None,
        failed: false,
    };
    session.subscribe(&roster)?;
    session.link.write("<presence />")?;
    shared.note(Event::Available);
    session.start_check();
    session.process()
}

struct Session<'a> {
    shared: &'a Arc<Shared>,
    link: Link<'a>,
    /// As the agent assumes it; the server is never asked.
    jid: String,
    registration: Registration,
    systemid: String,
    check: Option<JoinHandle<i32>>,
    failed: bool,
}

impl Session<'_> {
    fn subscribe(&mut self, roster: &Element) -> Result<(), End> {
        let items: Vec<&Element> = roster.children().flat_map(Element::children).collect();
        for dispatcher in self.registration.dispatchers.clone() {
            let bare = dispatcher.split('/').next().unwrap().to_owned();
            let known = items.iter().any(|item| {
                item.attr("jid") == Some(&bare) && matches!(item.attr("subscription"), Some("to" | "both"))
            });
            if !known || self.shared.identity.subscribes {
                let id = format!("presence-{}", self.link.id());
                let signed = self.signed("/presence/subscribe", &bare);
                self.link.write(&format!(
                    "<presence to='{bare}' type='subscribe' id='{id}'>{signed}</presence>"
                ))?;
                self.shared.note(Event::Subscribed(bare));
            }
        }
        Ok(())
    }

    /// The inner loop: one record, then a pause.
    fn process(&mut self) -> Result<Never, End> {
        for stanza in self.link.take_early() {
            self.handle(&stanza)?;
        }
        loop {
            let wait = self.poll_check();
            let until = Instant::now() + wait;
            let read = self.link.read(until);
            if self.shared.interrupted.load(Ordering::SeqCst) {
                self.link.write("<presence type='unavailable' /></stream:stream>").ok();
            }
            if let Some(stanzas) = read? {
                self.shared.note(Event::Record(stanzas.len()));
                for stanza in stanzas {
                    self.handle(&stanza)?;
                }
            }
            if *self.shared.identity.systemid.lock().unwrap() != self.systemid {
                return Err(End::Conflict);
            }
            self.shared.sleep(self.shared.pause(6, 10));
        }
    }

    /// Looks after the check; how long the next wait may be.
    fn poll_check(&mut self) -> Duration {
        if self.check.as_ref().is_some_and(JoinHandle::is_finished) {
            let status = self.check.take().unwrap().join().unwrap();
            self.shared.note(Event::CheckEnded(status));
            self.failed = status != 0;
            if self.failed {
                self.start_check();
            }
        }
        let busy = self.check.is_some() || self.failed;
        Duration::from_secs(if busy { 5 } else { 180 }) / self.shared.identity.hurry
    }

    fn start_check(&mut self) {
        if self.check.is_some() {
            self.shared.note(Event::Forgotten);
            return;
        }
        self.shared.checks.fetch_add(1, Ordering::SeqCst);
        self.shared.note(Event::CheckStarted);
        let check = Arc::clone(&self.shared.identity.check);
        self.check = Some(std::thread::spawn(move || check()));
    }

    fn handle(&mut self, stanza: &Element) -> Result<(), End> {
        match (stanza.name(), stanza.attr("type")) {
            ("message", Some("normal")) => self.handle_message(stanza),
            ("message", _) => {
                self.shared.note(Event::Ignored);
                Ok(())
            }
            ("presence", Some("subscribe")) => {
                let from = stanza.attr("from").unwrap_or_default();
                let id = stanza.attr("id").map(|id| format!(" id='{id}'")).unwrap_or_default();
                self.link
                    .write(&format!("<presence to='{from}' type='subscribed'{id} />"))
            }
            ("presence", Some("probe")) => {
                let from = stanza.attr("from").unwrap_or_default();
                self.link.write(&format!("<presence to='{from}' />"))
            }
            // No iq is ever answered.
            _ => Ok(()),
        }
    }

    fn handle_message(&mut self, message: &Element) -> Result<(), End> {
        let signed = message.children().find(|child| child.name() == "x");
        let Some(x) = signed.filter(|x| x.ns() == format!("{BASE}/signed")) else {
            return Ok(());
        };
        if let Some(registration) = self.shared.re_enrolled.lock().unwrap().take() {
            self.registration = registration;
        }
        let value = |name: &str| x.attr(name).unwrap_or("None").to_owned();
        let (timestamp, serial, action, jid) = (value("timestamp"), value("serial"), value("action"), value("jid"));
        let expected = sign(
            &self.registration.shared_key,
            &[&self.jid, &timestamp, &serial, &action, &jid],
        );
        if value("signature") != expected {
            self.shared.note(Event::Distrusted);
            return Ok(());
        }
        let kind = match action.strip_prefix(BASE) {
            Some("/message/request/checkin") => "checkin",
            Some("/message/request/ping") => "ping",
            _ => return Ok(()),
        };
        let from = message.attr("from").unwrap_or_default();
        let answer = self.signed(&format!("/message/response/{kind}"), from);
        self.link
            .write(&format!("<message to='{from}' type='normal'>{answer}</message>"))?;
        self.shared.answered(kind);
        if kind == "checkin" {
            self.start_check();
        }
        Ok(())
    }

    fn signed(&mut self, action: &str, recipient: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let now = now.saturating_add_signed(self.shared.identity.clock_ahead).to_string();
        let (serial, action) = (self.link.id(), format!("{BASE}{action}"));
        let Registration {
            client_name,
            shared_key,
            ..
        } = &self.registration;
        let values = [recipient, client_name, &now, &serial, &action, &self.jid];
        format!(
            "<x xmlns = '{BASE}/signed'  client-id='{client_name}' timestamp='{now}' serial='{serial}' action='{action}' \
             jid='{}' signature='{}' />",
            self.jid,
            sign(shared_key, &values)
        )
    }
}
