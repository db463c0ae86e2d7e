//! The subcommands of `osa-dispatcher`.

pub mod arguments;
mod ask;
mod bundle;
mod check_config;
pub mod demo;
mod dispatchers;
pub mod error;
mod init;
mod lists;
mod make_accounts;
mod migrate;
mod output;
mod status;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use self::arguments::{AccountsCommand, Arguments, Command, PlainArgs, ScheduleArgs, SystemsCommand};
use self::ask::{ask, refuse_beside_satellite, settings};
use self::error::CliError;
use crate::compose::console::usage;
use crate::compose::control::answers::{Answer, Scheduled};
use crate::compose::control::requests::{ActionQuery, Request, Schedule, Selection};
use crate::compose::dispatcher;
use crate::host::clock::SystemClock;
use crate::ports::clock::Clock;
use crate::ports::store::SCHEDULE;

/// What a command that went well ends with; mostly 0.
type Done = Result<u8, CliError>;

/// Runs the command line: the whole of the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return ExitCode::from(usage::report(output::PROGRAM, &error)),
    };
    match perform(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(CliError::Output(error)) => ExitCode::from(usage::lost(output::PROGRAM, &error)),
        Err(error) => {
            output::remark(error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

fn perform(arguments: Arguments) -> Done {
    match arguments.command {
        None => Ok(dispatcher::serve(&arguments.serve)?),
        Some(Command::Serve(args)) => Ok(dispatcher::serve(&args)?),
        Some(Command::Init(args)) => init::init(&args),
        Some(Command::Migrate(args)) => migrate::migrate(&args),
        Some(Command::Dispatchers(command)) => dispatchers::dispatchers(command),
        Some(Command::Demo(args)) => demo::demo(&args),
        Some(Command::CheckConfig(args)) => check_config::check_config(&args),
        Some(Command::Status(args)) => status::status(&args),
        Some(Command::Systems(SystemsCommand::Add(args))) => bundle::add_system(&args),
        Some(Command::Systems(SystemsCommand::List(args))) => lists::systems(&args),
        Some(Command::Systems(SystemsCommand::Remove(args))) => lists::remove_system(args),
        Some(Command::Accounts(AccountsCommand::List(args))) => lists::accounts(&args),
        Some(Command::Accounts(AccountsCommand::Reset(args))) => lists::reset_account(args),
        Some(Command::Accounts(AccountsCommand::Make(args))) => make_accounts::make(&args),
        Some(Command::Schedule(args)) => schedule(args),
        Some(Command::Actions(args)) => {
            let query = ActionQuery {
                system: args.system,
                states: args.states,
                ids: args.ids,
                limit: args.limit,
            };
            lists::actions(&args.plain, query)
        }
        Some(Command::Ping(args)) => status::ping(args),
        Some(Command::Explain(args)) => status::explain(args),
        Some(Command::Version(args)) => version(&args),
    }
}

fn schedule(args: ScheduleArgs) -> Done {
    let settings = settings(&args.plain.config)?;
    refuse_beside_satellite(&settings, SCHEDULE)?;
    let delayed = args.delay.map(|delay| (SystemClock.now() + delay).into());
    let request = Request::Schedule(Schedule {
        name: args.name,
        systems: if args.all {
            Selection::All
        } else {
            Selection::Named(args.systems)
        },
        at: args.at.or(delayed),
        after: args.after,
    });
    let Answer::Scheduled(scheduled) = ask(&settings, request)? else {
        return Err(CliError::OtherAnswer);
    };
    match args.plain.json {
        true => output::json(&scheduled)?,
        false => output::line(in_words(&scheduled))?,
    }
    Ok(0)
}

fn in_words(scheduled: &Scheduled) -> String {
    let (id, name) = (scheduled.id, &scheduled.name);
    let whom = match scheduled.systems.as_slice() {
        [one] => one.name.clone(),
        many => format!("{} systems", many.len()),
    };
    format!("action {id} ({name}) is scheduled for {whom}; see `osa-dispatcher actions {id}`")
}

/// The same for every configuration, which is accepted as every command's is.
fn version(args: &PlainArgs) -> Done {
    let version = env!("CARGO_PKG_VERSION");
    let schema = crate::store::sqlite::schema_version();
    match args.json {
        true => output::json(&serde_json::json!({ "version": version, "schema": schema }))?,
        false => output::line(format!("osa-dispatcher {version} (database schema {schema})"))?,
    }
    Ok(0)
}
