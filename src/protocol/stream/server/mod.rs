//! The receiving end of a client's stream: the embedded server's.
//!
//! ```text
//!            header                <starttls/>               TLS done
//! ExpectHeader ──► ExpectStartTls ────────────► ExpectHandshake ──► ExpectHeader (inside TLS)
//!                                                                        │ header
//!                  AwaitLogin ◄── jabber:iq:auth ───┐ (its success leads to Open at once)
//!                  AwaitAccount ◄── register, set ──┤                    ▼
//!                        └──────── answer ────────► ExpectLogin ◄─── failure ───┐
//!                                                   │  ▲  <auth/>               │
//!                  ExpectInitialResponse ◄── empty ─┤  │                        │
//!                        └──────────────────────────┴─►AwaitVerifiers ── answer ┼──► ExpectResponse (SCRAM)
//!                                                            │ PLAIN            │          │
//!                                                            └──── <success/> ──┴──────────┤
//!                                                                                          ▼
//!       Closed ◄── closing tag, fault, deadline ── Open ◄── bind ── ExpectBind ◄── ExpectHeader (logged in)
//! ```
//!
//! One struct per state; what is not known yet is not a field yet. A fault ends the stream in every state.

mod bind;
mod config;
mod context;
mod destination;
mod header;
mod iq_auth;
mod login;
mod open;
mod registration;
mod sasl;
mod tls;

use std::sync::Arc;
use std::time::Instant;

use minidom::Element;
use xmpp_parsers::stream_error::DefinedCondition;

pub use config::ServerConfig;
pub use destination::Destination;
pub use open::ClientActivity;

use self::bind::ExpectBind;
use self::context::{Context, Login, write_header};
use self::header::ExpectHeader;
use self::iq_auth::AwaitLogin;
use self::login::ExpectLogin;
use self::open::Open;
use self::registration::AwaitAccount;
use self::sasl::{AwaitVerifiers, ExpectInitialResponse, ExpectResponse};
use self::tls::{ExpectHandshake, ExpectStartTls};
use super::{CLOSING_TAG, Output, Outputs, Seed, StreamFault, condition_of, write_stream_error};
use crate::domain::secret::Secret;
use crate::protocol::codec::{Decoder, Frame, write_element};
use crate::protocol::ns;
use crate::protocol::register::AccountName;
use crate::protocol::sasl::{TlsExporter, Verifiers};

/// Names a question within its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuestionToken(u32);

/// What the stream cannot know by itself. Until it is answered, input waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The verifiers of an account; answer with [`Answer::Verifiers`] or [`Answer::Unavailable`].
    Verifiers(AccountName),
    /// Make an account; answer with [`Answer::Created`], [`Answer::Taken`], [`Answer::Refused`] or
    /// [`Answer::Unavailable`].
    CreateAccount {
        /// Its name.
        username: AccountName,
        /// Its password; derive verifiers from it and forget it.
        password: Secret,
    },
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The verifiers; `None` when there is no such account.
    Verifiers(Option<Box<Verifiers>>),
    /// The account was made.
    Created,
    /// There is an account of that name.
    Taken,
    /// Policy forbids it now (too many accounts, say).
    Refused,
    /// Nobody can tell at the moment.
    Unavailable,
}

/// What happened on the stream.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerEvent {
    /// A question to be answered by [`ServerStream::answer`].
    Ask(QuestionToken, Question),
    /// The client is logged in, under this full JID. An older session of that JID is to be ended with
    /// [`StreamFault::Conflict`].
    LoggedIn(String),
    /// The client did something that concerns the dispatcher.
    Client(ClientActivity),
}

/// Why a stream ended.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerEnd {
    /// The client closed it.
    ClosedByClient,
    /// The client reported a fault of ours.
    ClientFault(DefinedCondition),
    /// We ended it.
    Fault(StreamFault),
}

/// What a [`ServerStream`] wants done.
pub type ServerOutput = Output<ServerEvent, ServerEnd>;
type ServerOutputs = Outputs<ServerEvent, ServerEnd>;

/// The server's end of one client's stream.
pub struct ServerStream {
    config: Arc<ServerConfig>,
    decoder: Decoder,
    out: ServerOutputs,
    state: State,
    /// Input that came while an answer is being looked up.
    held: Vec<u8>,
}

