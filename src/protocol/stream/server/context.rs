//! What states share: the outside, and the facts of a login.

use std::time::Instant;

use super::{Question, QuestionToken, ServerConfig, ServerEvent, ServerOutputs};
use crate::protocol::codec::{Decoder, Escaped, push};
use crate::protocol::ns;
use crate::protocol::sasl::TlsExporter;
use crate::protocol::stream::{Output, Seed, StreamFault};

/// What a state may use while it handles one input.
pub(super) struct Context<'a> {
    pub(super) config: &'a ServerConfig,
    pub(super) decoder: &'a mut Decoder,
    pub(super) out: &'a mut ServerOutputs,
    /// Whether bytes stand behind the element being handled.
    pub(super) more_input: bool,
    pub(super) now: Instant,
}

impl Context<'_> {
    pub(super) fn text(&mut self) -> &mut String {
        self.out.text()
    }

    pub(super) fn ask(&mut self, token: QuestionToken, question: Question) {
        self.out.push(Output::Event(ServerEvent::Ask(token, question)));
    }

    /// The next bytes begin a new stream.
    pub(super) fn restart(&mut self) {
        *self.decoder = Decoder::new(self.config.limits_before_login);
    }
}

/// The facts of a login, handed from state to state.
pub(super) struct Login {
    pub(super) seed: Seed,
    /// When the client must be logged in.
    pub(super) deadline: Instant,
    /// Keying material of the TLS connection.
    pub(super) exporter: Option<TlsExporter>,
    /// The domain the client asked for.
    pub(super) domain: String,
    /// The id of the stream, which digests are made with.
    pub(super) stream_id: String,
    attempts: u8,
    questions: u32,
}

impl Login {
    pub(super) fn new(seed: Seed, deadline: Instant) -> Self {
        Self {
            seed,
            deadline,
            exporter: None,
            domain: String::new(),
            stream_id: String::new(),
            attempts: 0,
            questions: 0,
        }
    }

    /// Counts a failure or a request for an account.
    pub(super) fn count_attempt(&mut self, config: &ServerConfig) -> Result<(), StreamFault> {
        self.attempts = self.attempts.saturating_add(1);
        if self.attempts > config.login_attempts_max {
            return Err(StreamFault::TooManyAttempts);
        }
        Ok(())
    }

    pub(super) fn next_token(&mut self) -> QuestionToken {
        self.questions += 1;
        QuestionToken(self.questions)
    }
}

/// Appends the header of our direction.
pub(super) fn write_header(domain: &str, id: &str, output: &mut String) {
    push(
        output,
        format_args!(
            "<?xml version='1.0'?><stream:stream xmlns='{}' xmlns:stream='{}' from='{}' id='{id}' version='1.0'>",
            ns::CLIENT,
            ns::STREAM,
            Escaped(domain)
        ),
    );
}
