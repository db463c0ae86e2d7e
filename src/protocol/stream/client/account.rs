//! Making the account (XEP-0077), once per connection.

use minidom::Element;

use super::authenticate::{Offer, authenticate};
use super::context::{Context, Login, Stop, unexpected};
use super::{ClientEnd, State};
use crate::protocol::codec::{Escaped, push};
use crate::protocol::ns;
use crate::protocol::register::{is_fillable, write_registration};
use crate::protocol::stanza::StanzaFault;
use crate::protocol::stream::Remark;

/// Asks what the server wants to know.
pub(super) fn request_form(login: Login, offer: Offer, context: &mut Context<'_>) -> State {
    push(
        context.text(),
        format_args!(
            "<iq type='get' id='register-get' to='{}'><query xmlns='{}'/></iq>",
            Escaped(&login.config.domain),
            ns::REGISTER
        ),
    );
    State::ExpectForm(Box::new(ExpectForm { login, offer }))
}

/// The form was asked for.
pub(super) struct ExpectForm {
    pub(super) login: Login,
    offer: Offer,
}

impl ExpectForm {
    pub(super) fn handle(self, iq: &Element, context: &mut Context<'_>) -> Result<State, Stop> {
        if !iq.is("iq", ns::CLIENT) || iq.attr("id") != Some("register-get") {
            return Err(unexpected(iq));
        }
        let fillable = iq.get_child("query", ns::REGISTER).is_some_and(is_fillable);
        if iq.attr("type") != Some("result") || !fillable {
            return Err(Stop(ClientEnd::RegistrationRefused(remark(iq))));
        }
        let config = &self.login.config;
        push(
            context.text(),
            format_args!("<iq type='set' id='register-set' to='{}'>", Escaped(&config.domain)),
        );
        write_registration(&config.username, &config.password, context.text());
        context.text().push_str("</iq>");
        Ok(State::ExpectAccount(Box::new(ExpectAccount {
            login: self.login,
            offer: self.offer,
        })))
    }
}

/// The filled form was sent.
pub(super) struct ExpectAccount {
    pub(super) login: Login,
    offer: Offer,
}

impl ExpectAccount {
    pub(super) fn handle(mut self: Box<Self>, iq: &Element, context: &mut Context<'_>) -> Result<State, Stop> {
        if !iq.is("iq", ns::CLIENT) || iq.attr("id") != Some("register-set") {
            return Err(unexpected(iq));
        }
        if iq.attr("type") == Some("result") {
            self.login.registered = true;
            return authenticate(self.login, self.offer, context);
        }
        Err(Stop(if is_conflict(iq) {
            ClientEnd::CredentialsTaken
        } else {
            ClientEnd::RegistrationRefused(remark(iq))
        }))
    }
}

fn remark(iq: &Element) -> Remark {
    let error = iq.get_child("error", ns::CLIENT);
    error.map_or_else(Remark::default, |error| Remark::of(error, ns::STANZA_ERRORS))
}

/// Old servers say it by number (compatibility contract, section 1.6), new ones by condition.
fn is_conflict(iq: &Element) -> bool {
    let code = iq.get_child("error", ns::CLIENT).and_then(|error| error.attr("code"));
    code == Some("409") || StanzaFault::condition_in(iq).as_deref() == Some(StanzaFault::Conflict.condition())
}
