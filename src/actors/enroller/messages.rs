//! What an enroller is told, and what it gives.

use std::sync::Arc;

use actix::Message;

use crate::ports::account_file::AgentAccount;
use crate::ports::systemid::Systemid;
use crate::protocol::osa::agent_talk::Enrolment;

/// All that a connection needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// Which of the servers.
    pub server: usize,
    /// What this host registered with.
    pub systemid: Arc<Systemid>,
    /// The account to log in with.
    pub account: AgentAccount,
    /// The full JID that was registered.
    pub jid: String,
    /// Name, key, dispatchers and drift.
    pub enrolment: Enrolment,
}

/// Why an enrolment does not hold any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Somebody else logged in to the account: a clone of this machine.
    Conflict,
    /// The account exists with another password.
    CredentialsTaken,
    /// The dispatcher does not know us.
    LinkGone,
    /// The drift is wrong.
    ClockOff,
    /// Nobody knows any more which elements were heard with the key.
    MemoryLost,
    /// The server gave another JID than was registered.
    OtherJid(String),
    /// The server cannot be reached.
    Unreachable,
}

/// Enrol again, because of this.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct EnrolAgain(pub Cause);

/// Say what the connector should be working with, if there is anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Option<Arc<Enrolled>>")]
pub struct ReportEnrolment;
