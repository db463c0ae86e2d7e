//! Logged in.

use std::time::{Duration, Instant};

use minidom::Element;

use super::context::{Context, Stop, unexpected};
use super::{ClientConfig, ClientEnd, ClientEvent, State};
use crate::protocol::codec::{Escaped, push};
use crate::protocol::contacts::CONTACT_PING_ID;
use crate::protocol::ns;
use crate::protocol::roster::items;
use crate::protocol::stanza::{StanzaFault, bare, write_error, write_result};
use crate::protocol::stream::Output;

/// Marks the request for the roster, and its answer.
pub(super) const ROSTER_ID: &str = "roster";

/// A session.
pub(super) struct Open {
    own: Box<str>,
    silence_timeout: Duration,
    last_read: Instant,
    /// Whether the server was asked, in this silence, for a sign of life.
    is_pinged: bool,
}

impl Open {
    pub(super) fn new(config: &ClientConfig, jid: &str, now: Instant) -> Self {
        Self {
            own: bare(jid).into(),
            silence_timeout: config.silence_timeout,
            last_read: now,
            is_pinged: false,
        }
    }

    /// Something arrived, if only white space.
    pub(super) fn heard(&mut self, now: Instant) {
        self.last_read = now;
        self.is_pinged = false;
    }

    pub(super) fn deadline(&self) -> Instant {
        let patience = if self.is_pinged {
            self.silence_timeout
        } else {
            // Later than servers that send white space of their own accord do, which are never asked.
            self.silence_timeout / 6 * 5
        };
        self.last_read + patience
    }

    /// The deadline is over: asks the server for a sign of life (XEP-0199), or finds it dead. Any answer will do, an
    /// error as well.
    pub(super) fn handle_deadline(&mut self, now: Instant, output: &mut String) -> Result<(), Stop> {
        if self.is_pinged || now >= self.last_read + self.silence_timeout {
            return Err(Stop(ClientEnd::Silent));
        }
        self.is_pinged = true;
        push(
            output,
            format_args!(
                "<iq type='get' id='ping' to='{}'><ping xmlns='{}'/></iq>",
                Escaped(self.domain().unwrap_or(&self.own)),
                ns::PING
            ),
        );
        Ok(())
    }

    pub(super) fn handle(self, element: Element, context: &mut Context<'_>) -> Result<State, Stop> {
        if !element.has_ns(ns::CLIENT) {
            return Err(unexpected(&element));
        }
        match element.name() {
            "message" | "presence" => context.out.push(Output::Event(ClientEvent::Deliver(element))),
            "iq" => self.handle_iq(&element, context),
            _ => return Err(unexpected(&element)),
        }
        Ok(State::Open(self))
    }

    /// Answers pings (XEP-0199), takes the roster, and acknowledges its pushes (RFC 6121, section 2.1.6).
    fn handle_iq(&self, iq: &Element, context: &mut Context<'_>) {
        let kind = iq.attr("type");
        let is_roster = iq.attr("id") == Some(ROSTER_ID) && self.is_from_server(iq);
        match (kind, iq.get_child("query", ns::ROSTER)) {
            (Some("get"), _) if iq.has_child("ping", ns::PING) => write_result(iq, "", context.text()),
            (Some("set"), Some(query)) if self.is_from_server(iq) => {
                write_result(iq, "", context.text());
                context
                    .out
                    .push(Output::Event(ClientEvent::RosterChanged(items(query))));
            }
            (Some("result" | "error"), query) if is_roster => {
                let roster = query.map(items).unwrap_or_default();
                context.out.push(Output::Event(ClientEvent::Roster(roster)));
            }
            (Some(kind @ ("result" | "error")), _) if iq.attr("id") == Some(CONTACT_PING_ID) => {
                let from = iq.attr("from").unwrap_or_default().to_owned();
                let is_error = kind == "error";
                context.out.push(Output::Event(ClientEvent::Pong { from, is_error }));
            }
            (Some("get" | "set"), _) => write_error(iq, StanzaFault::ServiceUnavailable, context.text()),
            (_, _) => {}
        }
    }

    /// Other clients cannot tell us about our roster: it comes from the account itself, or from its domain.
    fn is_from_server(&self, iq: &Element) -> bool {
        let domain = self.domain();
        iq.attr("from")
            .is_none_or(|from| bare(from) == &*self.own || Some(from) == domain)
    }

    fn domain(&self) -> Option<&str> {
        self.own.split_once('@').map(|(_, domain)| domain)
    }
}
