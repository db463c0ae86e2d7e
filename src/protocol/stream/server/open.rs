//! Logged in: the server's own conversation with a client (RFC 6121, XEP-0199).
//!
//! No client reaches another client: there is nobody to talk to but the server and the dispatcher.

use std::time::{Duration, Instant};

use minidom::Element;

use super::destination::{Destination, is_own};
use super::{Context, ServerConfig, ServerEvent, State};
use crate::protocol::codec::{Escaped, push};
use crate::protocol::ns;
use crate::protocol::roster::roster;
use crate::protocol::stanza::{StanzaFault, bare, set_attribute, write_error, write_result};
use crate::protocol::stream::{Output, StreamFault};

/// What a client does that concerns the dispatcher. Every stanza has the session's full JID as `from`.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientActivity {
    /// It broadcast its presence, with whatever a new agent adds to it.
    Available(Element),
    /// It broadcast that it is unavailable, and stays connected.
    Unavailable,
    /// It sent the dispatcher a message.
    Message(Element),
}

/// A session.
pub(super) struct Open {
    /// The client's full JID.
    jid: Box<str>,
    last_write: Instant,
    /// When the next ping is due; only for agents that answer pings.
    next_ping: Option<Instant>,
    /// When something must have arrived after the last ping.
    silent_until: Option<Instant>,
    pings: u32,
}

impl Open {
    pub(super) fn new(jid: String, now: Instant) -> Self {
        Self {
            jid: jid.into_boxed_str(),
            last_write: now,
            next_ping: None,
            silent_until: None,
            pings: 0,
        }
    }

    /// Something arrived.
    pub(super) fn heard(&mut self) {
        self.silent_until = None;
    }

    /// Something was sent.
    pub(super) fn wrote(&mut self, now: Instant) {
        self.last_write = now;
    }

    pub(super) fn next_deadline(&self, config: &ServerConfig) -> Instant {
        let white_space = self.last_write + config.white_space_interval;
        [self.next_ping, self.silent_until]
            .into_iter()
            .flatten()
            .fold(white_space, Instant::min)
    }

    pub(super) fn handle_deadline(
        &mut self,
        now: Instant,
        config: &ServerConfig,
        output: &mut String,
    ) -> Result<(), StreamFault> {
        if self.silent_until.is_some_and(|until| until <= now) {
            return Err(StreamFault::PingTimeout);
        }
        if self.next_ping.is_some_and(|due| due <= now) {
            self.ping(now, config, output);
        } else if self.last_write + config.white_space_interval <= now {
            output.push(' ');
            self.last_write = now;
        }
        Ok(())
    }

    fn ping(&mut self, now: Instant, config: &ServerConfig, output: &mut String) {
        self.pings = self.pings.wrapping_add(1);
        push(
            output,
            format_args!(
                "<iq type='get' id='ping-{}' from='{}'><ping xmlns='{}'/></iq>",
                self.pings,
                Escaped(self.domain()),
                ns::PING
            ),
        );
        self.last_write = now;
        self.next_ping = Some(now + config.ping_interval);
        self.silent_until = Some(now + config.ping_timeout.max(Duration::from_secs(1)));
    }

    fn domain(&self) -> &str {
        bare(&self.jid).split_once('@').map_or("", |(_, domain)| domain)
    }

    pub(super) fn handle(mut self, element: Element, context: &mut Context<'_>) -> Result<State, StreamFault> {
        if !element.has_ns(ns::CLIENT) {
            return Err(StreamFault::UnsupportedStanzaType);
        }
        let written = context.text().len();
        match element.name() {
            "message" => self.handle_message(element, context),
            "presence" => self.handle_presence(element, context),
            "iq" => self.handle_iq(&element, context),
            _ => return Err(StreamFault::UnsupportedStanzaType),
        }
        if context.text().len() > written {
            self.last_write = context.now;
        }
        Ok(State::Open(self))
    }

