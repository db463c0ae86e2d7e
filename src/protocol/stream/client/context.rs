//! What states share: the outside, and the facts of a login.

use std::time::Instant;

use minidom::Element;

use super::{ClientConfig, ClientEnd, ClientOutputs, Role};
use crate::protocol::codec::{Decoder, Limits};
use crate::protocol::sasl::TlsExporter;
use crate::protocol::stream::Seed;

/// The stream cannot go on.
pub(super) struct Stop(pub(super) ClientEnd);

/// What a state may use while it handles one input.
pub(super) struct Context<'a> {
    pub(super) decoder: &'a mut Decoder,
    pub(super) out: &'a mut ClientOutputs,
    /// Whether bytes stand behind the element being handled.
    pub(super) more_input: bool,
    pub(super) now: Instant,
}

impl Context<'_> {
    pub(super) fn text(&mut self) -> &mut String {
        self.out.text()
    }

    /// The next bytes begin a new stream.
    pub(super) fn restart(&mut self, login: &Login) {
        *self.decoder = login.decoder();
    }
}

/// The facts of a login, handed from state to state and forgotten when it is done.
pub(super) struct Login {
    pub(super) config: ClientConfig,
    pub(super) seed: Seed,
    /// When the login must be done.
    pub(super) deadline: Instant,
    /// Keying material of the TLS connection.
    pub(super) exporter: Option<TlsExporter>,
    /// The id the server gave the stream, which digests are made with.
    pub(super) stream_id: Option<String>,
    /// Whether the account was made on this connection.
    pub(super) registered: bool,
}

impl Login {
    pub(super) fn new(config: ClientConfig, seed: Seed, now: Instant) -> Self {
        Self {
            deadline: now + config.login_timeout,
            config,
            seed,
            exporter: None,
            stream_id: None,
            registered: false,
        }
    }

    /// Reads a stream of the server, which has proved who it is. Without SASL it is not restarted at the end of the
    /// login, so what cannot be changed then has to be right from here on.
    pub(super) fn decoder(&self) -> Decoder {
        let limits = Limits {
            token_bytes: self.config.limits.token_bytes,
            ..Limits::BEFORE_LOGIN
        };
        match self.config.role {
            Role::Client => Decoder::new(limits),
            Role::Component { .. } => Decoder::of_component(limits),
        }
    }
}

/// The end for an element that has no place here.
pub(super) fn unexpected(element: &Element) -> Stop {
    Stop(ClientEnd::Unexpected(element.name().to_owned()))
}
