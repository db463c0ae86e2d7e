//! The SASL exchange (RFC 6120, section 6).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minidom::Element;

use super::context::{Context, Login};
use super::header::ExpectHeader;
use super::login::ExpectLogin;
use super::{Answer, Question, QuestionToken, State};
use crate::domain::secret::Secret;
use crate::protocol::codec::push;
use crate::protocol::ns;
use crate::protocol::register::AccountName;
use crate::protocol::sasl::scram::message::ClientFirst;
use crate::protocol::sasl::scram::server::{ExpectClientFinal, check_binding};
use crate::protocol::sasl::{Mechanism, PlainMessage, SaslFault, ScramHash, Verifiers, nonce_text};
use crate::protocol::stream::StreamFault;

/// `<auth/>` came without its first message.
pub(super) struct ExpectInitialResponse {
    pub(super) login: Login,
    pub(super) mechanism: Mechanism,
}

impl ExpectInitialResponse {
    pub(super) fn handle(self, element: &Element, context: &mut Context<'_>) -> Result<State, StreamFault> {
        match response_text(element) {
            Ok(text) => begin(self.login, self.mechanism, &text, context),
            Err(fault) => fail(self.login, fault, context),
        }
    }
}

/// What a client claims, before it is known whether the account exists.
struct Claim {
    username: AccountName,
    proof: Proof,
}

enum Proof {
    Password(Secret),
    Scram {
        hash: ScramHash,
        plus: bool,
        first: ClientFirst,
    },
}

/// Reads the first message and asks for the account's verifiers.
pub(super) fn begin(
    mut login: Login,
    mechanism: Mechanism,
    text: &str,
    context: &mut Context<'_>,
) -> Result<State, StreamFault> {
    let claim = match read_claim(&login, mechanism, text, context) {
        Ok(claim) => claim,
        Err(fault) => return fail(login, fault, context),
    };
    let token = login.next_token();
    context.ask(token, Question::Verifiers(claim.username.clone()));
    Ok(State::AwaitVerifiers(Box::new(AwaitVerifiers { login, token, claim })))
}

fn read_claim(login: &Login, mechanism: Mechanism, text: &str, context: &Context<'_>) -> Result<Claim, SaslFault> {
    let message = decode(text)?;
    let (authzid, username, proof) = match mechanism {
        Mechanism::Plain => {
            let message = PlainMessage::parse(&message)?;
            (message.authzid, message.username, Proof::Password(message.password))
        }
        Mechanism::Scram { hash, plus } => {
            let first = ClientFirst::parse(&message)?;
            check_binding(&first, plus, login.exporter.is_some())?;
            let names = (first.authzid.clone(), first.username.clone());
            (names.0, names.1, Proof::Scram { hash, plus, first })
        }
    };
    // No account can have such a name, which is nothing a stranger could not know.
    let username = AccountName::parse(&username)
        .filter(|name| !context.config.is_reserved(name))
        .ok_or(SaslFault::NotAuthorized)?;
    // RFC 6120, section 6.3.8: a client acts for itself, by its bare JID.
    let own = format!("{}@{}", username.as_str(), login.domain);
    if !authzid.is_empty() && !authzid.eq_ignore_ascii_case(&own) {
        return Err(SaslFault::InvalidAuthzid);
    }
    Ok(Claim { username, proof })
}

/// The account's verifiers are being looked up.
pub(super) struct AwaitVerifiers {
    pub(super) login: Login,
    pub(super) token: QuestionToken,
    claim: Claim,
}

impl AwaitVerifiers {
    pub(super) fn answer(self, answer: Answer, context: &mut Context<'_>) -> Result<State, StreamFault> {
        let Answer::Verifiers(verifiers) = answer else {
            return fail(self.login, SaslFault::TemporaryAuthFailure, context);
        };
        let known = verifiers.is_some();
        let verifiers = verifiers.map_or_else(
            || {
                let config = context.config;
                Verifiers::decoy(
                    self.claim.username.as_str(),
                    &config.decoy_secret,
                    config.scram_iterations,
                )
            },
            |verifiers| *verifiers,
        );
        match self.claim.proof {
            Proof::Password(password) => {
                if verifiers.accept(&password) && known {
                    return Ok(succeed(self.login, self.claim.username, "", context));
                }
                fail(self.login, SaslFault::NotAuthorized, context)
            }
            Proof::Scram { hash, plus, first } => {
                let mut login = self.login;
                let nonce = nonce_text(&login.seed.draw());
                let exporter = login.exporter.filter(|_| plus);
                let verifier = verifiers.scram(hash).clone();
                let exchange = ExpectClientFinal::new(first, verifier, &nonce, exporter.as_ref());
                write_message("challenge", exchange.server_first(), context.text());
                Ok(State::ExpectResponse(Box::new(ExpectResponse {
                    login,
                    username: self.claim.username,
                    known,
                    exchange,
                })))
            }
        }
    }
}

/// The challenge was sent; the client's proof is due.
pub(super) struct ExpectResponse {
    pub(super) login: Login,
    username: AccountName,
    /// Whether the account exists; if not, no proof is good enough.
    known: bool,
    exchange: ExpectClientFinal,
}

impl ExpectResponse {
    pub(super) fn handle(self, element: &Element, context: &mut Context<'_>) -> Result<State, StreamFault> {
        let exchange = self.exchange;
        let outcome = response_text(element)
            .and_then(|text| decode(&text))
            .and_then(|message| exchange.finish(&message));
        match outcome {
            Ok(server_final) if self.known => Ok(succeed(self.login, self.username, &server_final, context)),
            Ok(_) => fail(self.login, SaslFault::NotAuthorized, context),
            Err(fault) => fail(self.login, fault, context),
        }
    }
}

/// The base64 text of a `<response/>`.
fn response_text(element: &Element) -> Result<String, SaslFault> {
    if element.is("response", ns::SASL) {
        return Ok(element.text());
    }
    if element.is("abort", ns::SASL) {
        return Err(SaslFault::Aborted);
    }
    Err(SaslFault::MalformedRequest)
}

fn decode(text: &str) -> Result<Vec<u8>, SaslFault> {
    // A lone `=` stands for an empty message (RFC 6120, section 6.4.2).
    if text == "=" {
        return Ok(Vec::new());
    }
    STANDARD.decode(text).map_err(|_| SaslFault::IncorrectEncoding)
}

fn succeed(login: Login, username: AccountName, server_final: &str, context: &mut Context<'_>) -> State {
    write_message("success", server_final, context.text());
    context.restart();
    State::ExpectHeader(Box::new(ExpectHeader::logged_in(login, username)))
}

fn fail(login: Login, fault: SaslFault, context: &mut Context<'_>) -> Result<State, StreamFault> {
    ExpectLogin { login }.fail(fault, context)
}

fn write_message(name: &str, message: &str, output: &mut String) {
    push(
        output,
        format_args!("<{name} xmlns='{}'>{}</{name}>", ns::SASL, STANDARD.encode(message)),
    );
}

/// Appends the failure of an attempt.
pub(super) fn write_failure(fault: SaslFault, output: &mut String) {
    push(
        output,
        format_args!("<failure xmlns='{}'><{}/></failure>", ns::SASL, fault.condition()),
    );
}
