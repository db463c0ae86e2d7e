//! One contact, and what is to be sent to it.

use crate::protocol::roster::Subscription;

/// Who keeps our roster, and tells contacts of our presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    /// Our server.
    Server,
    /// We, being a component.
    Ourselves,
}

/// What waits to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// Let it see us.
    Approve,
    /// Show it that we are there.
    Show,
    /// Ask whether it is there.
    Probe,
    /// Ask to see it.
    Subscribe,
    /// Take it out of the roster.
    Remove,
}

/// How many kinds there are.
const DUTIES: usize = 5;

/// By its bare JID.
#[derive(Debug)]
pub(super) struct Contact {
    /// To a component, which has no roster: `To` once it was seen.
    pub(super) subscription: Subscription,
    pub(super) is_asked: bool,
    /// Whether we have shown it ourselves that we are there.
    pub(super) is_shown: bool,
    pub(super) in_roster: bool,
    pub(super) is_registered: bool,
    /// The reading that was under way, or next, when it was last heard of.
    pub(super) heard_in: u64,
    /// What is queued for it.
    duties: [bool; DUTIES],
}

impl Contact {
    pub(super) const fn new(heard_in: u64) -> Self {
        Self {
            subscription: Subscription::None,
            is_asked: false,
            is_shown: false,
            in_roster: false,
            is_registered: false,
            heard_in,
            duties: [false; DUTIES],
        }
    }

    /// Whether a duty is queued from now on that was not before.
    pub(super) const fn take_on(&mut self, duty: Duty) -> bool {
        !std::mem::replace(&mut self.duties[duty as usize], true)
    }

    /// Whether a duty was queued that is not any more.
    pub(super) const fn fulfil(&mut self, duty: Duty) -> bool {
        std::mem::replace(&mut self.duties[duty as usize], false)
    }
}
