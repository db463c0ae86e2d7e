//! What can be wrong with the configuration: the operator's to mend, so each error says where and how.

use std::io;
use std::path::PathBuf;

use super::names::NameError;
use crate::domain::file_access::FileAccess;

/// A configuration that cannot be used. Exit code 78; 66 or 77 for a file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file that must be there cannot be read.
    #[error("{}: cannot read the configuration: {source}; name a readable file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that this program's user may not read.
    #[error("{}: cannot read the configuration: permission denied; {access}", path.display())]
    Forbidden {
        /// The file.
        path: PathBuf,
        /// Who may read it.
        access: Box<FileAccess>,
    },
    /// A file is larger than any configuration.
    #[error("{}: larger than {limit} bytes, so this is no configuration; name the right file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit. Units: bytes.
        limit: u64,
    },
    /// A file does not have the form of its kind.
    #[error("{origin}: {reason}")]
    Syntax {
        /// File and line.
        origin: String,
        /// What the reader says, in one line.
        reason: String,
    },
    /// A key that no setting has.
    #[error("{origin}: unknown key {key}; known here: {known}")]
    UnknownKey {
        /// File and line.
        origin: String,
        /// The key with the names of its tables.
        key: String,
        /// The keys of the table where it stands.
        known: String,
    },
    /// A value of the wrong type, unit or range.
    #[error("{origin}: {key} = {given}: {wanted}")]
    WrongValue {
        /// File and line, variable or flag.
        origin: String,
        /// The key.
        key: String,
        /// The value as given; `***` for a secret.
        given: String,
        /// What would be accepted, and why where that is not plain.
        wanted: String,
    },
    /// A key without default is missing.
    #[error("{key} is not set; set it in {file}: {wanted}")]
    Missing {
        /// The key.
        key: &'static str,
        /// Where to set it.
        file: String,
        /// What would be accepted.
        wanted: &'static str,
    },
    /// Two settings contradict each other.
    #[error("{origin}: {key} = {given} must be {rule} {other} = {bound}")]
    Contradiction {
        /// File and line, variable or flag.
        origin: String,
        /// The key that is out of bounds.
        key: &'static str,
        /// Its value.
        given: String,
        /// How the two must compare.
        rule: &'static str,
        /// The key that sets the bound.
        other: &'static str,
        /// The bound.
        bound: String,
    },
}

impl SettingsError {
    /// Exit code of a program that ends with this error, by sysexits.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Unreadable { .. } => 66,
            Self::Forbidden { .. } => 77,
            Self::TooLarge { .. }
            | Self::Syntax { .. }
            | Self::UnknownKey { .. }
            | Self::WrongValue { .. }
            | Self::Missing { .. }
            | Self::Contradiction { .. } => 78,
        }
    }
}

/// Something in the configuration that the program passes over, but the operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsWarning {
    /// A key of a legacy file that means nothing to this program.
    #[error("{origin}: key {key} is unknown and has no effect; check its spelling or remove it")]
    UnknownLegacyKey {
        /// File and line.
        origin: String,
        /// The key.
        key: String,
    },
    /// A line that is nothing, in a file that others write too. It is not shown: it may hold a password.
    #[error("{origin}: neither a comment nor key = value, so it has no effect; correct or remove the line")]
    StrayLine {
        /// File and line.
        origin: String,
    },
    /// An `rhn.conf` that is not taken for that of a Satellite.
    #[error(
        "{file}: db_backend is not set, so nothing in this file is used; beside a Satellite set db_backend = postgresql, else deployment = \"standalone\" in {own}"
    )]
    Unused {
        /// The file.
        file: String,
        /// Our own one.
        own: String,
    },
    /// Quotes around a value, in a file that knows none. The value is not shown: it may be a password.
    #[error("{origin}: the quotes around the value are part of it; remove them, unless they are meant")]
    Quoted {
        /// File, line and key.
        origin: String,
    },
    /// A database behind the network is asked without a password.
    #[error(
        "{origin}: the database is asked over the network, and db_password (postgres.password) is not set; set it, unless the server trusts this host"
    )]
    NoPassword {
        /// Where the host stands.
        origin: String,
    },
    /// Something is set that the transport does not use.
    #[error(
        "{origin}: no effect with transport = {transport:?}: {keys}; remove what is not meant, or change transport"
    )]
    WithoutEffect {
        /// Where the first of them stands.
        origin: String,
        /// The transport.
        transport: &'static str,
        /// The keys, with those of the same table.
        keys: String,
    },
    /// Certificates are accepted by their common name.
    #[error(
        "{origin}: the XMPP server is accepted by the common name of a certificate without subjectAltName; give it one with both, and remove upstream.common_name"
    )]
    CommonNameAccepted {
        /// Where that is allowed.
        origin: String,
    },
    /// The Satellite has no name to tell its clients, and registers none of them for push.
    #[error(
        "{file}: server.jabber_server is not set, so the Satellite enrols no client for push; set it to this server's full name in lower case, and restart its web server"
    )]
    NobodyIsTold {
        /// The file.
        file: String,
    },
    /// A server's name in capitals, which existing agents compare letter by letter.
    #[error("{origin}: {name:?} has capitals, which existing agents take for another name; write it in lower case")]
    Capitals {
        /// File and line.
        origin: String,
        /// The name.
        name: String,
    },
    /// Clients are told another name than this server has.
    #[error(
        "{origin}: clients are told {told:?}, but this server is {hostname:?} ({from}); after a change of name, set both to the name in the certificate"
    )]
    OtherNameTold {
        /// Where they are told.
        origin: String,
        /// What they are told.
        told: String,
        /// This server's name.
        hostname: String,
        /// Where that comes from.
        from: String,
    },
    /// A proxy is wanted, but none is named.
    #[error("{origin}: no httpProxy is set, so connections are direct; set it, or switch enableProxy off")]
    ProxyNotNamed {
        /// Where it is wanted.
        origin: String,
    },
    /// A legacy file without the section that is read.
    #[error("{origin}: section [{section}] is missing, so nothing in this file has any effect")]
    MissingSection {
        /// The file.
        origin: String,
        /// The section.
        section: &'static str,
    },
    /// An environment variable with our prefix that belongs to no setting.
    #[error("environment variable {name} belongs to no setting and has no effect; check its spelling")]
    UnknownVariable {
        /// Name of the variable.
        name: String,
    },
}

/// Why a value does not fit its setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The wrong form; the text says what is accepted.
    #[error("expected {0}")]
    Form(&'static str),
    /// Not the name or address it must be.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Unfit {
    /// Whether the value holds a password though its setting does not.
    pub const fn holds_secret(&self) -> bool {
        matches!(self, Self::Name(NameError::ProxyLogin))
    }
}
