//! Resource binding (RFC 6120, section 7).

use minidom::Element;

use super::context::{Context, Login, Stop, unexpected};
use super::open::{Open, ROSTER_ID};
use super::{ClientEnd, ClientEvent, Role, State};
use crate::protocol::codec::{Escaped, push};
use crate::protocol::ns;
use crate::protocol::stream::Output;

/// Asks for our resource.
pub(super) fn request_bind(login: Login, context: &mut Context<'_>) -> State {
    push(
        context.text(),
        format_args!(
            "<iq type='set' id='bind'><bind xmlns='{}'><resource>{}</resource></bind></iq>",
            ns::BIND,
            Escaped(&login.config.resource)
        ),
    );
    State::ExpectBound(Box::new(ExpectBound { login }))
}

/// The resource was asked for.
pub(super) struct ExpectBound {
    pub(super) login: Login,
}

impl ExpectBound {
    pub(super) fn handle(self, iq: &Element, context: &mut Context<'_>) -> Result<State, Stop> {
        if !iq.is("iq", ns::CLIENT) || iq.attr("id") != Some("bind") {
            return Err(unexpected(iq));
        }
        let jid = iq
            .get_child("bind", ns::BIND)
            .and_then(|bind| bind.get_child("jid", ns::BIND))
            .map(Element::text);
        let Some(jid) = jid.filter(|_| iq.attr("type") == Some("result")) else {
            return Err(Stop(ClientEnd::BindRefused));
        };
        Ok(begin_session(&self.login, jid, context))
    }
}

/// Begins the session under its full JID.
pub(super) fn begin_session(login: &Login, jid: String, context: &mut Context<'_>) -> State {
    context.decoder.set_limits(login.config.limits);
    if login.config.role == Role::Client {
        // Before any presence: servers with stored rosters deliver subscription requests only to those who asked.
        push(
            context.text(),
            format_args!("<iq type='get' id='{ROSTER_ID}'><query xmlns='{}'/></iq>", ns::ROSTER),
        );
    }
    let open = Open::new(&login.config, &jid, context.now);
    context.out.push(Output::Event(ClientEvent::LoggedIn {
        jid,
        registered: login.registered,
    }));
    State::Open(open)
}