enum State {
    ExpectHeader(Box<ExpectHeader>),
    ExpectStartTls(Box<ExpectStartTls>),
    ExpectHandshake(Box<ExpectHandshake>),
    ExpectLogin(Box<ExpectLogin>),
    ExpectInitialResponse(Box<ExpectInitialResponse>),
    AwaitVerifiers(Box<AwaitVerifiers>),
    ExpectResponse(Box<ExpectResponse>),
    AwaitAccount(Box<AwaitAccount>),
    AwaitLogin(Box<AwaitLogin>),
    ExpectBind(Box<ExpectBind>),
    Open(Open),
    Closed,
}

impl ServerStream {
    /// Begins with a connection accepted at `now`.
    pub fn new(config: Arc<ServerConfig>, seed: Seed, now: Instant) -> Self {
        let login = Login::new(seed, now + config.login_timeout);
        Self {
            decoder: Decoder::new(config.limits_before_login),
            config,
            out: Outputs::new(),
            state: State::ExpectHeader(Box::new(ExpectHeader::before_tls(login))),
            held: Vec::new(),
        }
    }

    /// Takes bytes from the connection, in any split.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        let mut input = bytes;
        if let State::Open(open) = &mut self.state {
            open.heard();
        }
        loop {
            match &self.state {
                State::Closed => return,
                State::AwaitVerifiers(_) | State::AwaitAccount(_) | State::AwaitLogin(_) => return self.hold(input),
                State::ExpectHandshake(_) if input.is_empty() => return,
                State::ExpectHandshake(_) => return self.end_by(StreamFault::InjectedBeforeTls),
                State::ExpectHeader(_)
                | State::ExpectStartTls(_)
                | State::ExpectLogin(_)
                | State::ExpectInitialResponse(_)
                | State::ExpectResponse(_)
                | State::ExpectBind(_)
                | State::Open(_) => {}
            }
            match self.decoder.decode(&mut input) {
                Ok(Some(frame)) => self.handle_frame(frame, !input.is_empty(), now),
                Ok(None) => break,
                Err(error) => self.end_by(error.into()),
            }
        }
        self.decoder.release_memory();
    }

    /// The TLS handshake that [`Output::StartTls`] asked for is done; `exporter` is the connection's keying material
    /// for channel binding, `None` where TLS cannot give it.
    pub fn tls_established(&mut self, exporter: Option<TlsExporter>, _now: Instant) {
        self.state = match std::mem::replace(&mut self.state, State::Closed) {
            State::ExpectHandshake(state) => {
                self.decoder = Decoder::new(self.config.limits_before_login);
                let closing = state.closing;
                self.state = state.established(exporter);
                return closing.into_iter().for_each(|fault| self.end_by(fault));
            }
            other => other,
        };
    }

    /// Answers a question. An answer to another question than the open one is ignored.
    pub fn answer(&mut self, token: QuestionToken, answer: Answer, now: Instant) {
        let state = std::mem::replace(&mut self.state, State::Closed);
        let mut context = Context {
            config: &self.config,
            decoder: &mut self.decoder,
            out: &mut self.out,
            more_input: false,
            now,
        };
        let result = match state {
            State::AwaitVerifiers(state) if state.token == token => state.answer(answer, &mut context),
            State::AwaitAccount(state) if state.token == token => state.answer(answer, &mut context),
            State::AwaitLogin(state) if state.token == token => state.answer(answer, &mut context),
            other => Ok(other),
        };
        self.enter(result);
        let held = std::mem::take(&mut self.held);
        self.receive(&held, now);
    }

    /// Sends a stanza to a client that is logged in; dropped in any other state.
    pub fn send(&mut self, stanza: &Element, now: Instant) {
        if let State::Open(open) = &mut self.state {
            write_element(stanza, self.out.text());
            open.wrote(now);
        }
    }

    /// Ends the stream from our side; during a TLS handshake, after it.
    pub fn close(&mut self, fault: StreamFault) {
        match &mut self.state {
            State::Closed => {}
            State::ExpectHandshake(state) => state.closing = state.closing.or(Some(fault)),
            State::ExpectHeader(_)
            | State::ExpectStartTls(_)
            | State::ExpectLogin(_)
            | State::ExpectInitialResponse(_)
            | State::AwaitVerifiers(_)
            | State::ExpectResponse(_)
            | State::AwaitAccount(_)
            | State::AwaitLogin(_)
            | State::ExpectBind(_)
            | State::Open(_) => self.end_by(fault),
        }
    }

    /// The domain that the client asked for, until it is logged in; before it has, none.
    pub fn domain(&self) -> &str {
        self.state.login().map_or("", |login| login.domain.as_str())
    }

    /// Whether the client is logged in and the stream has not ended.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<ServerOutput> {
        self.out.poll()
    }

    /// When [`ServerStream::handle_deadline`] wants to be called, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Open(open) => Some(open.next_deadline(&self.config)),
            State::Closed => None,
            other => other.login().map(|login| login.deadline),
        }
    }

    /// Does what is due at `now`; harmless when nothing is.
    pub fn handle_deadline(&mut self, now: Instant) {
        match &mut self.state {
            State::Open(open) => {
                if let Err(fault) = open.handle_deadline(now, &self.config, self.out.text()) {
                    self.end_by(fault);
                }
            }
            State::Closed => {}
            other => {
                if other.login().is_some_and(|login| login.deadline <= now) {
                    self.end_by(StreamFault::LoginTimeout);
                }
            }
        }
    }

    fn hold(&mut self, input: &[u8]) {
        if self.held.len() + input.len() > self.config.limits_before_login.stanza_bytes {
            return self.end_by(StreamFault::TooMuchAhead);
        }
        self.held.extend_from_slice(input);
    }

    fn handle_frame(&mut self, frame: Frame, more_input: bool, now: Instant) {
        let element = match frame {
            Frame::Close => return self.finish(ServerEnd::ClosedByClient),
            Frame::Stanza(element) if element.is("error", ns::STREAM) => {
                return self.finish(ServerEnd::ClientFault(condition_of(element)));
            }
            Frame::Stanza(element) => Ok(element),
            Frame::Open(header) => Err(header),
        };
        let mut context = Context {
            config: &self.config,
            decoder: &mut self.decoder,
            out: &mut self.out,
            more_input,
            now,
        };
        let state = std::mem::replace(&mut self.state, State::Closed);
        let result = match element {
            Ok(element) => state.handle_element(element, &mut context),
            Err(header) => match state {
                State::ExpectHeader(state) => state.handle_header(&header, &mut context),
                // A decoder gives one header, and every state behind ExpectHeader was entered by it.
                other => Ok(other),
            },
        };
        self.enter(result);
    }

    fn enter(&mut self, result: Result<State, StreamFault>) {
        match result {
            Ok(state) => self.state = state,
            Err(fault) => self.end_by(fault),
        }
    }

    /// RFC 6120, section 4.9.1.1: even an error comes inside a stream, so a header goes first.
    fn end_by(&mut self, fault: StreamFault) {
        if let State::ExpectHeader(_) = &self.state {
            write_header(self.config.first_domain(), "-", self.out.text());
        }
        if !matches!(self.state, State::ExpectHandshake(_)) {
            write_stream_error(fault, self.out.text());
        }
        self.finish(ServerEnd::Fault(fault));
    }

    fn finish(&mut self, end: ServerEnd) {
        if !matches!(self.state, State::ExpectHandshake(_)) {
            self.out.text().push_str(CLOSING_TAG);
        }
        self.out.push(Output::Close(end));
        self.state = State::Closed;
        self.held = Vec::new();
    }
}

