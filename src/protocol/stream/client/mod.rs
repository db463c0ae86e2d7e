//! The initiating end of a stream: the agent's.
//!
//! ```text
//! header ─► ExpectHeader ─► ExpectFeatures ─ <starttls/> ─► ExpectProceed ─► ExpectHandshake
//!                                ▲                                               │ TLS done, header
//!                                └──────────── ExpectHeader (inside TLS) ◄───────┘
//! ExpectFeatures (inside TLS) ─ <auth/> ─► ExpectChallenge ─► ExpectServerProof ─┐ <success/>, header
//!                 ▲             └─ PLAIN ─► ExpectSuccess ───────────────────────┤
//!                 │                  │ not-authorized, once                      ▼
//!                 │            ExpectForm ─► ExpectAccount        ExpectHeader (logged in)
//!                 └── login again ◄──────────────┘                               │
//!       Closed ◄── closing tag, fault, silence ── Open ◄── ExpectBound ◄── ExpectFeatures (logged in)
//! ```
//!
//! A server without SASL gets `jabber:iq:auth` instead: ExpectFeatures ─► ExpectFields ─► ExpectSession ─► Open.
//! A component (XEP-0114) has a login of its own, and adds its address to what it sends:
//! (ExpectHandshake ─► TLS, where the server is elsewhere) ─► ExpectComponentHeader ─► ExpectAcceptance ─► Open.
//!
//! To a client TLS is not optional, the strongest mechanism that both sides can do is taken, and a server that cannot prove that
//! it knows the password is left. Nothing is tried twice: the caller decides what comes after an end.

mod account;
mod authenticate;
mod bind;
mod component;
mod config;
mod context;
mod features;
mod iq_auth;
mod open;

use std::time::Instant;

use minidom::Element;
use xmpp_parsers::stream_error::DefinedCondition;

pub use config::{ClientConfig, Role};

use self::account::{ExpectAccount, ExpectForm};
use self::authenticate::{ExpectChallenge, ExpectServerProof, ExpectSuccess};
use self::bind::ExpectBound;
use self::component::{ExpectAcceptance, ExpectComponentHeader};
use self::context::{Context, Login, Stop};
use self::features::{ExpectFeatures, ExpectHeader, ExpectProceed, Phase};
use self::iq_auth::{ExpectFields, ExpectSession};
use self::open::Open;
use super::{CLOSING_TAG, Output, Outputs, Remark, Seed, StreamFault, condition_of, write_stream_error};
use crate::protocol::codec::{Decoder, Frame, Limits, write_element};
use crate::protocol::ns;
use crate::protocol::roster::RosterItem;
use crate::protocol::sasl::scram::client::ServerFault;
use crate::protocol::sasl::{SaslFault, TlsExporter};

/// What happened on the stream.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientEvent {
    /// Logged in under this full JID. The roster has been asked for; presence waits for the caller.
    LoggedIn {
        /// The full JID the server gave.
        jid: String,
        /// Whether the account was made on this connection.
        registered: bool,
    },
    /// A message or presence arrived.
    Deliver(Element),
    /// Something came back from this full JID for a ping of [`CONTACT_PING_ID`](crate::protocol::contacts::CONTACT_PING_ID).
    Pong {
        /// Whom it is from.
        from: String,
        /// Whether it is an error: nobody is there.
        is_error: bool,
    },
    /// The whole roster, as the server keeps it; empty if it keeps none.
    Roster(Vec<RosterItem>),
    /// These contacts have changed; the server has been told that we know.
    RosterChanged(Vec<RosterItem>),
}

/// Why a stream ended.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ClientEnd {
    /// The caller ended it.
    #[error("closed")]
    Closed,
    /// The server closed it.
    #[error("closed by the server")]
    ClosedByServer,
    /// The server reported a fault; `Conflict` means that somebody else logged in to our account.
    #[error("the server ended the stream: {1}")]
    ServerEnded(DefinedCondition, Remark),
    /// The server does not speak the protocol.
    #[error("the server broke the protocol: {0}")]
    Fault(StreamFault),
    /// The server sent something that has no place in the dialogue.
    #[error("the server sent an unexpected <{0}/>")]
    Unexpected(String),
    /// The server offers no TLS, or refuses it; there is no login without.
    #[error("the server does not start TLS: let it offer STARTTLS")]
    NoTls,
    /// The server offers no login mechanism we know.
    #[error("the server offers no known login mechanism")]
    NoMechanism,
    /// The server refuses the account, and registration is not possible or did not help.
    #[error("the server refuses the account")]
    NotAuthorized,
    /// Login failed for another reason.
    #[error("the server refuses the login: {}", .0.map_or("unknown condition", SaslFault::condition))]
    LoginRefused(Option<SaslFault>),
    /// The account exists with another password: choose new credentials.
    #[error("the account name is taken")]
    CredentialsTaken,
    /// The server does not let us make an account, or not now.
    #[error("the server makes no account: {0}")]
    RegistrationRefused(Remark),
    /// The server refuses our resource.
    #[error("the server refuses the resource")]
    BindRefused,
    /// The server does not know our password although it says so.
    #[error(transparent)]
    Impostor(#[from] ServerFault),
    /// Login took too long.
    #[error("the server did not answer in time")]
    LoginTimeout,
    /// Nothing arrived for too long.
    #[error("the server has gone silent")]
    Silent,
}

