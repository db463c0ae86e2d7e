//! What all stanzas share: addressing, and errors that old and new peers understand (RFC 6120, section 8).

use minidom::Element;
use rxml::Namespace;

use crate::protocol::codec::{Escaped, push};
use crate::protocol::ns;

/// Why a stanza is answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StanzaFault {
    /// The stanza is not a valid request.
    #[error("bad request")]
    BadRequest,
    /// The account is taken. Its numeric code is 503 and not 409: on 409 an existing agent exits for good (push life
    /// cycle, section 4), on 503 it tries again later; new agents read the condition.
    #[error("conflict")]
    Conflict,
    /// The password is wrong. Not [`NotAuthorized`](Self::NotAuthorized): on its numeric code an existing agent takes
    /// the account for unknown and registers it, on this one it tries again later.
    #[error("forbidden")]
    Forbidden,
    /// A failure of ours.
    #[error("internal error")]
    InternalServerError,
    /// A value is outside of the limits.
    #[error("not acceptable")]
    NotAcceptable,
    /// Switched off here.
    #[error("not allowed")]
    NotAllowed,
    /// Not logged in, or unknown account.
    #[error("not authorized")]
    NotAuthorized,
    /// Nobody here answers that, or not now.
    #[error("service unavailable")]
    ServiceUnavailable,
}

impl StanzaFault {
    /// The numeric code of the days before XMPP 1.0: the only thing existing agents understand (XEP-0086;
    /// compatibility contract, section 1.15).
    pub const fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::NotAuthorized => 401,
            Self::Forbidden => 403,
            Self::NotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::InternalServerError => 500,
            Self::Conflict | Self::ServiceUnavailable => 503,
        }
    }

    /// The element name of the condition (RFC 6120, section 8.3.3).
    pub const fn condition(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::Conflict => "conflict",
            Self::Forbidden => "forbidden",
            Self::InternalServerError => "internal-server-error",
            Self::NotAcceptable => "not-acceptable",
            Self::NotAllowed => "not-allowed",
            Self::NotAuthorized => "not-authorized",
            Self::ServiceUnavailable => "service-unavailable",
        }
    }

    /// What the sender should do about it (RFC 6120, section 8.3.2).
    const fn kind(self) -> &'static str {
        match self {
            Self::BadRequest | Self::NotAcceptable => "modify",
            Self::Forbidden | Self::NotAuthorized => "auth",
            Self::InternalServerError => "wait",
            Self::Conflict | Self::NotAllowed | Self::ServiceUnavailable => "cancel",
        }
    }

    /// The condition in an error stanza somebody sent us.
    pub fn condition_in(stanza: &Element) -> Option<String> {
        let error = stanza.get_child("error", ns::CLIENT)?;
        error
            .children()
            .find(|child| child.has_ns(ns::STANZA_ERRORS) && child.name() != "text")
            .map(|child| child.name().to_owned())
    }
}

/// Appends the error answer to `stanza`, from whomever it was addressed to. Errors are not answered by errors.
pub(crate) fn write_error(stanza: &Element, fault: StanzaFault, output: &mut String) {
    if matches!(stanza.attr("type"), Some("error" | "result")) {
        return;
    }
    push(output, format_args!("<{} type='error'", stanza.name()));
    write_reply_attributes(stanza, output);
    push(
        output,
        format_args!(
            "><error code='{}' type='{}'><{} xmlns='{}'/></error></{}>",
            fault.code(),
            fault.kind(),
            fault.condition(),
            ns::STANZA_ERRORS,
            stanza.name()
        ),
    );
}

/// Appends the result of `iq` with `payload` (XML text of ours) inside.
pub(crate) fn write_result(iq: &Element, payload: &str, output: &mut String) {
    output.push_str("<iq type='result'");
    write_reply_attributes(iq, output);
    if payload.is_empty() {
        output.push_str("/>");
        return;
    }
    push(output, format_args!(">{payload}</iq>"));
}

fn write_reply_attributes(stanza: &Element, output: &mut String) {
    let attributes = [("id", "id"), ("from", "to"), ("to", "from")];
    for (attribute, value) in attributes.map(|(own, theirs)| (own, stanza.attr(theirs))) {
        if let Some(value) = value {
            push(output, format_args!(" {attribute}='{}'", Escaped(value)));
        }
    }
}

/// What an answer repeats of `iq`, without its content.
pub(crate) fn addressing_of(iq: &Element) -> Element {
    let mut request = Element::bare("iq", ns::CLIENT);
    for name in ["id", "to"] {
        if let Some(value) = iq.attr(name) {
            set_attribute(&mut request, name, value);
        }
    }
    request
}

/// Sets an attribute without namespace.
pub(crate) fn set_attribute(stanza: &mut Element, name: &'static str, value: &str) {
    // Our own names are valid.
    if let Ok(name) = name.try_into() {
        stanza.attrs_mut().insert(Namespace::NONE, name, value.to_owned());
    }
}

/// The part of a JID before the resource.
pub(crate) fn bare(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(bare, _)| bare)
}
