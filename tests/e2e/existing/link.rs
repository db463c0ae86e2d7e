//! One connection of the existing agent: stream, login, stanzas.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

use minidom::Element;
use osa::protocol::codec::{Decoder, Frame, Limits};
use sha1::{Digest, Sha1};

use super::tls::{Glance, Socket};
use super::{Credentials, Event, Shared};
use crate::site::PATIENCE;

/// Why a session ends.
#[derive(Debug)]
pub enum End {
    /// Another session has this account.
    Conflict,
    /// TLS failed, or a certificate did: the process ends.
    Tls(String),
    /// The account has another password (409): the process ends.
    Taken,
    /// Anything else.
    Lost(String),
    /// The agent was told to end.
    Told,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

/// A connection, logged in or about to.
pub struct Link<'a> {
    shared: &'a Shared,
    socket: Socket,
    decoder: Decoder,
    stream_id: String,
    /// Six characters that are new for each connection, and a counter: the original's ids.
    prefix: String,
    counter: u32,
    /// Stanzas that came while an answer was waited for.
    early: VecDeque<Element>,
}

impl<'a> Link<'a> {
    /// Connects and starts TLS.
    pub fn open(shared: &'a Shared) -> Result<Self, End> {
        let identity = &shared.identity;
        let mut link = Self {
            shared,
            socket: Socket::connect(identity.xmpp)?,
            decoder: Decoder::new(Limits::AFTER_LOGIN),
            stream_id: String::new(),
            prefix: super::hex(3),
            counter: 0,
            early: VecDeque::new(),
        };
        let features = link.begin_stream()?;
        if !features.has_child("starttls", "urn:ietf:params:xml:ns:xmpp-tls") {
            return Err(End::Lost("SSL disabled".into()));
        }
        link.write("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls' />")?;
        let answer = link.next_stanza()?;
        if answer.name() != "proceed" {
            return Err(End::Lost(format!("no TLS: {}", String::from(&answer))));
        }
        link.socket
            .secure(&identity.host, &identity.ca, false)
            .map_err(|error| End::Tls(error.to_string()))?;
        link.begin_stream()?;
        Ok(link)
    }

    fn begin_stream(&mut self) -> Result<Element, End> {
        self.decoder = Decoder::new(Limits::AFTER_LOGIN);
        let host = &self.shared.identity.host;
        self.write(&format!(
            "<?xml version='1.0' encoding='UTF-8'?><stream:stream to='{host}' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
        ))?;
        let features = self.next_stanza()?;
        if features.name() != "features" {
            return Err(End::Lost(format!("no features: {}", String::from(&features))));
        }
        Ok(features)
    }

    /// Logs in, registering if the account is unknown; the full JID that the agent assumes.
    pub fn log_in(&mut self, resource: &str) -> Result<String, End> {
        let credentials = self.shared.identity.credentials.lock().unwrap().clone();
        let get = |link: &mut Self| {
            let username = &credentials.username;
            let id = format!("auth-get-{}", link.id());
            let get = format!(
                "<iq type='get' id='{id}'><query xmlns = 'jabber:iq:auth' ><username>{username}</username></query></iq>"
            );
            link.request(&id, &get)
        };
        let mut fields = get(self)?;
        if error_code(&fields).as_deref() == Some("401") {
            self.register(&credentials)?;
            fields = get(self)?;
        }
        no_error(&fields)?;
        let Some(query) = fields.get_child("query", "jabber:iq:auth") else {
            return Err(End::Lost("no query in the answer".into()));
        };
        let digest = query.has_child("digest", "jabber:iq:auth");
        let answer = self.send_proof(&credentials, resource, digest)?;
        if error_code(&answer).as_deref() == Some("401") {
            self.register(&credentials)?;
        }
        no_error(&answer)?;
        let jid = format!("{}@{}/{resource}", credentials.username, self.shared.identity.host);
        self.shared.note(Event::LoggedIn {
            jid: jid.clone(),
            digest,
        });
        Ok(jid)
    }

    fn send_proof(&mut self, credentials: &Credentials, resource: &str, digest: bool) -> Result<Element, End> {
        let proof = if digest {
            let hash = Sha1::digest(format!("{}{}", self.stream_id, credentials.password));
            format!("<digest>{}</digest>", hex_of(&hash))
        } else {
            format!("<password>{}</password>", credentials.password)
        };
        let id = format!("auth-set-{}", self.id());
        let set = format!(
            "<iq type='set' id='{id}'><query xmlns = 'jabber:iq:auth' ><username>{}</username>\
             <resource>{resource}</resource>{proof}</query></iq>",
            credentials.username
        );
        self.request(&id, &set)
    }

    fn register(&mut self, credentials: &Credentials) -> Result<(), End> {
        let host = self.shared.identity.host.clone();
        let get = format!("<iq to='{host}' type='get' id='1'><query xmlns = 'jabber:iq:register'  /></iq>");
        let form = self.request("1", &get)?;
        no_error(&form)?;
        let mut fields = String::new();
        for field in form
            .get_child("query", "jabber:iq:register")
            .into_iter()
            .flat_map(Element::children)
        {
            let value = match field.name() {
                "username" => credentials.username.clone(),
                "password" => credentials.password.clone(),
                _ => field.text(),
            };
            fields += &format!("<{0}>{value}</{0}>", field.name());
        }
        let set =
            format!("<iq to='{host}' type='set' id='2'><query xmlns = 'jabber:iq:register' >{fields}</query></iq>");
        let answer = self.request("2", &set)?;
        if error_code(&answer).as_deref() == Some("409") {
            return Err(End::Taken);
        }
        no_error(&answer)?;
        self.shared.note(Event::Registered(credentials.username.clone()));
        Ok(())
    }