/// What a [`ClientStream`] wants done.
pub type ClientOutput = Output<ClientEvent, ClientEnd>;
type ClientOutputs = Outputs<ClientEvent, ClientEnd>;

/// The client's end of a stream.
pub struct ClientStream {
    decoder: Decoder,
    out: ClientOutputs,
    state: State,
}

enum State {
    ExpectHeader(Box<ExpectHeader>),
    ExpectFeatures(Box<ExpectFeatures>),
    ExpectProceed(Box<ExpectProceed>),
    ExpectHandshake(Box<Login>),
    ExpectChallenge(Box<ExpectChallenge>),
    ExpectServerProof(Box<ExpectServerProof>),
    ExpectSuccess(Box<ExpectSuccess>),
    ExpectFields(Box<ExpectFields>),
    ExpectSession(Box<ExpectSession>),
    ExpectForm(Box<ExpectForm>),
    ExpectAccount(Box<ExpectAccount>),
    ExpectBound(Box<ExpectBound>),
    ExpectComponentHeader(Box<ExpectComponentHeader>),
    ExpectAcceptance(Box<ExpectAcceptance>),
    Open(Open),
    Closed,
}

impl ClientStream {
    /// Begins with a connection made at `now`; speaks first.
    pub fn new(config: ClientConfig, seed: Seed, now: Instant) -> Self {
        let login = Login::new(config, seed, now);
        let mut out = Outputs::new();
        let (decoder, state) = match login.config.role {
            Role::Client => (
                Decoder::new(Limits::BEFORE_LOGIN),
                ExpectHeader::begin(login, Phase::BeforeTls, out.text()),
            ),
            Role::Component { tls: true, .. } => {
                out.push(Output::StartTls);
                (login.decoder(), State::ExpectHandshake(Box::new(login)))
            }
            Role::Component { tls: false, .. } => (login.decoder(), ExpectComponentHeader::begin(login, out.text())),
        };
        Self { decoder, out, state }
    }

