//! What an agent lets the administrator of its host know.

use std::time::Duration;

use crate::domain::check::EndedRun;
use crate::domain::ids::RequestNumber;

/// What went wrong and is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What, in words.
    pub reason: String,
    /// When it is tried again, counted from now.
    pub retry_in: Duration,
}

/// How the connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkStatus {
    /// It is being made.
    Connecting {
        /// The server's name.
        server: String,
    },
    /// The server let us in; no dispatcher has answered yet.
    LoggedIn {
        /// The server's address.
        address: String,
    },
    /// A dispatcher knows us: what is scheduled starts at once.
    Linked,
    /// There is none.
    Down(Trouble),
}

/// Shows how the agent is. It never fails and never blocks for longer than a small file operation: nothing depends on it.
pub trait StatusBoard: Send + Sync + 'static {
    /// The last try to register failed so, or did not.
    fn registration(&self, trouble: Option<Trouble>);

    /// The connection is like this now.
    fn link(&self, status: LinkStatus);

    /// A valid request was received; without a number from an original dispatcher.
    fn request(&self, number: Option<RequestNumber>);

    /// A check run ended.
    fn run_ended(&self, ended: EndedRun);
}
