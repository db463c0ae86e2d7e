//! Login without SASL (XEP-0078): for servers that offer nothing else, such as a jabberd without SASL.

use minidom::Element;

use super::authenticate::{Offer, register_or_give_up};
use super::bind::begin_session;
use super::context::{Context, Login, Stop, unexpected};
use super::{ClientEnd, State};
use crate::protocol::codec::{Escaped, push};
use crate::protocol::iq_auth::digest;
use crate::protocol::ns;
use crate::protocol::stanza::StanzaFault;

const GET_ID: &str = "auth-get";
const SET_ID: &str = "auth-set";

/// Asks what a login consists of.
pub(super) fn request_fields(login: Login, offer: Offer, context: &mut Context<'_>) -> State {
    push(
        context.text(),
        format_args!(
            "<iq type='get' id='{GET_ID}'><query xmlns='{}'><username>{}</username></query></iq>",
            ns::IQ_AUTH,
            Escaped(&login.config.username)
        ),
    );
    State::ExpectFields(Box::new(ExpectFields { login, offer }))
}

/// The fields were asked for.
pub(super) struct ExpectFields {
    pub(super) login: Login,
    offer: Offer,
}

impl ExpectFields {
    pub(super) fn handle(self, iq: &Element, context: &mut Context<'_>) -> Result<State, Stop> {
        if !is_answer(iq, GET_ID) {
            return Err(unexpected(iq));
        }
        if iq.attr("type") == Some("error") {
            return handle_refusal(self.login, &self.offer, iq, context);
        }
        let Some(fields) = iq.get_child("query", ns::IQ_AUTH) else {
            return Err(unexpected(iq));
        };
        let takes_digest = fields.has_child("digest", ns::IQ_AUTH);
        write_login(&self.login, takes_digest, context.text());
        Ok(State::ExpectSession(Box::new(ExpectSession {
            login: self.login,
            offer: self.offer,
        })))
    }
}

/// The digest where the server takes one and named its stream, else the password: we are inside TLS.
fn write_login(login: &Login, takes_digest: bool, output: &mut String) {
    let config = &login.config;
    push(
        output,
        format_args!(
            "<iq type='set' id='{SET_ID}'><query xmlns='{}'><username>{}</username><resource>{}</resource>",
            ns::IQ_AUTH,
            Escaped(&config.username),
            Escaped(&config.resource)
        ),
    );
    match login.stream_id.as_deref().filter(|_| takes_digest) {
        Some(id) => push(
            output,
            format_args!("<digest>{}</digest>", digest(id, &config.password)),
        ),
        None => push(
            output,
            format_args!("<password>{}</password>", Escaped(config.password.expose())),
        ),
    }
    output.push_str("</query></iq>");
}

/// The proof was sent.
pub(super) struct ExpectSession {
    pub(super) login: Login,
    offer: Offer,
}

impl ExpectSession {
    pub(super) fn handle(self, iq: &Element, context: &mut Context<'_>) -> Result<State, Stop> {
        if !is_answer(iq, SET_ID) {
            return Err(unexpected(iq));
        }
        if iq.attr("type") == Some("error") {
            return handle_refusal(self.login, &self.offer, iq, context);
        }
        // The server does not say who we are; existing clients assume the same (compatibility contract, section 1.5).
        let config = &self.login.config;
        let jid = format!("{}@{}/{}", config.username, config.domain, config.resource);
        Ok(begin_session(&self.login, jid, context))
    }
}

fn is_answer(iq: &Element, id: &str) -> bool {
    let answered = matches!(iq.attr("type"), Some("result" | "error"));
    answered && iq.is("iq", ns::CLIENT) && iq.attr("id") == Some(id)
}

/// Old servers say by number that they do not know the account or that its password is wrong, new ones by condition.
fn handle_refusal(login: Login, offer: &Offer, iq: &Element, context: &mut Context<'_>) -> Result<State, Stop> {
    let code = iq.get_child("error", ns::CLIENT).and_then(|error| error.attr("code"));
    let condition = StanzaFault::condition_in(iq);
    let not_authorized = [StanzaFault::NotAuthorized, StanzaFault::Forbidden].map(StanzaFault::condition);
    let by_condition = condition.is_some_and(|condition| not_authorized.contains(&condition.as_str()));
    if matches!(code, Some("401" | "403")) || by_condition {
        return register_or_give_up(login, offer, context);
    }
    Err(Stop(ClientEnd::LoginRefused(None)))
}
