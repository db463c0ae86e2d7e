//! What a peer can do wrong below the level of stanzas.

use rxml::Error as XmlError;
use xmpp_parsers::stream_error::DefinedCondition;

/// The peer's bytes are not an acceptable stream. Each one ends the stream; see [`CodecError::condition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A header or stanza is longer than the limit.
    #[error("stanza is longer than {limit} bytes")]
    TooLong {
        /// The limit that was in force, in bytes.
        limit: usize,
    },
    /// Elements are nested deeper than the limit.
    #[error("elements are nested deeper than {limit} levels")]
    TooDeep {
        /// The limit that was in force.
        limit: usize,
    },
    /// An element has more attributes than the limit.
    #[error("an element has more than {limit} attributes")]
    TooManyAttributes {
        /// The limit that was in force.
        limit: usize,
    },
    /// A stanza has more elements than the limit.
    #[error("a stanza has more than {limit} elements")]
    TooManyElements {
        /// The limit that was in force.
        limit: usize,
    },
    /// A comment, processing instruction, DTD or entity (RFC 6120, section 11.1).
    #[error("comment, processing instruction, document type or entity")]
    Restricted,
    /// A namespace prefix was never declared.
    #[error("undeclared namespace prefix")]
    UndeclaredPrefix,
    /// Bytes that are not UTF-8, or a declaration of another encoding.
    #[error("encoding is not UTF-8")]
    Encoding,
    /// The bytes are not XML.
    #[error("not well-formed XML")]
    NotWellFormed,
    /// The outermost element is not in the namespace of streams.
    #[error("the outermost element is not a stream: wrong namespace")]
    NotAStreamNamespace,
    /// The outermost element is in the namespace of streams but is no `stream`.
    #[error("the outermost element is not a stream: wrong name")]
    NotAStream,
    /// Text that is not white space stands between stanzas.
    #[error("text between stanzas")]
    TextBetweenStanzas,
}

impl CodecError {
    /// The stream error to send for it (RFC 6120, section 4.9.3).
    pub fn condition(self) -> DefinedCondition {
        match self {
            Self::TooLong { .. }
            | Self::TooDeep { .. }
            | Self::TooManyAttributes { .. }
            | Self::TooManyElements { .. } => DefinedCondition::PolicyViolation,
            Self::Restricted => DefinedCondition::RestrictedXml,
            Self::UndeclaredPrefix => DefinedCondition::BadNamespacePrefix,
            Self::Encoding => DefinedCondition::UnsupportedEncoding,
            Self::NotWellFormed => DefinedCondition::NotWellFormed,
            Self::NotAStreamNamespace => DefinedCondition::InvalidNamespace,
            Self::NotAStream | Self::TextBetweenStanzas => DefinedCondition::BadFormat,
        }
    }
}

/// How the reader calls `<!` followed by neither a comment nor CDATA: a document type or another declaration.
const DECLARATION: &str = "malformed cdata or comment section start";

/// Sorts the reader's errors into the conditions of RFC 6120.
pub(super) fn from_xml(error: XmlError, limit: usize) -> CodecError {
    match error {
        XmlError::UndeclaredNamespacePrefix(_) => CodecError::UndeclaredPrefix,
        XmlError::InvalidUtf8Byte(_) => CodecError::Encoding,
        XmlError::RestrictedXml(what) => from_restriction(what, limit),
        XmlError::UndeclaredEntity | XmlError::InvalidSyntax(DECLARATION) => CodecError::Restricted,
        XmlError::InvalidEof(_)
        | XmlError::InvalidChar(..)
        | XmlError::UnexpectedChar(..)
        | XmlError::UnexpectedByte(..)
        | XmlError::InvalidSyntax(_)
        | XmlError::UnexpectedToken(..)
        | XmlError::DuplicateAttribute
        | XmlError::ElementMismatch
        | XmlError::MultiColonName(_)
        | XmlError::EmptyNamePart(_)
        | XmlError::ReservedNamespacePrefix
        | XmlError::ReservedNamespaceName
        | XmlError::InvalidLocalName(_)
        | XmlError::EmptyNamespaceUri => CodecError::NotWellFormed,
    }
}

/// The reader names its restrictions only by text; an unknown text is still a restriction.
fn from_restriction(what: &str, limit: usize) -> CodecError {
    match what {
        "long name or reference" | "event too long" => CodecError::TooLong { limit },
        _ if what.contains("encoding") || what.contains("utf-8") => CodecError::Encoding,
        _ => CodecError::Restricted,
    }
}
