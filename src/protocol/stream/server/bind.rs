//! Resource binding (RFC 6120, section 7).

use minidom::Element;

use super::context::{Context, Login};
use super::open::Open;
use super::{ServerEvent, State};
use crate::protocol::codec::{Escaped, push};
use crate::protocol::ns;
use crate::protocol::register::AccountName;
use crate::protocol::stanza::{StanzaFault, write_error, write_result};
use crate::protocol::stream::{Output, StreamFault};

/// Characters of a full JID at most: the width of `rhnPushClient.jabber_id`.
const JID_CHARACTERS_MAX: usize = 128;

/// Logged in; the client has to ask for its resource.
pub(super) struct ExpectBind {
    pub(super) login: Login,
    pub(super) username: AccountName,
}

impl ExpectBind {
    pub(super) fn handle(
        mut self: Box<Self>,
        element: &Element,
        context: &mut Context<'_>,
    ) -> Result<State, StreamFault> {
        if !element.is("iq", ns::CLIENT) {
            return match element.name() {
                "message" | "presence" => Err(StreamFault::NotAuthorized),
                _ => Err(StreamFault::UnsupportedStanzaType),
            };
        }
        let bind = element
            .get_child("bind", ns::BIND)
            .filter(|_| element.attr("type") == Some("set"));
        let Some(bind) = bind else {
            self.login.count_attempt(context.config)?;
            write_error(element, StanzaFault::ServiceUnavailable, context.text());
            return Ok(State::ExpectBind(self));
        };
        let Some(jid) = self.full_jid(bind) else {
            self.login.count_attempt(context.config)?;
            write_error(element, StanzaFault::BadRequest, context.text());
            return Ok(State::ExpectBind(self));
        };
        let mut payload = String::new();
        push(
            &mut payload,
            format_args!("<bind xmlns='{}'><jid>{}</jid></bind>", ns::BIND, Escaped(&jid)),
        );
        Ok(open(jid, element, &payload, context))
    }

    /// The JID with the resource the client wants, or a random one; `None` when no JID can have that resource.
    fn full_jid(&mut self, bind: &Element) -> Option<String> {
        let wanted = bind.get_child("resource", ns::BIND).map(Element::text);
        let resource = wanted
            .filter(|resource| !resource.is_empty())
            .unwrap_or_else(|| self.login.seed.draw_text());
        full_jid(&self.username, &self.login.domain, &resource)
    }
}

/// The full JID of a session, if there can be such a one.
pub(super) fn full_jid(username: &AccountName, domain: &str, resource: &str) -> Option<String> {
    let text = format!("{}@{domain}/{resource}", username.as_str());
    let jid = jid::FullJid::new(&text).ok()?.to_string();
    (jid.chars().count() <= JID_CHARACTERS_MAX).then_some(jid)
}

/// Begins the session under its full JID, and answers the request that asked for it.
pub(super) fn open(jid: String, request: &Element, payload: &str, context: &mut Context<'_>) -> State {
    context.decoder.set_limits(context.config.limits_after_login);
    context.out.push(Output::Event(ServerEvent::LoggedIn(jid.clone())));
    write_result(request, payload, context.text());
    State::Open(Open::new(jid, context.now))
}
