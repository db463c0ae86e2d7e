//! The command line of `osad`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::settings::agent::AgentFlags;

/// The agent of a managed host: runs the check command when the server asks for it.
#[derive(Debug, Parser)]
#[command(name = "osad", version, args_conflicts_with_subcommands = true, max_term_width = 100)]
#[command(
    after_help = "Without a command, the agent is started, as by `run`.\nExit codes: 0 done, 64 usage, 65 bad data, \
    66 no input, 69 not running, 70 internal, 71 system, 73 cannot create, 75 try again, 77 permission, 78 \
    configuration; see docs/cli.md."
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Without a command: run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent
    Run(RunArgs),
    /// Check the configuration and show it, each value with its origin
    CheckConfig(PlainArgs),
    /// Say whether the agent runs, and what it has in hand; exit code 69 if it does not run
    Status(PlainArgs),
    /// Say which version this is
    Version(PlainArgs),
}

/// Where the configuration is.
#[derive(Clone, Debug, Default, Args)]
pub struct ConfigArgs {
    /// Own configuration file [default: /etc/osa/osad.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Instead of /etc/sysconfig/rhn/osad.conf
    #[arg(long, value_name = "FILE")]
    pub cfg: Option<PathBuf>,
    /// Instead of /etc/sysconfig/rhn/up2date
    #[arg(long, value_name = "FILE")]
    pub up2date: Option<PathBuf>,
    /// XMPP server to try first
    #[arg(long, value_name = "HOST[:PORT]")]
    pub jabber_server: Option<String>,
}

/// How to run.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    #[command(flatten)]
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

/// Which configuration, and for whom the answer is.
#[derive(Clone, Debug, Default, Args)]
pub struct PlainArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Answer in JSON, for programs
    #[arg(long)]
    pub json: bool,
}

impl ConfigArgs {
    /// As settings take them.
    pub fn flags(&self) -> AgentFlags {
        AgentFlags {
            config: self.config.clone(),
            cfg: self.cfg.clone(),
            up2date: self.up2date.clone(),
            jabber_server: self.jabber_server.clone(),
            logfile: None,
            verbose: 0,
        }
    }
}

impl RunArgs {
    /// As settings take them.
    pub fn flags(&self) -> AgentFlags {
        AgentFlags {
            logfile: self.logfile.clone(),
            verbose: self.verbose,
            ..self.config.flags()
        }
    }

    /// The same as a command line of a process that stays in the foreground and works in another directory.
    pub fn in_foreground(&self) -> Vec<OsString> {
        let mut line: Vec<OsString> = vec!["run".into(), "--nodetach".into()];
        let paths = [
            ("--config", &self.config.config),
            ("--cfg", &self.config.cfg),
            ("--up2date", &self.config.up2date),
            ("--pid-file", &self.pid_file),
            ("--logfile", &self.logfile),
        ];
        for (flag, path) in paths {
            if let Some(path) = path {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                line.extend([flag.into(), path.into()]);
            }
        }
        if let Some(server) = &self.config.jabber_server {
            line.extend(["--jabber-server".into(), server.into()]);
        }
        line.extend((0..self.verbose).map(|_| "-v".into()));
        line
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn legacy_flags_alone_run_the_agent() {
        let line = [
            "osad",
            "-v",
            "-v",
            "-N",
            "--pid-file",
            "/run/osad.pid",
            "--logfile",
            "/var/log/osad",
            "--cfg",
            "a",
        ];

        let arguments = Arguments::try_parse_from(line).unwrap();

        assert!(arguments.command.is_none());
        assert_eq!(arguments.run.verbose, 2);
        assert!(arguments.run.nodetach);
        assert_eq!(arguments.run.flags().cfg, Some("a".into()));
    }

    #[test]
    fn line_for_the_foreground_parses_back_to_the_same() {
        let line = [
            "osad",
            "-v",
            "--pid-file",
            "/run/osad.pid",
            "--jabber-server",
            "sat.example.com:5223",
        ];
        let arguments = Arguments::try_parse_from(line).unwrap();

        let again = [OsString::from("osad")]
            .into_iter()
            .chain(arguments.run.in_foreground());
        let Some(Command::Run(run)) = Arguments::try_parse_from(again).unwrap().command else {
            panic!("no run");
        };

        assert!(run.nodetach);
        assert_eq!(run.verbose, 1);
        assert_eq!(run.pid_file, arguments.run.pid_file);
        assert_eq!(run.config.jabber_server, arguments.run.config.jabber_server);
    }
}
