//! The registration in use: its key, for as long as something of this connection is outstanding under it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::domain::ids::{ClientName, RequestNumber, RunId, SystemId};
use crate::domain::push::client::Client;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;

/// How many unanswered requests and pings of one connection are remembered. A request is repeated after a minute at the
/// earliest, three times before a ping; an older one than the eighth has no chance of an answer.
const OUTSTANDING_MAX: usize = 8;

/// How many unacknowledged reports of one connection are remembered: a full announcement and as many again.
const REPORTS_MAX: usize = 2 * crate::protocol::osa::payload::REPORTS_MAX;

/// How long a key is kept after it was last needed; the longest a slot is held for one request.
const KEY_LIFE: Duration = Duration::from_secs(30 * 60);

/// A registration and what is outstanding under its key.
#[derive(Debug)]
pub(super) struct Registration {
    pub system: SystemId,
    pub name: ClientName,
    pub key: Secret,
    /// Whether a new agent announced itself under this name, so that nothing weaker counts.
    pub announced: bool,
    pub expires: Timestamp,
    outstanding: VecDeque<Outstanding>,
    reports: VecDeque<RunId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outstanding {
    Request { number: RequestNumber, answered: bool },
    Ping,
}

impl Registration {
    pub fn new(client: &Client, now: Timestamp) -> Self {
        Self {
            system: client.system,
            name: client.name.clone(),
            key: client.shared_key.clone(),
            announced: client.announced,
            expires: now + KEY_LIFE,
            outstanding: VecDeque::new(),
            reports: VecDeque::new(),
        }
    }

    /// Whether the key is needed no longer.
    pub fn is_settled(&self) -> bool {
        self.outstanding.is_empty() && self.reports.is_empty()
    }

    pub fn is_outstanding(&self, number: RequestNumber) -> bool {
        self.outstanding
            .iter()
            .any(|entry| matches!(entry, Outstanding::Request { number: sent, .. } if *sent == number))
    }

    pub fn requested(&mut self, number: RequestNumber, now: Timestamp) {
        self.push(
            Outstanding::Request {
                number,
                answered: false,
            },
            now,
        );
    }

    pub fn pinged(&mut self, now: Timestamp) {
        self.push(Outstanding::Ping, now);
    }

    fn push(&mut self, entry: Outstanding, now: Timestamp) {
        if self.outstanding.len() == OUTSTANDING_MAX {
            self.outstanding.pop_front();
        }
        self.outstanding.push_back(entry);
        self.expires = now + KEY_LIFE;
    }

    /// The oldest unanswered request, which an answer without a number is credited to; it is settled by that.
    pub fn credit_oldest(&mut self) -> Option<RequestNumber> {
        let oldest = |entry: &Outstanding| matches!(entry, Outstanding::Request { answered: false, .. });
        let position = self.outstanding.iter().position(oldest)?;
        match self.outstanding.remove(position)? {
            Outstanding::Request { number, .. } => Some(number),
            Outstanding::Ping => None,
        }
    }

    /// A new agent accepted a request: its reports are still to come under this key.
    pub fn accepted(&mut self, accepted: RequestNumber) {
        for entry in &mut self.outstanding {
            if let Outstanding::Request { number, answered } = entry {
                *answered |= *number == accepted;
            }
        }
    }

    pub fn refused(&mut self, refused: RequestNumber) {
        self.outstanding
            .retain(|entry| !matches!(entry, Outstanding::Request { number, .. } if *number == refused));
    }

    pub fn ponged(&mut self) {
        if let Some(position) = self.outstanding.iter().position(|entry| *entry == Outstanding::Ping) {
            self.outstanding.remove(position);
        }
    }

    /// A run ended that covers all requests up to a number; its report wants an acknowledgement.
    pub fn finished(&mut self, run: RunId, covers: RequestNumber, now: Timestamp) {
        self.outstanding
            .retain(|entry| !matches!(entry, Outstanding::Request { number, .. } if *number <= covers));
        if self.reports.contains(&run) {
            return;
        }
        if self.reports.len() == REPORTS_MAX {
            self.reports.pop_front();
        }
        self.reports.push_back(run);
        self.expires = now + KEY_LIFE;
    }

    /// Whether the report of this run waited for an acknowledgement; it does no longer.
    pub fn acknowledged(&mut self, run: RunId) -> bool {
        let before = self.reports.len();
        self.reports.retain(|waiting| *waiting != run);
        self.reports.len() < before
    }
}
