//! What the subcommands ask of a dispatcher, and what it answers.
//!
//! ```text
//! subcommand ──► Request ──┬─ control socket ─► running dispatcher ─┐
//!                          └─ no dispatcher runs ───────────────────┴─► Desk ──► store
//! ```
//!
//! One [`desk::Desk`] handles both ways, so that a command means the same with and without a running dispatcher; what the
//! running one adds is that it wakes its poller, and knows who is connected. `docs/cli.md` documents the shapes, which
//! are those of `--json` too.

pub mod answers;
pub mod desk;
pub mod envelope;
pub mod explanation;
pub mod requests;
pub mod server;
pub mod verdict;
