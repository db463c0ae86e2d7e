//! One connection in use.

use std::time::{Duration, Instant};

use xmpp_parsers::stream_error::DefinedCondition;

use crate::actors::enroller::messages::Cause;
use crate::actors::wire::Link;
use crate::domain::backoff::Backoff;
use crate::domain::check::Dispatcher;
use crate::ports::account_file::AgentAccount;
use crate::ports::transport::{Connection, LinkError};
use crate::protocol::agent::{AgentLink, Moment};
use crate::protocol::osa::agent_talk::AgentTalk;
use crate::protocol::stream::Seed;
use crate::protocol::stream::client::{ClientConfig, ClientEnd};

/// How long a dispatcher may stay silent after an announcement before we doubt that it knows us. Ours answers at once.
const UNHEARD_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(60),
    limit: Duration::from_secs(4 * 3600),
};

/// How long a probe may take. Ours answers at once; what a foreign server says later means that a dispatcher came.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long nobody may say a word over a foreign server before we register again. An original dispatcher is silent until
/// there is something to do; but what it knew of us may also be lost.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

/// Whether a dispatcher knows us, while none has said a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Nothing to doubt: one was heard, or is known to be silent or away, or there was no announcement.
    None,
    /// Until then an answer to the announcement is waited for; then the server is probed.
    Announced(Instant),
    /// The embedded server answers the probe by then. Its dispatcher is there, then, and does not know us.
    Probed(Instant),
    /// The server is a foreign one: then we register again.
    Patient(Instant),
}

impl Doubt {
    pub(super) const fn deadline(self) -> Option<Instant> {
        match self {
            Self::None => None,
            Self::Announced(at) | Self::Probed(at) | Self::Patient(at) => Some(at),
        }
    }
}

/// Why a connection is over.
#[derive(Debug)]
pub(super) enum Ending {
    /// The stream ended, by either side.
    Stream(ClientEnd),
    /// The network or TLS failed.
    Link(LinkError),
    /// The server closed the connection without a word.
    Gone,
    /// The server does not read.
    SlowReader,
    /// The server gave us another JID than was registered.
    OtherJid(String),
    /// No dispatcher answered the announcement.
    Unheard,
    /// Somebody who seems to be a dispatcher is not in the registration's list.
    NewDispatcher(String),
    /// Our clock's drift has to be measured again.
    ClockOff,
    /// Our name and key are void.
    KeyVoid,
}

impl Ending {
    /// Why the enrolment does not hold any more, if so.
    pub(super) fn cause(&self) -> Option<Cause> {
        match self {
            Self::Stream(ClientEnd::ServerEnded(DefinedCondition::Conflict, _)) => Some(Cause::Conflict),
            Self::Stream(ClientEnd::CredentialsTaken) => Some(Cause::CredentialsTaken),
            Self::OtherJid(jid) => Some(Cause::OtherJid(jid.clone())),
            Self::Unheard | Self::NewDispatcher(_) | Self::KeyVoid => Some(Cause::LinkGone),
            Self::ClockOff => Some(Cause::ClockOff),
            Self::Stream(_) | Self::Link(_) | Self::Gone | Self::SlowReader => None,
        }
    }

    /// In words.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Stream(end) => end.to_string(),
            Self::Link(error) => error.to_string(),
            Self::Gone => "the server hung up".to_owned(),
            Self::SlowReader => "the server does not read".to_owned(),
            Self::OtherJid(jid) => format!("the server gave the JID {jid}, which is not registered yet"),
            Self::Unheard => "no dispatcher answered the announcement".to_owned(),
            Self::NewDispatcher(jid) => format!("{jid} seems to be a dispatcher that this registration does not name"),
            Self::KeyVoid => {
                "the dispatcher signs with a newer key: another process has registered with this machine's systemid"
                    .to_owned()
            }
            Self::ClockOff => "the dispatcher's clock and ours differ too much".to_owned(),
        }
    }
}

/// A connection and what is known on it.
pub(super) struct Live {
    pub(super) link: Link,
    pub(super) agent: AgentLink,
    /// The dispatcher at the other end, once it has been heard.
    pub(super) dispatcher: Option<Dispatcher>,
    pub(super) doubt: Doubt,
    /// Why it is being closed.
    pub(super) ending: Option<Ending>,
    pub(super) logged_in_at: Option<Instant>,
    now: Instant,
}

impl Live {
    pub(super) fn new(
        connection: Box<dyn Connection>,
        config: ClientConfig,
        talk: AgentTalk,
        seed: Seed,
        now: Moment,
    ) -> Self {
        Self {
            link: Link::new(connection),
            agent: AgentLink::new(config, talk, seed, now),
            dispatcher: None,
            doubt: Doubt::None,
            ending: None,
            logged_in_at: None,
            now: now.steady,
        }
    }

    /// An announcement was sent after `unheard` connections without an answer. What is known about the server stays so.
    pub(super) fn expect_answer(&mut self, unheard: u32) {
        if self.dispatcher.is_none() && self.doubt == Doubt::None {
            self.doubt = Doubt::Announced(self.now + UNHEARD_BACKOFF.after(unheard + 1));
        }
    }

    /// The server is a foreign one. `entropy` keeps apart who began to wait together.
    pub(super) fn be_patient(&mut self, entropy: u16) {
        self.doubt = Doubt::Patient(self.now + PATIENCE + Duration::from_millis(u64::from(entropy) * 50));
    }

    /// The wait for a word is over: asks for less at first. Whether nobody knows us.
    pub(super) fn doubts(&mut self, entropy: u16) -> bool {
        match self.doubt {
            Doubt::Announced(_) => {
                self.agent.probe();
                self.doubt = Doubt::Probed(self.now + PROBE_TIMEOUT);
                false
            }
            Doubt::Probed(_) => {
                self.be_patient(entropy);
                false
            }
            Doubt::Patient(_) => true,
            Doubt::None => false,
        }
    }

    /// The time of what happens now.
    pub(super) fn at(&mut self, now: Instant) {
        self.now = now;
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let link = [self.link.deadline(), self.link.turn_ends()];
        let deadlines = link
            .into_iter()
            .chain([self.agent.next_deadline(), self.doubt.deadline()]);
        deadlines.flatten().min()
    }

    /// Writes the closing line; how long the login lasted.
    pub(super) fn log_end(&self, ending: &Ending) -> Option<Duration> {
        let lasted = self.logged_in_at.map(|at| self.now.saturating_duration_since(at));
        let (peer_addr, reason) = (self.link.peer_addr(), ending.text());
        let elapsed_ms = lasted.map(|lasted| u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX));
        match ending {
            Ending::Stream(ClientEnd::Closed) => {
                tracing::info!(event = "disconnected", %peer_addr, elapsed_ms, reason);
            }
            _ => tracing::warn!(event = "connection_lost", %peer_addr, elapsed_ms, reason),
        }
        lasted
    }

    pub(super) fn into_talk(self) -> AgentTalk {
        self.agent.into_talk()
    }
}

/// How this account logs in.
pub(super) fn stream_config(domain: &str, account: &AgentAccount, silence_timeout: Duration) -> ClientConfig {
    ClientConfig {
        resource: account.resource.clone(),
        silence_timeout,
        ..ClientConfig::new(domain, &account.username, account.password.clone())
    }
}
