//! The choice of a login, and SASL (RFC 6120, section 6).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minidom::Element;

use super::account::request_form;
use super::context::{Context, Login, Stop, unexpected};
use super::features::{ExpectHeader, Phase};
use super::iq_auth::request_fields;
use super::{ClientEnd, State};
use crate::protocol::codec::push;
use crate::protocol::ns;
use crate::protocol::sasl::scram::client::{ClientBinding, ExpectServerFinal, ExpectServerFirst, ServerFault};
use crate::protocol::sasl::{Mechanism, SaslFault, ScramHash, nonce_text, plain_message};

/// What a server offers for login.
#[derive(Clone)]
pub(super) struct Offer {
    mechanisms: Vec<Mechanism>,
    registration: bool,
    iq_auth: bool,
    /// The server says that it knows our channel binding (XEP-0440). One that does not say may offer a mechanism with
    /// binding all the same, and refuse every binding, as ejabberd 23 does over TLS 1.3.
    knows_our_binding: bool,
}

impl Offer {
    pub(super) fn read(features: &Element) -> Self {
        let names = features
            .get_child("mechanisms", ns::SASL)
            .into_iter()
            .flat_map(Element::children);
        let bindings = features.get_child("sasl-channel-binding", ns::SASL_CHANNEL_BINDING);
        Self {
            mechanisms: names.filter_map(|name| Mechanism::from_name(&name.text())).collect(),
            registration: features.has_child("register", ns::REGISTER_FEATURE),
            iq_auth: features.has_child("auth", ns::IQ_AUTH_FEATURE),
            knows_our_binding: bindings
                .is_some_and(|types| types.children().any(|kind| kind.attr("type") == Some("tls-exporter"))),
        }
    }

    /// The strongest mechanism both sides can do.
    fn choose(&self, can_bind: bool) -> Option<Mechanism> {
        Mechanism::STRONGEST_FIRST
            .into_iter()
            .filter(|mechanism| can_bind || !mechanism.needs_exporter())
            .find(|mechanism| self.mechanisms.contains(mechanism))
    }
}

/// Begins the login.
pub(super) fn authenticate(mut login: Login, offer: Offer, context: &mut Context<'_>) -> Result<State, Stop> {
    let exporter = login.exporter.filter(|_| offer.knows_our_binding);
    let mechanism = offer.choose(exporter.is_some()).filter(|_| login.config.sasl);
    let Some(mechanism) = mechanism else {
        if offer.iq_auth {
            return Ok(request_fields(login, offer, context));
        }
        return Err(Stop(ClientEnd::NoMechanism));
    };
    match mechanism {
        // jabberd2 2.7 begins a session and never says so, if SASL leads to it on the stream on which the account was
        // made. Either way the password itself is sent, inside TLS.
        Mechanism::Plain if login.registered && offer.iq_auth => Ok(request_fields(login, offer, context)),
        Mechanism::Plain => {
            let message = plain_message(&login.config.username, &login.config.password);
            write_auth(mechanism, &message, context.text());
            Ok(State::ExpectSuccess(Box::new(ExpectSuccess { login, offer })))
        }
        Mechanism::Scram { hash, plus } => {
            let binding = match exporter {
                Some(exporter) if plus => ClientBinding::Bound(exporter),
                Some(_) => ClientBinding::NotOffered,
                None => ClientBinding::Unsupported,
            };
            let exchange = begin_scram(&mut login, hash, binding);
            write_auth(mechanism, exchange.client_first().as_bytes(), context.text());
            Ok(State::ExpectChallenge(Box::new(ExpectChallenge {
                login,
                offer,
                exchange,
            })))
        }
    }
}

fn begin_scram(login: &mut Login, hash: ScramHash, binding: ClientBinding) -> ExpectServerFirst {
    let nonce = nonce_text(&login.seed.draw());
    ExpectServerFirst::new(hash, binding, &login.config.username, nonce)
}

/// SCRAM has begun; the server's salt is due.
pub(super) struct ExpectChallenge {
    pub(super) login: Login,
    offer: Offer,
    exchange: ExpectServerFirst,
}

