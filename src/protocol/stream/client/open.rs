//! Logged in.

use std::time::{Duration, Instant};

use minidom::Element;

use super::context::{Context, Stop, unexpected};
use super::{ClientConfig, ClientEnd, ClientEvent, Role, State};
use crate::protocol::codec::{Escaped, push};
use crate::protocol::contacts::CONTACT_PING_ID;
use crate::protocol::ns;
use crate::protocol::roster::items;
use crate::protocol::stanza::{StanzaFault, bare, set_attribute, write_error, write_result};
use crate::protocol::stream::Output;

/// An answer repeats the id of what anybody asked, escaped. One longer than the server takes from us would end the connection.
const ID_BYTES_MAX: usize = 1_024;

/// Marks the request for the roster, and its answer.
pub(super) const ROSTER_ID: &str = "roster";

/// A session.
pub(super) struct Open {
    /// Our bare JID.
    own: Box<str>,
    component: Option<Component>,
    silence_timeout: Duration,
    last_read: Instant,
    /// Whether the server was asked, in this silence, for a sign of life.
    is_pinged: bool,
}

/// What a component has to know that a client's server knows for it.
struct Component {
    /// Our full JID.
    jid: Box<str>,
    /// The server's own domain.
    server: Box<str>,
}

impl Open {
    pub(super) fn new(config: &ClientConfig, jid: &str, now: Instant) -> Self {
        let component = match &config.role {
            Role::Client => None,
            Role::Component { server, .. } => Some(Component {
                jid: jid.into(),
                server: server.as_str().into(),
            }),
        };
        Self {
            own: bare(jid).into(),
            component,
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
        output.push_str("<iq type='get' id='ping'");
        if let Some(component) = &self.component {
            push(output, format_args!(" from='{}'", Escaped(&component.jid)));
        }
        let server = match &self.component {
            Some(component) => &component.server,
            None => self.domain().unwrap_or(&self.own),
        };
        push(
            output,
            format_args!(" to='{}'><ping xmlns='{}'/></iq>", Escaped(server), ns::PING),
        );
        Ok(())
    }

    pub(super) const fn is_component(&self) -> bool {
        self.component.is_some()
    }

    /// The same stanza from us, if that is for us to say. Subscriptions are between bare JIDs (RFC 6121, section 3).
    pub(super) fn addressed(&self, stanza: &Element) -> Option<Element> {
        let component = self.component.as_ref()?;
        let is_subscription = stanza.name() == "presence"
            && matches!(
                stanza.attr("type"),
                Some("subscribe" | "subscribed" | "unsubscribe" | "unsubscribed")
            );
        let mut addressed = stanza.clone();
        set_attribute(
            &mut addressed,
            "from",
            if is_subscription { &self.own } else { &component.jid },
        );
        Some(addressed)
    }

    /// A component gets what is for any address of its domain.
    fn is_for_us(&self, stanza: &Element) -> bool {
        self.component.is_none() || stanza.attr("to").map(bare) == Some(&*self.own)
    }

    pub(super) fn handle(self, element: Element, context: &mut Context<'_>) -> Result<State, Stop> {
        if !element.has_ns(ns::CLIENT) {
            return Err(unexpected(&element));
        }
        match element.name() {
            "message" | "presence" if !self.is_for_us(&element) => {}
            "message" | "presence" => context.out.push(Output::Event(ClientEvent::Deliver(element))),
            "iq" => self.handle_iq(&element, context),
            _ => return Err(unexpected(&element)),
        }
        Ok(State::Open(self))
    }

    /// Answers pings (XEP-0199), takes the roster, and acknowledges its pushes (RFC 6121, section 2.1.6).
    fn handle_iq(&self, iq: &Element, context: &mut Context<'_>) {
        if iq.attr("id").is_some_and(|id| id.len() > ID_BYTES_MAX) {
            return;
        }
        let kind = iq.attr("type");
        let from_server = self.is_from_server(iq);
        let is_roster = iq.attr("id") == Some(ROSTER_ID) && from_server;
        match (kind, iq.get_child("query", ns::ROSTER)) {
            (Some("get"), _) if iq.has_child("ping", ns::PING) => write_result(iq, "", context.text()),
            (Some("set"), Some(query)) if from_server => {
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

    /// Other clients cannot tell us about our roster: it comes from the account itself, or from its domain. A component has none.
    fn is_from_server(&self, iq: &Element) -> bool {
        let domain = self.domain();
        let is_own = |from: &str| bare(from) == &*self.own || Some(from) == domain;
        !self.is_component() && iq.attr("from").is_none_or(is_own)
    }

    fn domain(&self) -> Option<&str> {
        self.own.split_once('@').map(|(_, domain)| domain)
    }
}
