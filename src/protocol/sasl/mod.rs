//! Proving who one is (SASL, RFC 4422): SCRAM (RFC 5802, RFC 7677) with channel binding (RFC 5929, RFC 9266), and
//! PLAIN (RFC 4616). Both ends, as pure functions over messages; the streams carry the messages.
//!
//! The server keeps [`Verifiers`] only: whoever steals them cannot log in with SCRAM, and a password of at least
//! 80 random bits cannot be found from them.

mod plain;
pub mod scram;
mod stored;
mod verifiers;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use plain::{PlainMessage, plain_message};
pub use scram::hash::ScramHash;
pub use stored::ParseVerifiersError;
pub use verifiers::{FastVerifier, ITERATIONS_DEFAULT, PasswordError, Salts, ScramVerifier, Verifiers};

/// Keying material of the TLS connection both ends can compute: 32 bytes exported under the label
/// `EXPORTER-Channel-Binding` with an empty context (RFC 9266, section 2).
pub type TlsExporter = [u8; 32];

/// The label to export keying material under (RFC 9266, section 2).
pub const TLS_EXPORTER_LABEL: &str = "EXPORTER-Channel-Binding";

/// Random bytes for one nonce: 144 bits.
pub type Nonce = [u8; 18];

/// Writes a nonce as SCRAM carries it.
pub fn nonce_text(nonce: &Nonce) -> String {
    STANDARD.encode(nonce)
}

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// SCRAM; with `plus`, bound to the TLS connection.
    Scram {
        /// The hash function.
        hash: ScramHash,
        /// Whether the exchange is bound to the TLS channel.
        plus: bool,
    },
    /// The password itself, inside TLS.
    Plain,
}

impl Mechanism {
    /// All mechanisms, strongest first.
    pub const STRONGEST_FIRST: [Self; 5] = [
        Self::Scram {
            hash: ScramHash::Sha256,
            plus: true,
        },
        Self::Scram {
            hash: ScramHash::Sha1,
            plus: true,
        },
        Self::Scram {
            hash: ScramHash::Sha256,
            plus: false,
        },
        Self::Scram {
            hash: ScramHash::Sha1,
            plus: false,
        },
        Self::Plain,
    ];

    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scram {
                hash: ScramHash::Sha256,
                plus: true,
            } => "SCRAM-SHA-256-PLUS",
            Self::Scram {
                hash: ScramHash::Sha256,
                plus: false,
            } => "SCRAM-SHA-256",
            Self::Scram {
                hash: ScramHash::Sha1,
                plus: true,
            } => "SCRAM-SHA-1-PLUS",
            Self::Scram {
                hash: ScramHash::Sha1,
                plus: false,
            } => "SCRAM-SHA-1",
            Self::Plain => "PLAIN",
        }
    }

    /// The mechanism of that name, if we know it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::STRONGEST_FIRST
            .into_iter()
            .find(|mechanism| mechanism.name() == name)
    }

    /// Whether it needs keying material of the TLS connection.
    pub const fn needs_exporter(self) -> bool {
        matches!(self, Self::Scram { plus: true, .. })
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Why a login attempt fails, in the words of RFC 6120, section 6.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SaslFault {
    /// The client gave up.
    #[error("aborted")]
    Aborted,
    /// The message is not base64.
    #[error("incorrect encoding")]
    IncorrectEncoding,
    /// The client wants to act for another account.
    #[error("invalid authorization identity")]
    InvalidAuthzid,
    /// The mechanism is unknown or not offered here.
    #[error("invalid mechanism")]
    InvalidMechanism,
    /// The message breaks the mechanism's grammar.
    #[error("malformed request")]
    MalformedRequest,
    /// Wrong password, unknown account, or a channel that is not the one the client sees.
    #[error("not authorized")]
    NotAuthorized,
    /// Our side cannot tell at the moment.
    #[error("temporary authentication failure")]
    TemporaryAuthFailure,
}

impl SaslFault {
    const ALL: [Self; 7] = [
        Self::Aborted,
        Self::IncorrectEncoding,
        Self::InvalidAuthzid,
        Self::InvalidMechanism,
        Self::MalformedRequest,
        Self::NotAuthorized,
        Self::TemporaryAuthFailure,
    ];

    /// The fault of that element name, if we know it.
    pub fn from_condition(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.condition() == name)
    }

    /// The element name of the condition.
    pub const fn condition(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::IncorrectEncoding => "incorrect-encoding",
            Self::InvalidAuthzid => "invalid-authzid",
            Self::InvalidMechanism => "invalid-mechanism",
            Self::MalformedRequest => "malformed-request",
            Self::NotAuthorized => "not-authorized",
            Self::TemporaryAuthFailure => "temporary-auth-failure",
        }
    }
}
