//! In-band registration (XEP-0077): an agent makes its account before its first login.

use minidom::Element;

use crate::domain::secret::Secret;
use crate::protocol::codec::{Escaped, push};
use crate::protocol::ns;
use crate::protocol::stanza::StanzaFault;

/// Bytes of an account name at most: name, domain and resource have to fit `rhnPushClient.jabber_id`, 128 characters.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of a password at least. Agents send 20 hexadecimal digits; the fast verifier needs passwords of that kind.
pub const PASSWORD_BYTES_MIN: usize = 16;
/// Bytes of a password at most.
pub const PASSWORD_BYTES_MAX: usize = 128;

/// The answer to a request for the form. Existing agents fill in the fields they find, and echo all others.
pub(crate) const FORM: &str = "<query xmlns='jabber:iq:register'><instructions>Choose a name and a random password.\
     </instructions><username/><password/></query>";

/// The name of an account: lower-case letters, digits, `-`, `_` and `.`, so that it is the same in every comparison.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountName(String);

impl AccountName {
    /// Takes a name as a client sent it, upper case folded; `None` when no account can have it.
    pub fn parse(name: &str) -> Option<Self> {
        let valid = (1..=NAME_BYTES_MAX).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        valid.then(|| Self(name.to_ascii_lowercase()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a client wants to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The account.
    pub username: AccountName,
    /// Its password.
    pub password: Secret,
}

impl Registration {
    /// Reads the payload of a registration; unknown fields are ignored, because agents echo the form.
    ///
    /// # Errors
    ///
    /// [`StanzaFault::BadRequest`] when a field is missing, [`StanzaFault::NotAllowed`] for the removal of an account,
    /// [`StanzaFault::NotAcceptable`] when a value is outside of the limits.
    pub fn parse(query: &Element) -> Result<Self, StanzaFault> {
        if query.has_child("remove", ns::REGISTER) {
            return Err(StanzaFault::NotAllowed);
        }
        let field = |name: &str| query.get_child(name, ns::REGISTER).map(Element::text);
        let username = field("username").ok_or(StanzaFault::BadRequest)?;
        let password = Secret::new(field("password").ok_or(StanzaFault::BadRequest)?);
        let length = password.expose().len();
        if !(PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&length)
            || !password.expose().bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(StanzaFault::NotAcceptable);
        }
        Ok(Self {
            username: AccountName::parse(&username).ok_or(StanzaFault::NotAcceptable)?,
            password,
        })
    }
}

/// Appends the registration of an account, as the child of an iq.
pub(crate) fn write_registration(username: &str, password: &Secret, output: &mut String) {
    push(
        output,
        format_args!(
            "<query xmlns='{}'><username>{}</username><password>{}</password></query>",
            ns::REGISTER,
            Escaped(username),
            Escaped(password.expose())
        ),
    );
}

/// Whether a form asks for what we can give: a name and a password.
pub(crate) fn is_fillable(query: &Element) -> bool {
    query.has_child("username", ns::REGISTER) && query.has_child("password", ns::REGISTER)
}
