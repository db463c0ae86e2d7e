//! The command line of `osa-dispatcher`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

use super::make_accounts::MakeArgs;
use crate::compose::control::answers::ActionState;
use crate::compose::time::Time;
use crate::settings::dispatcher::DispatcherFlags;
use crate::settings::units::parse_duration;

/// Server push for managed hosts: wakes the osad agents that actions are scheduled for.
#[derive(Debug, Parser)]
#[command(
    name = "osa-dispatcher",
    version,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
#[command(
    after_help = "Without a command, the dispatcher is started, as by `serve`.\nExit codes: 0 done, 64 usage, 65 \
    bad data or unknown name, 66 no input, 69 unavailable, 70 internal, 73 cannot create, 74 I/O, 75 try again, 77 \
    permission, 78 configuration; see docs/cli.md."
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Without a command: serve.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the dispatcher
    Serve(ServeArgs),
    /// Make what a dispatcher needs: data directory, database, CA and certificate, configuration file
    Init(InitArgs),
    /// Make the dispatcher's own tables in a Satellite's database, or bring them up to date
    Migrate(MigrateArgs),
    /// List the dispatchers that a Satellite tells its clients of, and remove those that are gone
    #[command(subcommand)]
    Dispatchers(DispatchersCommand),
    /// Show in a minute what osa does: a dispatcher and some agents, in a throw-away directory
    Demo(DemoArgs),
    /// Check the configuration and show it, each value with its origin
    CheckConfig(PlainArgs),
    /// Say how the dispatcher is; exit code 69 if none runs
    Status(PlainArgs),
    /// Add, list and remove systems
    #[command(subcommand)]
    Systems(SystemsCommand),
    /// List, reset and make the XMPP accounts of agents
    #[command(subcommand)]
    Accounts(AccountsCommand),
    /// Schedule an action: the agents' checks are started at once
    Schedule(ScheduleArgs),
    /// List actions, newest first, with how long each step took
    Actions(ActionsArgs),
    /// Ask a system's agent for a sign of life
    Ping(SystemArgs),
    /// Say why a system is being pushed, or not
    Explain(SystemArgs),
    /// Say which version this is
    Version(PlainArgs),
}

/// Which dispatcher.
#[derive(Clone, Debug, Default, Args)]
pub struct ConfigArgs {
    /// Configuration file [default: /etc/osa/osa-dispatcher.toml, if it exists]
    #[arg(long, visible_alias = "cfg", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Configuration of the Satellite [default: /etc/rhn/rhn.conf, if it exists and --config is not given]
    #[arg(long, value_name = "FILE")]
    pub rhn_conf: Option<PathBuf>,
    /// Instead of the configuration's `hostname`
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Instead of the configuration's `data_dir`
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl ConfigArgs {
    /// As settings take them.
    pub fn flags(&self) -> DispatcherFlags {
        DispatcherFlags {
            config: self.config.clone(),
            rhn_conf: self.rhn_conf.clone(),
            hostname: self.hostname.clone(),
            data_dir: self.data_dir.clone(),
            logfile: None,
            verbose: 0,
        }
    }
}

/// Which dispatcher, and for whom the answer is.
#[derive(Clone, Debug, Default, Args)]
pub struct PlainArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub config: ConfigArgs,
    /// Answer in JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// How to run.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub config: ConfigArgs,
    /// Log more; repeat for still more
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Stay in the foreground; under systemd this is the default
    #[arg(short = 'N', long)]
    pub nodetach: bool,
    /// Write the process id to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Instead of the configuration's `log.file`
    #[arg(long, value_name = "FILE")]
    pub logfile: Option<PathBuf>,
    /// End when this process, which started us, has ended
    #[arg(long, value_name = "PID", hide = true)]
    pub end_with: Option<i32>,
}

impl ServeArgs {
    /// As settings take them.
    pub fn flags(&self) -> DispatcherFlags {
        DispatcherFlags {
            logfile: self.logfile.clone(),
            verbose: self.verbose,
            ..self.config.flags()
        }
    }
}

/// What to make.
#[derive(Clone, Debug, Default, Args)]
pub struct InitArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub config: ConfigArgs,
}

/// What to do to a Satellite's database.
#[derive(Clone, Debug, Default, Args)]
pub struct MigrateArgs {
    /// Put triggers on the Satellite's tables, too, so that the dispatcher hears of new actions at once
    #[arg(long)]
    pub install_notify: bool,
    /// Take these triggers away, and do nothing else
    #[arg(long, conflicts_with = "install_notify")]
    pub remove_notify: bool,
    /// Take these triggers and the dispatcher's own tables away, with all that is in them, and do nothing else
    #[arg(long, conflicts_with_all = ["install_notify", "remove_notify"])]
    pub remove_tables: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub plain: PlainArgs,
}

/// About the rows of `rhnPushDispatcher`.
#[derive(Debug, Subcommand)]
pub enum DispatchersCommand {
    /// List all of them
    List(PlainArgs),
    /// Remove one whose dispatcher is gone
    Remove(RowArgs),
}

/// Which row.
#[derive(Clone, Debug, Args)]
pub struct RowArgs {
    /// Its JID, as `dispatchers list` shows it
    pub jid: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub plain: PlainArgs,
}

