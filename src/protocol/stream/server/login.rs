//! Inside TLS, not logged in: SASL, `jabber:iq:auth` or registration.

use minidom::Element;

use super::context::{Context, Login};
use super::sasl::{ExpectInitialResponse, begin, write_failure};
use super::{State, iq_auth, registration};
use crate::protocol::ns;
use crate::protocol::sasl::{Mechanism, SaslFault};
use crate::protocol::stanza::{StanzaFault, write_error};
use crate::protocol::stream::StreamFault;

/// Features were sent inside TLS.
pub(super) struct ExpectLogin {
    pub(super) login: Login,
}

impl ExpectLogin {
    pub(super) fn handle(self: Box<Self>, element: &Element, context: &mut Context<'_>) -> Result<State, StreamFault> {
        if element.is("auth", ns::SASL) {
            return self.handle_auth(element, context);
        }
        if element.is("iq", ns::CLIENT) {
            return self.handle_iq(element, context);
        }
        if element.is("abort", ns::SASL) {
            return self.fail(SaslFault::Aborted, context);
        }
        match element.name() {
            "message" | "presence" => Err(StreamFault::NotAuthorized),
            _ => Err(StreamFault::UnsupportedStanzaType),
        }
    }

    fn handle_auth(self, element: &Element, context: &mut Context<'_>) -> Result<State, StreamFault> {
        let mechanism = element
            .attr("mechanism")
            .and_then(Mechanism::from_name)
            .filter(|mechanism| self.login.exporter.is_some() || !mechanism.needs_exporter());
        let Some(mechanism) = mechanism else {
            return self.fail(SaslFault::InvalidMechanism, context);
        };
        let text = element.text();
        if text.is_empty() {
            // RFC 6120, section 6.4.3: ask for the response that should have come along.
            context.text().push_str("<challenge xmlns='");
            context.text().push_str(ns::SASL);
            context.text().push_str("'/>");
            return Ok(State::ExpectInitialResponse(Box::new(ExpectInitialResponse {
                login: self.login,
                mechanism,
            })));
        }
        begin(self.login, mechanism, &text, context)
    }

    /// Requests a stranger may send.
    fn handle_iq(mut self: Box<Self>, iq: &Element, context: &mut Context<'_>) -> Result<State, StreamFault> {
        self.login.count_attempt(context.config)?;
        if let Some(query) = iq.get_child("query", ns::REGISTER) {
            return registration::handle(self.login, iq, query, context);
        }
        if let Some(query) = iq.get_child("query", ns::IQ_AUTH) {
            return iq_auth::handle(self.login, iq, query, context);
        }
        write_error(iq, StanzaFault::ServiceUnavailable, context.text());
        Ok(State::ExpectLogin(self))
    }

    /// A failed attempt leaves the client where it was (RFC 6120, section 6.4.5).
    pub(super) fn fail(mut self, fault: SaslFault, context: &mut Context<'_>) -> Result<State, StreamFault> {
        write_failure(fault, context.text());
        self.login.count_attempt(context.config)?;
        Ok(State::ExpectLogin(Box::new(self)))
    }
}
