//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// Over jabberd2, with thousands of contacts: first synchronisation, starts, memory and CPU of the dispatcher
    Contacts(ContactsArguments),
    /// Over jabberd2, which is killed under all agents: how soon they are back; fails if an action is lost
    Outage(OutageArguments),
    /// Beside a Satellite with years of history: what its database is asked, what that costs, and by which plan
    Database(DatabaseArguments),
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
    /// Most systems that run their check at the same time, so that slots are counted [default: no limit]
    #[arg(long)]
    pub(super) notify_threshold: Option<u32>,
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
    /// Beside a Satellite, on PostgreSQL
    #[arg(long)]
    pub(super) satellite: bool,
    /// With the triggers of `migrate --install-notify`
    #[arg(long, requires = "satellite")]
    pub(super) triggers: bool,
    /// The same over a server of the site's own beside it, by turns
    #[arg(long, requires = "satellite")]
    pub(super) over: Option<SiteServer>,
    #[command(flatten)]
    pub(super) history: HistoryArguments,
}

/// A server that a site may have.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum SiteServer {
    Jabberd2,
}

/// What is in the Satellite's database.
#[derive(Debug, Args)]
pub(super) struct HistoryArguments {
    /// Systems of the Satellite, the agents' included
    #[arg(long, default_value_t = 100_000)]
    pub(super) systems: i64,
    /// Actions that have ended
    #[arg(long, default_value_t = 5_000_000)]
    pub(super) finished: i64,
    /// Actions that have not
    #[arg(long, default_value_t = 200_000)]
    pub(super) pending: i64,
    /// What PostgreSQL is given
    #[arg(long, default_value = "1GB")]
    pub(super) shared_buffers: String,
    /// Keep the database as it was made in this directory, and begin with it where it is there
    #[arg(long)]
    pub(super) keep_history: Option<PathBuf>,
}

impl HistoryArguments {
    /// Where the database is not what is measured.
    fn brief(systems: i64) -> Self {
        Self {
            systems,
            finished: systems * 10,
            pending: systems,
            shared_buffers: "128MB".to_owned(),
            keep_history: None,
        }
    }

    /// Where this history is kept.
    pub(super) fn kept(&self) -> Option<PathBuf> {
        let name = format!("{}-{}-{}", self.systems, self.finished, self.pending);
        self.keep_history.as_ref().map(|directory| directory.join(name))
    }
}

#[derive(Debug, Args)]
pub(super) struct ContactsArguments {
    #[command(flatten)]
    pub(super) site: SiteArguments,
    /// Registered systems, the agents' included
    #[arg(long, default_value_t = 10_000)]
    pub(super) contacts: i64,
    /// How long the cost of doing nothing is measured, in seconds
    #[arg(long, default_value_t = 65)]
    pub(super) idle_secs: u64,
    /// How long the dispatcher is logged in before the server is restarted, in seconds: after a minute it comes back
    /// without doubts
    #[arg(long, default_value_t = 61)]
    pub(super) stable_secs: u64,
}

impl ContactsArguments {
    /// The Satellite behind it.
    pub(super) fn history(&self) -> HistoryArguments {
        HistoryArguments::brief(self.contacts)
    }
}

#[derive(Debug, Args)]
pub(super) struct OutageArguments {
    #[command(flatten)]
    pub(super) site: SiteArguments,
    /// How long the server is away, in seconds
    #[arg(long, default_value_t = 5)]
    pub(super) outage_secs: u64,
}

impl OutageArguments {
    /// The Satellite behind it: all its systems are there.
    pub(super) fn history(&self) -> HistoryArguments {
        HistoryArguments::brief(i64::try_from(self.site.agents).unwrap_or(i64::MAX))
    }
}

#[derive(Debug, Args)]
pub(super) struct DatabaseArguments {
    #[command(flatten)]
    pub(super) site: SiteArguments,
    #[command(flatten)]
    pub(super) history: HistoryArguments,
    /// How long the cost is measured, idle and under pushes, in seconds
    #[arg(long, default_value_t = 65)]
    pub(super) cost_secs: u64,
    /// How long statements are listened to, idle and under a tenth of the pushes, in seconds
    #[arg(long, default_value_t = 65)]
    pub(super) listen_secs: u64,
    /// Actions a second, each for one agent
    #[arg(long, default_value_t = 200)]
    pub(super) pushes: u32,
}