    /// The account is no more. Some servers end the stream instead of an answer.
    pub fn remove_account(&mut self) -> Result<(), End> {
        let host = self.shared.identity.host.clone();
        let set =
            format!("<iq to='{host}' type='set' id='gone'><query xmlns='jabber:iq:register'><remove/></query></iq>");
        match self.request("gone", &set) {
            Ok(answer) => no_error(&answer),
            Err(End::Conflict | End::Lost(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// What comes when an account logs in, known or not, until a question asked after that is answered.
    pub fn answers_to_login(&mut self) -> Result<Vec<Element>, End> {
        let credentials = self.shared.identity.credentials.lock().unwrap().clone();
        let ask = |id: &str| {
            let username = &credentials.username;
            format!(
                "<iq type='get' id='{id}'><query xmlns = 'jabber:iq:auth' ><username>{username}</username></query></iq>"
            )
        };
        let form = self.request("form", &ask("form"))?;
        self.write(&format!(
            "<iq type='set' id='proof'><query xmlns = 'jabber:iq:auth' ><username>{}</username><resource>osad</resource>\
             <password>{}</password></query></iq>",
            credentials.username, credentials.password
        ))?;
        let last = self.request("last", &ask("last"))?;
        let between = self.take_early();
        Ok([form].into_iter().chain(between).chain([last]).collect())
    }

    /// Sends a request and waits for its answer; an error with a number ends the wait, whatever its id.
    pub fn request(&mut self, id: &str, request: &str) -> Result<Element, End> {
        self.write(request)?;
        let mut meanwhile = VecDeque::new();
        loop {
            let stanza = self.next_stanza()?;
            if stanza.attr("id") == Some(id) || error_code(&stanza).is_some() {
                meanwhile.append(&mut self.early);
                self.early = meanwhile;
                return Ok(stanza);
            }
            meanwhile.push_back(stanza);
        }
    }

    fn next_stanza(&mut self) -> Result<Element, End> {
        // The original waits for minutes, or without limit.
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(stanza) = self.early.pop_front() {
                return Ok(stanza);
            }
            match self.read(until)? {
                Some(stanzas) => self.early.extend(stanzas),
                None => return Err(End::Lost("no answer".into())),
            }
        }
    }

    /// The stanzas in one TLS record, if one comes in time.
    pub fn read(&mut self, until: Instant) -> Result<Option<Vec<Element>>, End> {
        let shared = self.shared;
        shared.stay_stopped();
        let stop = || shared.ends() || shared.stopped.load(Ordering::SeqCst);
        match self.socket.read_record(until, &stop) {
            _ if shared.ends() => Err(End::Told),
            Glance::Nothing => Ok(None),
            Glance::Gone => Err(End::Lost("EOF".into())),
            Glance::Record(bytes) => self.parse(&bytes).map(Some),
        }
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Vec<Element>, End> {
        let mut input = bytes;
        let mut stanzas = Vec::new();
        loop {
            match self.decoder.decode(&mut input) {
                Ok(Some(Frame::Open(header))) => self.stream_id = header.id.unwrap_or_default(),
                Ok(Some(Frame::Stanza(stanza))) if stanza.name() == "error" => {
                    let conflict = stanza.children().any(|child| child.name() == "conflict");
                    let lost = End::Lost(String::from(&stanza));
                    return Err(if conflict { End::Conflict } else { lost });
                }
                Ok(Some(Frame::Stanza(stanza))) => stanzas.push(stanza),
                Ok(Some(Frame::Close)) => return Err(End::Lost("closed".into())),
                Ok(None) => return Ok(stanzas),
                Err(error) => return Err(End::Lost(error.to_string())),
            }
        }
    }

    /// Stanzas that came during the login.
    pub fn take_early(&mut self) -> VecDeque<Element> {
        std::mem::take(&mut self.early)
    }

    pub fn write(&mut self, text: &str) -> Result<(), End> {
        Ok(self.socket.write(text)?)
    }

    pub fn id(&mut self) -> String {
        self.counter += 1;
        format!("{}-{}", self.prefix, self.counter - 1)
    }
}

/// The legacy number of an error.
fn error_code(stanza: &Element) -> Option<String> {
    let error = stanza.children().find(|child| child.name() == "error")?;
    error.attr("code").filter(|code| !code.is_empty()).map(str::to_owned)
}

fn no_error(stanza: &Element) -> Result<(), End> {
    match error_code(stanza) {
        Some(code) => Err(End::Lost(format!("error {code}"))),
        None => Ok(()),
    }
}

pub fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The chain of compatibility contract, section 1.12.
pub fn sign(key: &str, values: &[&str]) -> String {
    let first = hex_of(&Sha1::digest(key));
    values
        .iter()
        .fold(first, |hash, value| hex_of(&Sha1::digest(format!("{hash}{value}"))))
}
