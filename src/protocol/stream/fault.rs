//! What ends a stream with an error of ours.

use minidom::Element;
use xmpp_parsers::stream_error::DefinedCondition;

use crate::protocol::codec::{CodecError, push};
use crate::protocol::ns;

/// Why we end a stream with a stream error; see [`StreamFault::condition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamFault {
    /// The bytes are not an acceptable stream.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The header asks for a domain we do not serve, or for none.
    #[error("the stream is for a domain that is not served here")]
    HostUnknown,
    /// The header has a version other than 1.x.
    #[error("the stream has an unknown version")]
    UnsupportedVersion,
    /// The first element is not `<starttls/>`, and nothing else is allowed without TLS.
    #[error("TLS has not been started")]
    TlsRequired,
    /// Bytes behind `<starttls/>` or `<proceed/>`: they could have been injected and would count as sent inside TLS.
    #[error("bytes were sent in the clear behind the start of TLS")]
    InjectedBeforeTls,
    /// A stanza before login.
    #[error("stanza before login")]
    NotAuthorized,
    /// A first-level element that has no meaning in this state.
    #[error("unknown first-level element")]
    UnsupportedStanzaType,
    /// Too many failed attempts to log in or register.
    #[error("too many login attempts")]
    TooManyAttempts,
    /// More was sent than fits while an answer was looked up.
    #[error("too much was sent ahead of an answer")]
    TooMuchAhead,
    /// Login took too long.
    #[error("not logged in in time")]
    LoginTimeout,
    /// A ping was not answered.
    #[error("ping was not answered")]
    PingTimeout,
    /// The same account logged in again.
    #[error("replaced by a new connection")]
    Conflict,
    /// The server stops.
    #[error("the server is shutting down")]
    SystemShutdown,
    /// The peer reads too slowly, or a limit of the server is reached.
    #[error("out of resources for this connection")]
    ResourceConstraint,
    /// The administrator reset the account.
    #[error("the account was reset")]
    AccountReset,
    /// Another agent registered as the same system, and requests go there now.
    #[error("another agent registered as this system")]
    Displaced,
    /// Our own fault.
    #[error("internal error")]
    Internal,
}

impl StreamFault {
    /// The condition to send (RFC 6120, section 4.9.3).
    pub fn condition(self) -> DefinedCondition {
        match self {
            Self::Codec(error) => error.condition(),
            Self::HostUnknown => DefinedCondition::HostUnknown,
            Self::UnsupportedVersion => DefinedCondition::UnsupportedVersion,
            Self::TlsRequired | Self::InjectedBeforeTls | Self::TooManyAttempts | Self::TooMuchAhead => {
                DefinedCondition::PolicyViolation
            }
            Self::NotAuthorized | Self::AccountReset | Self::Displaced => DefinedCondition::NotAuthorized,
            Self::UnsupportedStanzaType => DefinedCondition::UnsupportedStanzaType,
            Self::LoginTimeout | Self::PingTimeout => DefinedCondition::ConnectionTimeout,
            Self::Conflict => DefinedCondition::Conflict,
            Self::SystemShutdown => DefinedCondition::SystemShutdown,
            Self::ResourceConstraint => DefinedCondition::ResourceConstraint,
            Self::Internal => DefinedCondition::InternalServerError,
        }
    }
}

/// Appends a stream error.
pub(crate) fn write_stream_error(fault: StreamFault, output: &mut String) {
    let condition = Element::from(fault.condition());
    push(
        output,
        format_args!(
            "<stream:error><{} xmlns='{}'/></stream:error>",
            condition.name(),
            ns::STREAM_ERRORS
        ),
    );
}
