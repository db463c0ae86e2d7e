//! The agent without sockets, processes and clocks.
//!
//! ```text
//!            bytes                stanzas                  requests, acknowledgements
//!  socket ◄────────► ClientStream ◄─────► AgentTalk ◄────────────────────────────────► CheckCore ──► runs
//!                    └─────────── AgentLink ──────┘                                    │
//!                    └───────────────────────────────── AgentCore ─────────────────────┘
//! ```
//!
//! [`AgentLink`] is one connection: a stream and the signed conversation on it. [`AgentCore`] is a whole agent, for
//! programs that run many of them. `osad` holds the two halves of a core in two actors, so that a fault in one
//! does not take the other along.

mod core;
mod link;

use std::time::Instant;

pub use self::core::{AgentCore, CoreOutput};
pub use self::link::{AgentLink, LinkEvent, LinkOutput};
use crate::domain::check::CheckOutput;
use crate::domain::ids::RequestNumber;
use crate::domain::push::client::{ClientEvent, Refusal};
use crate::domain::time::Timestamp;

/// The version an agent announces.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One moment on two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock, for signatures; it may jump.
    pub wall: Timestamp,
    /// The clock that only advances, for waits.
    pub steady: Instant,
}

/// What a dispatcher has to be told, in answer to requests or of our own accord.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telling {
    /// Answers to requests, in the order of the requests: accepted, or refused for a reason.
    pub answers: Vec<(Option<RequestNumber>, Option<Refusal>)>,
    /// What happened to runs.
    pub events: Vec<ClientEvent>,
}

impl Telling {
    /// Takes what is to be told out of what a check core wants done; gives back the rest.
    pub fn take_from(outputs: &mut Vec<CheckOutput>) -> Self {
        let mut telling = Self::default();
        outputs.retain(|output| match *output {
            CheckOutput::Answer(number, refusal) => {
                telling.answers.push((number, refusal));
                false
            }
            CheckOutput::ReportStarted(start) => {
                telling.events.push(ClientEvent::Started(start));
                false
            }
            CheckOutput::ReportFinished(report) => {
                telling.events.push(ClientEvent::Finished(report));
                false
            }
            CheckOutput::Start(_) | CheckOutput::Remember(_) | CheckOutput::Forget(_) | CheckOutput::ForgetNumbers => {
                true
            }
        });
        telling
    }

    /// Adds what has to be told after this.
    pub fn append(&mut self, mut later: Self) {
        self.answers.append(&mut later.answers);
        self.events.append(&mut later.events);
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.events.is_empty()
    }
}