impl ExpectChallenge {
    pub(super) fn handle(self, element: &Element, context: &mut Context<'_>) -> Result<State, Stop> {
        if element.is("failure", ns::SASL) {
            return handle_failure(self.login, &self.offer, element, context);
        }
        // A success now would skip the server's proof.
        if !element.is("challenge", ns::SASL) {
            return Err(unexpected(element));
        }
        let (exchange, client_final) = self
            .exchange
            .respond(&decode(element)?, &self.login.config.password)
            .map_err(|fault| Stop(fault.into()))?;
        push(
            context.text(),
            format_args!(
                "<response xmlns='{}'>{}</response>",
                ns::SASL,
                STANDARD.encode(client_final)
            ),
        );
        Ok(State::ExpectServerProof(Box::new(ExpectServerProof {
            login: self.login,
            offer: self.offer,
            exchange: Some(exchange),
        })))
    }
}

/// Our proof was sent; the server's is due, with the success or before it.
pub(super) struct ExpectServerProof {
    pub(super) login: Login,
    offer: Offer,
    /// `None` when the server has proved itself already.
    exchange: Option<ExpectServerFinal>,
}

impl ExpectServerProof {
    pub(super) fn handle(mut self: Box<Self>, element: &Element, context: &mut Context<'_>) -> Result<State, Stop> {
        if element.is("failure", ns::SASL) {
            return handle_failure(self.login, &self.offer, element, context);
        }
        let is_success = element.is("success", ns::SASL);
        if !is_success && !element.is("challenge", ns::SASL) {
            return Err(unexpected(element));
        }
        match self.exchange.take() {
            Some(exchange) => exchange.verify(&decode(element)?).map_err(|fault| Stop(fault.into()))?,
            None if is_success => {}
            None => return Err(unexpected(element)),
        }
        if is_success {
            return Ok(logged_in(self.login, context));
        }
        push(context.text(), format_args!("<response xmlns='{}'/>", ns::SASL));
        Ok(State::ExpectServerProof(self))
    }
}

/// The password was sent.
pub(super) struct ExpectSuccess {
    pub(super) login: Login,
    offer: Offer,
}

impl ExpectSuccess {
    pub(super) fn handle(self, element: &Element, context: &mut Context<'_>) -> Result<State, Stop> {
        if element.is("failure", ns::SASL) {
            return handle_failure(self.login, &self.offer, element, context);
        }
        if !element.is("success", ns::SASL) {
            return Err(unexpected(element));
        }
        Ok(logged_in(self.login, context))
    }
}

fn logged_in(login: Login, context: &mut Context<'_>) -> State {
    context.restart(&login);
    ExpectHeader::begin(login, Phase::LoggedIn, context.text())
}

/// A server does not say whether an account is unknown or its password wrong; registering tells the two apart.
pub(super) fn register_or_give_up(login: Login, offer: &Offer, context: &mut Context<'_>) -> Result<State, Stop> {
    if login.registered || !login.config.may_register || !offer.registration {
        return Err(Stop(ClientEnd::NotAuthorized));
    }
    Ok(request_form(login, offer.clone(), context))
}

fn handle_failure(login: Login, offer: &Offer, failure: &Element, context: &mut Context<'_>) -> Result<State, Stop> {
    let condition = failure.children().find(|child| child.name() != "text");
    match condition.and_then(|condition| SaslFault::from_condition(condition.name())) {
        Some(SaslFault::NotAuthorized) => register_or_give_up(login, offer, context),
        other => Err(Stop(ClientEnd::LoginRefused(other))),
    }
}

fn write_auth(mechanism: Mechanism, message: &[u8], output: &mut String) {
    push(
        output,
        format_args!(
            "<auth xmlns='{}' mechanism='{mechanism}'>{}</auth>",
            ns::SASL,
            STANDARD.encode(message)
        ),
    );
}

fn decode(element: &Element) -> Result<Vec<u8>, Stop> {
    STANDARD
        .decode(element.text())
        .map_err(|_| Stop(ServerFault::Malformed.into()))
}