impl State {
    fn handle_element(self, element: Element, context: &mut Context<'_>) -> Result<Self, StreamFault> {
        match self {
            Self::ExpectStartTls(state) => state.handle(&element, context),
            Self::ExpectLogin(state) => state.handle(&element, context),
            Self::ExpectInitialResponse(state) => state.handle(&element, context),
            Self::ExpectResponse(state) => state.handle(&element, context),
            Self::ExpectBind(state) => state.handle(&element, context),
            Self::Open(state) => state.handle(element, context),
            // No element arrives in these: the first has no open stream yet, the others take no input.
            state @ (Self::ExpectHeader(_)
            | Self::ExpectHandshake(_)
            | Self::AwaitVerifiers(_)
            | Self::AwaitAccount(_)
            | Self::AwaitLogin(_)
            | Self::Closed) => Ok(state),
        }
    }

    /// What all states before login carry.
    fn login(&self) -> Option<&Login> {
        match self {
            Self::ExpectHeader(state) => Some(&state.login),
            Self::ExpectStartTls(state) => Some(&state.login),
            Self::ExpectHandshake(state) => Some(&state.login),
            Self::ExpectLogin(state) => Some(&state.login),
            Self::ExpectInitialResponse(state) => Some(&state.login),
            Self::AwaitVerifiers(state) => Some(&state.login),
            Self::ExpectResponse(state) => Some(&state.login),
            Self::AwaitAccount(state) => Some(&state.login),
            Self::AwaitLogin(state) => Some(&state.login),
            Self::ExpectBind(state) => Some(&state.login),
            Self::Open(_) | Self::Closed => None,
        }
    }
}
