//! The login of a component (XEP-0114, section 3): a header, and a proof of the secret.
//!
//! The protocol has no TLS of its own. Where it is wanted, it comes before the first byte.

use minidom::Element;

use super::bind::begin_session;
use super::context::{Context, Login, Stop, unexpected};
use super::{ClientEnd, State};
use crate::protocol::codec::{Escaped, StreamHeader, push};
use crate::protocol::iq_auth::digest;
use crate::protocol::ns;

/// Our header was sent; the server's is due.
pub(super) struct ExpectComponentHeader {
    pub(super) login: Login,
}

impl ExpectComponentHeader {
    /// Sends the header.
    pub(super) fn begin(login: Login, output: &mut String) -> State {
        push(
            output,
            format_args!(
                "<?xml version='1.0'?><stream:stream to='{}' xmlns='{}' xmlns:stream='{}'>",
                Escaped(&login.config.domain),
                ns::COMPONENT,
                ns::STREAM
            ),
        );
        State::ExpectComponentHeader(Box::new(Self { login }))
    }

    /// Proves that we know the secret. A stream without an id has nothing to prove it by: its server is about to say why it
    /// refuses us, as Prosody does.
    pub(super) fn handle_header(self, header: &StreamHeader, context: &mut Context<'_>) -> State {
        if let Some(id) = header.id.as_deref().filter(|id| !id.is_empty()) {
            let proof = digest(id, &self.login.config.password);
            push(context.text(), format_args!("<handshake>{proof}</handshake>"));
        }
        State::ExpectAcceptance(Box::new(ExpectAcceptance { login: self.login }))
    }
}

/// The proof was sent.
pub(super) struct ExpectAcceptance {
    pub(super) login: Login,
}

impl ExpectAcceptance {
    pub(super) fn handle(self, element: &Element, context: &mut Context<'_>) -> Result<State, Stop> {
        // That is what a server says at its port for clients.
        if element.is("features", ns::STREAM) {
            return Err(Stop(ClientEnd::NoMechanism));
        }
        if !element.is("handshake", ns::CLIENT) {
            return Err(unexpected(element));
        }
        let config = &self.login.config;
        let jid = format!("{}@{}/{}", config.username, config.domain, config.resource);
        Ok(begin_session(&self.login, jid, context))
    }
}
