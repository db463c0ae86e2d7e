//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Thousands of real agents in one process; for measuring a dispatcher.
#[derive(Debug, Parser)]
#[command(name = "osa-swarm", version)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Log in, stay, lose the connection, come back: logins, memory and CPU of the dispatcher
    Connect(ConnectArguments),
    /// Queue actions: time from the committed row to the start of the check in real `osad` processes
    Schedule(ScheduleArguments),
}

/// What both have in common.
#[derive(Debug, Args)]
pub(super) struct SiteArguments {
    /// Agents in this process
    #[arg(long, default_value_t = 1_000)]
    pub(super) agents: usize,
    /// The dispatcher to measure [default: beside this program]
    #[arg(long)]
    pub(super) dispatcher: Option<PathBuf>,
    /// Logins under way at the same time, except in a herd
    #[arg(long, default_value_t = 100)]
    pub(super) in_flight: u32,
    /// How long everything rests before memory is read, in seconds
    #[arg(long, default_value_t = 7)]
    pub(super) settle_secs: u64,
    /// How often to repeat what can be repeated
    #[arg(long, default_value_t = 3)]
    pub(super) repeats: usize,
    /// Leave the directory with database and logs behind
    #[arg(long)]
    pub(super) keep: bool,
    /// One JSON object instead of lines
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ConnectArguments {
    #[command(flatten)]
    pub(super) site: SiteArguments,
}

#[derive(Debug, Args)]
pub(super) struct ScheduleArguments {
    #[command(flatten)]
    pub(super) site: SiteArguments,
    /// Real `osad` processes, whose checks are measured
    #[arg(long, default_value_t = 20)]
    pub(super) osads: usize,
    /// The agent to measure [default: beside this program]
    #[arg(long)]
    pub(super) osad: Option<PathBuf>,
    /// Actions in each repeat, each for one `osad`
    #[arg(long, default_value_t = 200)]
    pub(super) actions: usize,
    /// Mean pause between two actions, in milliseconds
    #[arg(long, default_value_t = 100)]
    pub(super) pause_ms: u64,
}