    fn handle_message(&mut self, message: Element, context: &mut Context<'_>) {
        match self.destination(&message, context) {
            Destination::Dispatcher => self.report(message, ClientActivity::Message, context),
            Destination::Server | Destination::Nobody => {
                write_error(&message, StanzaFault::ServiceUnavailable, context.text());
            }
        }
    }

    fn handle_presence(&mut self, presence: Element, context: &mut Context<'_>) {
        match (self.destination(&presence, context), presence.attr("type")) {
            (Destination::Dispatcher, None) => {
                if self.next_ping.is_none() && presence.children().any(|child| child.has_ns(ns::PUSH)) {
                    self.next_ping = Some(context.now + context.config.ping_interval);
                }
                self.report(presence, ClientActivity::Available, context);
            }
            (Destination::Dispatcher, Some(_)) => {
                let event = ServerEvent::Client(ClientActivity::Unavailable);
                context.out.push(Output::Event(event));
            }
            (Destination::Server, Some("subscribe")) => self.approve(&presence, context),
            (Destination::Server, _) => self.write_dispatcher_presence(context),
            (Destination::Nobody, _) => {}
        }
    }

    fn destination(&self, stanza: &Element, context: &Context<'_>) -> Destination {
        Destination::of(stanza, &self.jid, context.config)
    }

    /// Approval and the dispatcher's own presence, which is what an existing agent takes for "available"; together,
    /// because it reads one TLS record per 6 to 10 s (compatibility contract, sections 1.10 and 4.6).
    fn approve(&self, request: &Element, context: &mut Context<'_>) {
        let dispatcher = &context.config.dispatcher;
        let output = context.out.text();
        push(
            output,
            format_args!(
                "<presence type='subscribed' from='{}' to='{}'",
                Escaped(dispatcher),
                Escaped(&self.jid)
            ),
        );
        if let Some(id) = request.attr("id") {
            push(output, format_args!(" id='{}'", Escaped(id)));
        }
        output.push_str("/>");
        self.write_dispatcher_presence(context);
    }

    fn write_dispatcher_presence(&self, context: &mut Context<'_>) {
        let config = context.config;
        push(
            context.out.text(),
            format_args!(
                "<presence from='{}/{}' to='{}'/>",
                Escaped(&config.dispatcher),
                Escaped(&config.dispatcher_resource),
                Escaped(&self.jid)
            ),
        );
    }

    fn handle_iq(&mut self, iq: &Element, context: &mut Context<'_>) {
        let kind = match iq.attr("type") {
            Some(kind @ ("get" | "set")) => kind,
            // Answers to pings (that they came is enough), and acknowledgements.
            Some("result" | "error") => return,
            _ => return write_error(iq, StanzaFault::BadRequest, context.text()),
        };
        if iq.attr("id").is_none() {
            return write_error(iq, StanzaFault::BadRequest, context.text());
        }
        let own = iq.attr("to").is_none_or(|to| is_own(to, &self.jid));
        let ours = self.destination(iq, context) == Destination::Server;
        if ours && kind == "get" && iq.has_child("ping", ns::PING) {
            write_result(iq, "", context.text());
        } else if own && kind == "get" && iq.has_child("query", ns::ROSTER) {
            let payload = roster(&context.config.dispatcher);
            write_result(iq, &payload, context.text());
        } else if own && iq.has_child("query", ns::ROSTER) {
            // Nothing is stored, so nothing changes; existing dispatchers remove many contacts at once.
            write_result(iq, "", context.text());
        } else if ours && iq.has_child("query", ns::IQ_AUTH) {
            write_error(iq, StanzaFault::NotAllowed, context.text());
        } else {
            write_error(iq, StanzaFault::ServiceUnavailable, context.text());
        }
    }

    /// Passes a stanza on under the only name that the client proved.
    fn report(&self, mut stanza: Element, activity: fn(Element) -> ClientActivity, context: &mut Context<'_>) {
        set_attribute(&mut stanza, "from", &self.jid);
        let event = ServerEvent::Client(activity(stanza));
        context.out.push(Output::Event(event));
    }
}