    /// Takes bytes from the connection, in any split.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        let mut input = bytes;
        if let State::Open(open) = &mut self.state {
            open.heard(now);
        }
        while !matches!(self.state, State::Closed) {
            if matches!(self.state, State::ExpectHandshake(_)) {
                if !input.is_empty() {
                    self.end(ClientEnd::Fault(StreamFault::InjectedBeforeTls));
                }
                return;
            }
            match self.decoder.decode(&mut input) {
                Ok(Some(frame)) => self.handle_frame(frame, !input.is_empty(), now),
                Ok(None) => break,
                Err(error) => self.end_by(error.into()),
            }
        }
        self.decoder.release_memory();
    }

    /// The TLS handshake that [`Output::StartTls`] asked for is done, and chain and name are verified; `exporter` is
    /// the connection's keying material for channel binding, `None` where TLS cannot give it.
    pub fn tls_established(&mut self, exporter: Option<TlsExporter>, _now: Instant) {
        self.state = match std::mem::replace(&mut self.state, State::Closed) {
            State::ExpectHandshake(mut login) => {
                self.decoder = login.decoder();
                login.exporter = exporter;
                match login.config.role {
                    Role::Client => ExpectHeader::begin(*login, Phase::InsideTls, self.out.text()),
                    Role::Component { .. } => ExpectComponentHeader::begin(*login, self.out.text()),
                }
            }
            other => other,
        };
    }

    /// Sends the initial presence, with `extra` inside: what a new agent says about itself.
    pub fn announce(&mut self, extra: Option<Element>) {
        let mut presence = Element::bare("presence", ns::CLIENT);
        if let Some(extra) = extra {
            presence.append_child(extra);
        }
        self.send(&presence);
    }

    /// Sends a stanza; dropped when not logged in.
    pub fn send(&mut self, stanza: &Element) {
        if let State::Open(open) = &self.state {
            match open.addressed(stanza) {
                Some(addressed) => write_element(&addressed, self.out.text()),
                None => write_element(stanza, self.out.text()),
            }
        }
    }

    /// Ends the stream: says goodbye where somebody listens. A component is not missed by anybody whom it does not tell itself.
    pub fn close(&mut self) {
        if matches!(&self.state, State::Open(open) if !open.is_component()) {
            self.out.text().push_str("<presence type='unavailable'/>");
        }
        if !matches!(self.state, State::Closed) {
            self.end(ClientEnd::Closed);
        }
    }

    /// Whether the login is done and the stream has not ended.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<ClientOutput> {
        self.out.poll()
    }

    /// When [`ClientStream::handle_deadline`] wants to be called, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Open(open) => Some(open.deadline()),
            State::Closed => None,
            other => other.login().map(|login| login.deadline),
        }
    }

    /// Does what is due at `now`; harmless when nothing is.
    pub fn handle_deadline(&mut self, now: Instant) {
        if self.next_deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        let outcome = if let State::Open(open) = &mut self.state {
            open.handle_deadline(now, self.out.text())
        } else {
            Err(Stop(ClientEnd::LoginTimeout))
        };
        if let Err(Stop(end)) = outcome {
            self.end(end);
        }
    }

    fn handle_frame(&mut self, frame: Frame, more_input: bool, now: Instant) {
        let mut context = Context {
            decoder: &mut self.decoder,
            out: &mut self.out,
            more_input,
            now,
        };
        let result = match frame {
            Frame::Close => Err(Stop(ClientEnd::ClosedByServer)),
            Frame::Open(header) => match std::mem::replace(&mut self.state, State::Closed) {
                State::ExpectHeader(state) => state.handle_header(&header),
                State::ExpectComponentHeader(state) => Ok(state.handle_header(&header, &mut context)),
                // A decoder gives one header, and every state behind these was entered by it.
                other => Ok(other),
            },
            Frame::Stanza(element) if element.is("error", ns::STREAM) => {
                let remark = Remark::of(&element, ns::STREAM_ERRORS);
                Err(Stop(ClientEnd::ServerEnded(condition_of(element), remark)))
            }
            Frame::Stanza(element) => {
                std::mem::replace(&mut self.state, State::Closed).handle_element(element, &mut context)
            }
        };
        match result {
            Ok(state) => self.state = state,
            Err(Stop(end)) => self.end(end),
        }
    }

    fn end_by(&mut self, fault: StreamFault) {
        write_stream_error(fault, self.out.text());
        self.end(ClientEnd::Fault(fault));
    }

    fn end(&mut self, end: ClientEnd) {
        if !matches!(self.state, State::ExpectHandshake(_)) {
            self.out.text().push_str(CLOSING_TAG);
        }
        self.out.push(Output::Close(end));
        self.state = State::Closed;
    }
}

impl State {
    fn handle_element(self, element: Element, context: &mut Context<'_>) -> Result<Self, Stop> {
        match self {
            Self::ExpectFeatures(state) => state.handle(&element, context),
            Self::ExpectProceed(state) => state.handle(&element, context),
            Self::ExpectChallenge(state) => state.handle(&element, context),
            Self::ExpectServerProof(state) => state.handle(&element, context),
            Self::ExpectSuccess(state) => state.handle(&element, context),
            Self::ExpectFields(state) => state.handle(&element, context),
            Self::ExpectSession(state) => state.handle(&element, context),
            Self::ExpectForm(state) => state.handle(&element, context),
            Self::ExpectAccount(state) => state.handle(&element, context),
            Self::ExpectBound(state) => state.handle(&element, context),
            Self::ExpectAcceptance(state) => state.handle(&element, context),
            Self::Open(state) => state.handle(element, context),
            // No element arrives in these: the first have no open stream yet, the others take no input.
            state @ (Self::ExpectHeader(_)
            | Self::ExpectComponentHeader(_)
            | Self::ExpectHandshake(_)
            | Self::Closed) => Ok(state),
        }
    }

    /// What all states before login carry.
    fn login(&self) -> Option<&Login> {
        match self {
            Self::ExpectHeader(state) => Some(&state.login),
            Self::ExpectFeatures(state) => Some(&state.login),
            Self::ExpectProceed(state) => Some(&state.login),
            Self::ExpectHandshake(login) => Some(login),
            Self::ExpectChallenge(state) => Some(&state.login),
            Self::ExpectServerProof(state) => Some(&state.login),
            Self::ExpectSuccess(state) => Some(&state.login),
            Self::ExpectFields(state) => Some(&state.login),
            Self::ExpectSession(state) => Some(&state.login),
            Self::ExpectForm(state) => Some(&state.login),
            Self::ExpectAccount(state) => Some(&state.login),
            Self::ExpectBound(state) => Some(&state.login),
            Self::ExpectComponentHeader(state) => Some(&state.login),
            Self::ExpectAcceptance(state) => Some(&state.login),
            Self::Open(_) | Self::Closed => None,
        }
    }
}