/// How much to show.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// How many agents
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub agents: u16,
    /// Stay up afterwards, to try commands from a second terminal; ends with Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Show one line of JSON at the end, and nothing else
    #[arg(long, conflicts_with = "keep")]
    pub json: bool,
    /// The agent's program [default: osad beside this program]
    #[arg(long, value_name = "FILE")]
    pub osad: Option<PathBuf>,
    /// How long everything may take
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub within: Duration,
}

/// About systems.
#[derive(Debug, Subcommand)]
pub enum SystemsCommand {
    /// Add a system, and write the bundle that its client needs
    Add(AddArgs),
    /// List all systems
    List(PlainArgs),
    /// Remove a system with everything it had
    Remove(SystemArgs),
}

/// Which system to add.
#[derive(Clone, Debug, Args)]
pub struct AddArgs {
    /// Its name
    pub name: String,
    /// Directory in which the bundle's directory, named like the system, is made
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub plain: PlainArgs,
}

/// About accounts.
#[derive(Debug, Subcommand)]
pub enum AccountsCommand {
    /// List all accounts
    List(PlainArgs),
    /// Remove an account, so that its agent registers a new one
    Reset(ResetArgs),
    /// Make up accounts for agents on another XMPP server, and print them; nothing is stored
    Make(MakeArgs),
}

/// Which account.
#[derive(Clone, Debug, Args)]
pub struct ResetArgs {
    /// Its name, as `accounts list` shows it
    pub username: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub plain: PlainArgs,
}

/// Which system.
#[derive(Clone, Debug, Args)]
pub struct SystemArgs {
    /// Its name
    #[arg(value_name = "SYSTEM")]
    pub name: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub plain: PlainArgs,
}

/// What to schedule.
#[derive(Clone, Debug, Args)]
pub struct ScheduleArgs {
    /// Systems by name
    #[arg(value_name = "SYSTEM", required_unless_present = "all", conflicts_with = "all")]
    pub systems: Vec<String>,
    /// For every system
    #[arg(long)]
    pub all: bool,
    /// The action's name
    #[arg(long, default_value = "check")]
    pub name: String,
    /// Not before so long from now, such as 90s or 2h
    #[arg(long = "in", value_name = "DURATION", value_parser = duration, conflicts_with = "at")]
    pub delay: Option<Duration>,
    /// Not before this time, such as 2026-11-22T23:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub at: Option<Time>,
    /// Not before this action is completed on the same system
    #[arg(long, value_name = "ACTION")]
    pub after: Option<i64>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub plain: PlainArgs,
}

/// Which actions.
#[derive(Clone, Debug, Args)]
pub struct ActionsArgs {
    /// Only these actions, by number
    #[arg(value_name = "ACTION")]
    pub ids: Vec<i64>,
    /// Only of this system
    #[arg(long, value_name = "NAME")]
    pub system: Option<String>,
    /// Only in this state; can be repeated
    #[arg(long = "state", value_name = "STATE")]
    pub states: Vec<ActionState>,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub plain: PlainArgs,
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text).ok_or("expected a whole number with a unit (ms, s, min, h, d), such as 90s")
}

fn time(text: &str) -> Result<Time, &'static str> {
    Time::parse(text).ok_or("expected date, time and zone, such as 2026-11-22T23:00:00Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn bare_legacy_flags_serve() {
        let line = "osa-dispatcher -vv -N --pid-file /run/osa.pid --logfile /var/log/osa --cfg /etc/osa.toml";
        let arguments = parse(line).expect("as in an init script");

        assert!(arguments.command.is_none());
        let flags = arguments.serve.flags();
        assert_eq!((flags.verbose, arguments.serve.nodetach), (2, true));
        assert_eq!(flags.config, Some(PathBuf::from("/etc/osa.toml")));
        assert_eq!(flags.logfile, Some(PathBuf::from("/var/log/osa")));
        assert_eq!(arguments.serve.pid_file, Some(PathBuf::from("/run/osa.pid")));
    }

    #[test]
    fn flags_of_serve_and_commands_do_not_mix() {
        assert!(parse("osa-dispatcher -N status").is_err());
        assert!(
            matches!(parse("osa-dispatcher serve -N").expect("serve").command, Some(Command::Serve(args)) if args.nodetach)
        );
    }

    #[test]
    fn action_is_for_named_systems_or_for_all() {
        for line in [
            "schedule",
            "schedule --all web",
            "schedule web --in 5",
            "schedule web --in 5s --at 2026-11-22T23:00:00Z",
        ] {
            assert!(parse(&format!("osa-dispatcher {line}")).is_err(), "{line}");
        }
        let command = parse("osa-dispatcher schedule web db --name update --in 90s --after 3 --json").expect("all");
        let Some(Command::Schedule(args)) = command.command else {
            panic!("schedule")
        };
        assert_eq!(
            (args.systems.len(), args.name.as_str(), args.after),
            (2, "update", Some(3))
        );
        assert_eq!((args.delay, args.plain.json), (Some(Duration::from_secs(90)), true));
    }

    #[test]
    fn states_are_given_as_json_shows_them() {
        let command = parse("osa-dispatcher actions 1 2 --state queued --state picked_up").expect("two states");
        let Some(Command::Actions(args)) = command.command else {
            panic!("actions")
        };

        assert_eq!(args.states, [ActionState::Queued, ActionState::PickedUp]);
        assert_eq!(args.ids, [1, 2]);
    }
}
