//! The agent's XMPP account, remembered between its lives.

use std::path::PathBuf;

use crate::domain::secret::Secret;
use crate::ports::file_error::FileError;

/// The account an agent logs in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentAccount {
    /// Local part of the address.
    pub username: String,
    /// Password.
    pub password: Secret,
    /// Resource of the address; a constant of the protocol.
    pub resource: String,
}

/// Why a new account was made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// There was none, or it was damaged.
    Absent,
    /// The account belongs to another machine: this one is a clone of it.
    ClonedMachine,
    /// The host was registered as another system.
    OtherSystem,
}

/// An account that is ready for use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedAccount {
    /// The account.
    pub account: AgentAccount,
    /// Why it is a new one, if it is.
    pub renewal: Option<Renewal>,
}

/// The account could not be read or written. Can heal, so the caller tries again.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The operating system's fault.
    #[error(transparent)]
    File(#[from] FileError),
    /// What was made up does not fit the file's format.
    #[error("cannot write an account to {path}; set auth_file to another file", path = .0.display())]
    Unwritable(PathBuf),
}

/// Where the account is kept.
pub trait AccountFile: Send + Sync {
    /// Gives the account of this system on this machine; makes up a new one if there is none, or if it belongs to
    /// another machine or system.
    ///
    /// # Errors
    /// [`AccountError`]; then there is no account to work with.
    fn open(&self, system_id: &str) -> Result<OpenedAccount, AccountError>;

    /// Makes up a new account, because somebody else uses the current one.
    ///
    /// # Errors
    /// [`AccountError`]; then the current one stands.
    fn renew(&self, system_id: &str) -> Result<AgentAccount, AccountError>;
}
