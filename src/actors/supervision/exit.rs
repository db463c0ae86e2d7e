//! How a child's end reaches its parent.

use actix::{Message, Recipient};

/// Which child of a supervisor: its place in the order of starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildId(pub usize);

/// Which start of a child, counted from 1; an exit of an older generation is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// Why a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitReason {
    /// It had nothing left to do.
    Normal,
    /// It was told to.
    Shutdown,
    /// It could not go on, and said so.
    Failed,
    /// It panicked.
    Panicked,
}

/// A child has ended; sent by its [`ExitGuard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct ChildExited {
    /// The child.
    pub child: ChildId,
    /// Its generation.
    pub generation: Generation,
    /// Why.
    pub reason: ExitReason,
}

/// Held by a supervised actor for as long as it lives; tells the parent when it is dropped, also by a panic.
#[derive(Debug)]
pub struct ExitGuard {
    child: ChildId,
    generation: Generation,
    reason: ExitReason,
    parent: Recipient<ChildExited>,
}

impl ExitGuard {
    /// Makes the guard of one generation of a child.
    pub fn new(child: ChildId, generation: Generation, parent: Recipient<ChildExited>) -> Self {
        Self {
            child,
            generation,
            reason: ExitReason::Normal,
            parent,
        }
    }

    /// Sets what the parent is told if no panic comes first.
    pub fn end_as(&mut self, reason: ExitReason) {
        self.reason = reason;
    }
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        let reason = if std::thread::panicking() {
            ExitReason::Panicked
        } else {
            self.reason
        };
        let exited = ChildExited {
            child: self.child,
            generation: self.generation,
            reason,
        };
        // A full mailbox of the parent must not lose this; each generation sends it once.
        super::insist(&self.parent, exited);
    }
}
