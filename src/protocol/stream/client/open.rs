//! Logged in.

use std::time::{Duration, Instant};

use minidom::Element;

use super::context::{Context, Stop, unexpected};
use super::{ClientEvent, State};
use crate::protocol::ns;
use crate::protocol::stanza::{StanzaFault, write_error, write_result};
use crate::protocol::stream::Output;

/// A session.
pub(super) struct Open {
    silence_timeout: Duration,
    last_read: Instant,
}

impl Open {
    pub(super) fn new(silence_timeout: Duration, now: Instant) -> Self {
        Self {
            silence_timeout,
            last_read: now,
        }
    }

    /// Something arrived, if only white space.
    pub(super) fn heard(&mut self, now: Instant) {
        self.last_read = now;
    }

    pub(super) fn deadline(&self) -> Instant {
        self.last_read + self.silence_timeout
    }

    pub(super) fn handle(self, element: Element, context: &mut Context<'_>) -> Result<State, Stop> {
        if !element.has_ns(ns::CLIENT) {
            return Err(unexpected(&element));
        }
        match element.name() {
            "message" | "presence" => context.out.push(Output::Event(ClientEvent::Deliver(element))),
            "iq" => handle_iq(&element, context.text()),
            _ => return Err(unexpected(&element)),
        }
        Ok(State::Open(self))
    }
}

/// Answers pings (XEP-0199) and acknowledges roster pushes (RFC 6121, section 2.1.6); the roster itself does not
/// matter, because requests are believed for their signature only.
fn handle_iq(iq: &Element, output: &mut String) {
    let known = match iq.attr("type") {
        Some("get") => iq.has_child("ping", ns::PING),
        Some("set") => iq.has_child("query", ns::ROSTER),
        _ => return,
    };
    if known {
        write_result(iq, "", output);
    } else {
        write_error(iq, StanzaFault::ServiceUnavailable, output);
    }
}
