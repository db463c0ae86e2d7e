//! STARTTLS (RFC 6120, section 5).

use minidom::Element;

use super::State;
use super::context::{Context, Login};
use super::header::ExpectHeader;
use crate::protocol::codec::push;
use crate::protocol::ns;
use crate::protocol::sasl::TlsExporter;
use crate::protocol::stream::{Output, StreamFault};

/// Features were sent in the clear; only `<starttls/>` is welcome.
pub(super) struct ExpectStartTls {
    pub(super) login: Login,
}

impl ExpectStartTls {
    pub(super) fn handle(self, element: &Element, context: &mut Context<'_>) -> Result<State, StreamFault> {
        if !element.is("starttls", ns::TLS) {
            return Err(StreamFault::TlsRequired);
        }
        if context.more_input {
            return Err(StreamFault::InjectedBeforeTls);
        }
        push(context.text(), format_args!("<proceed xmlns='{}'/>", ns::TLS));
        context.out.push(Output::StartTls);
        let state = ExpectHandshake {
            login: self.login,
            closing: None,
        };
        Ok(State::ExpectHandshake(Box::new(state)))
    }
}

/// The transport is doing the handshake; nothing may be written or read here.
pub(super) struct ExpectHandshake {
    pub(super) login: Login,
    /// What ends the stream once the handshake is done: an existing agent whose handshake is cut off ends for good
    /// (compatibility contract, section 1.3).
    pub(super) closing: Option<StreamFault>,
}

impl ExpectHandshake {
    pub(super) fn established(mut self, exporter: Option<TlsExporter>) -> State {
        self.login.exporter = exporter;
        State::ExpectHeader(Box::new(ExpectHeader::inside_tls(self.login)))
    }
}
