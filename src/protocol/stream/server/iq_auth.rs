//! Login without SASL (XEP-0078), as existing agents do it: compatibility contract, section 1.5.
//!
//! Their library takes numbers for answers: 401 means that there is no such account, and makes them register one. A
//! wrong password must therefore have another number. Whether an account exists is no secret here: registration says it
//! as well.

use minidom::Element;

use super::bind::{full_jid, open};
use super::context::{Context, Login};
use super::login::ExpectLogin;
use super::{Answer, Question, QuestionToken, State};
use crate::domain::secret::Secret;
use crate::protocol::codec::push;
use crate::protocol::iq_auth::accepts;
use crate::protocol::ns;
use crate::protocol::register::AccountName;
use crate::protocol::sasl::Verifiers;
use crate::protocol::stanza::{StanzaFault, addressing_of, write_error, write_result};
use crate::protocol::stream::StreamFault;

/// What the client wants.
enum Wish {
    /// To know what a login consists of.
    Fields,
    /// A session under this full JID.
    Session { jid: String, proof: Proof },
}

enum Proof {
    Password(Secret),
    Digest(String),
}

/// Answers a request of `jabber:iq:auth`, at once or after asking.
pub(super) fn handle(
    mut login: Login,
    iq: &Element,
    query: &Element,
    context: &mut Context<'_>,
) -> Result<State, StreamFault> {
    match read(&login, iq, query, context) {
        Ok((username, wish)) => {
            let token = login.next_token();
            context.ask(token, Question::Verifiers(username.clone()));
            Ok(State::AwaitLogin(Box::new(AwaitLogin {
                login,
                token,
                request: addressing_of(iq),
                username,
                wish,
            })))
        }
        Err(fault) => Ok(refuse(login, iq, fault, context)),
    }
}

fn read(
    login: &Login,
    iq: &Element,
    query: &Element,
    context: &Context<'_>,
) -> Result<(AccountName, Wish), StanzaFault> {
    if iq.attr("to").is_some_and(|to| !context.config.serves(to)) {
        return Err(StanzaFault::ServiceUnavailable);
    }
    let field = |name: &str| query.get_child(name, ns::IQ_AUTH).map(Element::text);
    let username = field("username").ok_or(StanzaFault::NotAcceptable)?;
    // No account can have such a name.
    let username = AccountName::parse(&username)
        .filter(|name| !context.config.is_reserved(name))
        .ok_or(StanzaFault::NotAuthorized)?;
    match iq.attr("type") {
        Some("get") => return Ok((username, Wish::Fields)),
        Some("set") => {}
        _ => return Err(StanzaFault::BadRequest),
    }
    let resource = field("resource").ok_or(StanzaFault::NotAcceptable)?;
    let proof = match (field("digest"), field("password")) {
        (Some(digest), _) => Proof::Digest(digest),
        (None, Some(password)) => Proof::Password(Secret::new(password)),
        (None, None) => return Err(StanzaFault::NotAcceptable),
    };
    let jid = full_jid(&username, &login.domain, &resource).ok_or(StanzaFault::NotAcceptable)?;
    Ok((username, Wish::Session { jid, proof }))
}

fn refuse(login: Login, iq: &Element, fault: StanzaFault, context: &mut Context<'_>) -> State {
    write_error(iq, fault, context.text());
    State::ExpectLogin(Box::new(ExpectLogin { login }))
}

/// The account is being looked up.
pub(super) struct AwaitLogin {
    pub(super) login: Login,
    pub(super) token: QuestionToken,
    /// The request without its content: what an answer repeats.
    request: Element,
    username: AccountName,
    wish: Wish,
}

impl AwaitLogin {
    pub(super) fn answer(self, answer: Answer, context: &mut Context<'_>) -> Result<State, StreamFault> {
        let verifiers = match answer {
            Answer::Verifiers(Some(verifiers)) => verifiers,
            Answer::Verifiers(None) => {
                return Ok(refuse(self.login, &self.request, StanzaFault::NotAuthorized, context));
            }
            Answer::Unavailable => {
                let fault = StanzaFault::InternalServerError;
                return Ok(refuse(self.login, &self.request, fault, context));
            }
            Answer::Created | Answer::Taken | Answer::Refused => return Err(StreamFault::Internal),
        };
        match self.wish {
            Wish::Fields => {
                let fields = fields(&self.username, verifiers.password().is_some());
                write_result(&self.request, &fields, context.text());
                Ok(State::ExpectLogin(Box::new(ExpectLogin { login: self.login })))
            }
            Wish::Session { jid, proof } if proves(&proof, &verifiers, &self.login.stream_id) => {
                Ok(open(jid, &self.request, "", context))
            }
            Wish::Session { .. } => Ok(refuse(self.login, &self.request, StanzaFault::Forbidden, context)),
        }
    }
}

/// The form. A client that finds `<digest/>` sends one, and the password otherwise.
fn fields(username: &AccountName, digest: bool) -> String {
    let mut payload = String::new();
    push(
        &mut payload,
        format_args!(
            "<query xmlns='{}'><username>{}</username><password/>{}<resource/></query>",
            ns::IQ_AUTH,
            username.as_str(),
            if digest { "<digest/>" } else { "" }
        ),
    );
    payload
}

fn proves(proof: &Proof, verifiers: &Verifiers, stream_id: &str) -> bool {
    match proof {
        Proof::Password(password) => verifiers.accept(password),
        Proof::Digest(digest) => verifiers
            .password()
            .is_some_and(|password| accepts(digest, stream_id, password)),
    }
}
