//! Why a demo failed.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::settings::units::format_duration;

/// What, where and the remedy, in one line.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// There is no agent to start.
    #[error("there is no agent {}; build it with `cargo build --bins`, or name it with --osad", .0.display())]
    NoAgent(PathBuf),
    /// The name of this very machine has no address.
    #[error("localhost does not resolve; enter it in /etc/hosts")]
    NoLocalhost,
    /// A process cannot be started.
    #[error("cannot start {}: {source}; see whether it can be executed", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A process ended by itself.
    #[error("{name} ended ({status}): {words}")]
    Ended {
        /// Which.
        name: String,
        /// How.
        status: String,
        /// The last line of its log.
        words: String,
    },
    /// Not everything was done in time.
    #[error("not done within {}: {reason}; give it more time with --within", format_duration(*.within))]
    TooSlow {
        /// How long it was given.
        within: Duration,
        /// What is missing, and why.
        reason: String,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl DemoError {
    /// Exit code, by sysexits; `docs/cli.md` lists them.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NoAgent(_) => 66,
            Self::NoLocalhost => 69,
            Self::Spawn { .. } => 71,
            Self::Ended { .. } => 70,
            Self::TooSlow { .. } => 75,
            Self::Interrupted => 130,
        }
    }
}
