//! Header, features and TLS (RFC 6120, sections 4.3 and 5).

use minidom::Element;

use super::authenticate::{Offer, authenticate};
use super::bind::request_bind;
use super::context::{Context, Login, Stop, unexpected};
use super::{ClientEnd, State};
use crate::protocol::codec::{Escaped, StreamHeader, push};
use crate::protocol::ns;
use crate::protocol::stream::{Output, StreamFault};

/// How far the login has come; decides what is taken from the features.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    BeforeTls,
    InsideTls,
    LoggedIn,
}

/// Our header was sent; the server's is due.
pub(super) struct ExpectHeader {
    pub(super) login: Login,
    phase: Phase,
}

impl ExpectHeader {
    /// Sends the header.
    pub(super) fn begin(login: Login, phase: Phase, output: &mut String) -> State {
        push(
            output,
            format_args!(
                "<?xml version='1.0'?><stream:stream to='{}' xmlns='{}' xmlns:stream='{}' version='1.0'>",
                Escaped(&login.config.domain),
                ns::CLIENT,
                ns::STREAM
            ),
        );
        State::ExpectHeader(Box::new(Self { login, phase }))
    }

    /// A server without a version sends no features (RFC 6120, section 4.7.5), so it has no TLS either.
    pub(super) fn handle_header(mut self, header: &StreamHeader) -> Result<State, Stop> {
        self.login.stream_id = header.id.clone();
        match header.version.as_deref().map(|version| version.split('.').next()) {
            None => Err(Stop(ClientEnd::NoTls)),
            Some(Some("1")) => Ok(State::ExpectFeatures(Box::new(ExpectFeatures {
                login: self.login,
                phase: self.phase,
            }))),
            Some(_) => Err(Stop(ClientEnd::Fault(StreamFault::UnsupportedVersion))),
        }
    }
}

/// The server's header came; its features are due.
pub(super) struct ExpectFeatures {
    pub(super) login: Login,
    phase: Phase,
}

impl ExpectFeatures {
    pub(super) fn handle(self, features: &Element, context: &mut Context<'_>) -> Result<State, Stop> {
        if !features.is("features", ns::STREAM) {
            return Err(unexpected(features));
        }
        match self.phase {
            Phase::BeforeTls => {
                if !features.has_child("starttls", ns::TLS) {
                    return Err(Stop(ClientEnd::NoTls));
                }
                push(context.text(), format_args!("<starttls xmlns='{}'/>", ns::TLS));
                Ok(State::ExpectProceed(Box::new(ExpectProceed { login: self.login })))
            }
            Phase::InsideTls => authenticate(self.login, Offer::read(features), context),
            Phase::LoggedIn => Ok(request_bind(self.login, context)),
        }
    }
}

/// `<starttls/>` was sent.
pub(super) struct ExpectProceed {
    pub(super) login: Login,
}

impl ExpectProceed {
    pub(super) fn handle(self, element: &Element, context: &mut Context<'_>) -> Result<State, Stop> {
        if element.is("failure", ns::TLS) {
            return Err(Stop(ClientEnd::NoTls));
        }
        if !element.is("proceed", ns::TLS) {
            return Err(unexpected(element));
        }
        if context.more_input {
            return Err(Stop(ClientEnd::Fault(StreamFault::InjectedBeforeTls)));
        }
        context.out.push(Output::StartTls);
        Ok(State::ExpectHandshake(Box::new(self.login)))
    }
}
