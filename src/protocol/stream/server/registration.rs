//! Registration before login (XEP-0077, section 3).

use minidom::Element;

use super::context::{Context, Login};
use super::login::ExpectLogin;
use super::{Answer, Question, QuestionToken, State};
use crate::protocol::register::{FORM, Registration};
use crate::protocol::stanza::{StanzaFault, addressing_of, write_error, write_result};
use crate::protocol::stream::StreamFault;

/// Answers a request of `jabber:iq:register`, at once or after asking.
pub(super) fn handle(
    login: Login,
    iq: &Element,
    query: &Element,
    context: &mut Context<'_>,
) -> Result<State, StreamFault> {
    match read(iq, query, context) {
        Ok(Some(registration)) => Ok(ask(login, iq, registration, context)),
        Ok(None) => {
            write_result(iq, FORM, context.text());
            Ok(State::ExpectLogin(Box::new(ExpectLogin { login })))
        }
        Err(fault) => {
            write_error(iq, fault, context.text());
            Ok(State::ExpectLogin(Box::new(ExpectLogin { login })))
        }
    }
}

/// The registration, or `None` when the form is wanted.
fn read(iq: &Element, query: &Element, context: &Context<'_>) -> Result<Option<Registration>, StanzaFault> {
    if iq.attr("to").is_some_and(|to| !context.config.serves(to)) {
        return Err(StanzaFault::ServiceUnavailable);
    }
    if !context.config.registration {
        return Err(StanzaFault::NotAllowed);
    }
    match iq.attr("type") {
        Some("get") => Ok(None),
        Some("set") => {
            let registration = Registration::parse(query)?;
            if context.config.is_reserved(&registration.username) {
                return Err(StanzaFault::NotAcceptable);
            }
            Ok(Some(registration))
        }
        _ => Err(StanzaFault::BadRequest),
    }
}

fn ask(mut login: Login, iq: &Element, registration: Registration, context: &mut Context<'_>) -> State {
    let token = login.next_token();
    context.ask(
        token,
        Question::CreateAccount {
            username: registration.username,
            password: registration.password,
        },
    );
    let request = addressing_of(iq);
    State::AwaitAccount(Box::new(AwaitAccount { login, token, request }))
}

/// The account is being made.
pub(super) struct AwaitAccount {
    pub(super) login: Login,
    pub(super) token: QuestionToken,
    /// The request without its content: what an answer repeats.
    request: Element,
}

impl AwaitAccount {
    pub(super) fn answer(self, answer: Answer, context: &mut Context<'_>) -> Result<State, StreamFault> {
        let outcome = match answer {
            Answer::Created => Ok(()),
            Answer::Taken => Err(StanzaFault::Conflict),
            Answer::Refused => Err(StanzaFault::NotAllowed),
            Answer::Unavailable => Err(StanzaFault::InternalServerError),
            Answer::Verifiers(_) => return Err(StreamFault::Internal),
        };
        match outcome {
            Ok(()) => write_result(&self.request, "", context.text()),
            Err(fault) => write_error(&self.request, fault, context.text()),
        }
        Ok(State::ExpectLogin(Box::new(ExpectLogin { login: self.login })))
    }
}
