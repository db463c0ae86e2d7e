//! Supervision of actors, by drop guards.
//!
//! actix's own `Supervisor` does not survive a panic and `SyncArbiter` dies thread by thread, so both are unused here.
//!
//! ```text
//!            ChildSpec { name, policy, factory }
//! Supervisor ────────────── start ──────────────► child, holding an ExitGuard
//!     ▲                                             │ returns, stops, or panics
//!     └────── ChildExited { child, generation, reason } ◄── guard dropped
//!     │
//!     ├─ within the intensity: factory builds a fresh child after a pause; LiveAddr points to it
//!     └─ past it: GaveUp to whoever composed the program, which ends it
//! ```
//!
//! * The factory carries no state over a crash: whatever made the old child panic is gone with it.
//! * Peers hold a [`LiveAddr`], never an `Addr`, of a supervised actor.
//! * The guard works while the stack unwinds; `panic = "abort"` is therefore forbidden in every profile.
//! * What a dead child leaves behind is cleaned up by its parent.

mod exit;
mod intensity;
mod live;
mod spec;
mod supervisor;

pub use exit::{ChildExited, ChildId, ExitGuard, ExitReason, Generation};
pub use intensity::{Intensity, RestartHistory, Verdict};
pub use live::{LiveAddr, LiveRecipient};
pub use spec::{ChildSpec, Policy, Shutdown};
pub use supervisor::{GaveUp, StopChildren, Supervisor};

use actix::{Message, Recipient};

/// Panics whoever gets it, so that tests can show what a panic costs. Not in release builds.
#[cfg(debug_assertions)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Crash;

/// Sends past the bound of the receiver's mailbox.
///
/// For orders of a parent that must not be lost and of which a receiver gets at most a handful in its life: exits, and
/// the order to end.
pub fn insist<M>(recipient: &Recipient<M>, order: M)
where
    M: Message + Send,
    M::Result: Send,
{
    recipient.do_send(order);
}
