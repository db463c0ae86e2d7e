//! `osad`: its command line and its composition.

mod arguments;
mod error;
mod running;
mod status;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use self::arguments::{Arguments, Command, PlainArgs, RunArgs};
use self::error::AgentError;
use super::console::{answer, usage, values};
use super::process::{detach, notify};
use crate::host::clock::SystemClock;
use crate::host::start_checks::{self, UnresolvableName};
use crate::net::tls::client_tls;
use crate::ports::clock::Clock;
use crate::settings::agent::AgentSettings;
use crate::telemetry::check_place;

/// The program's name in what it says.
const PROGRAM: &str = "osad";
/// How long a start may take.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Runs the command line: the whole of the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return ExitCode::from(usage::report(PROGRAM, &error)),
    };
    let done = match arguments.command {
        None => start(&arguments.run),
        Some(Command::Run(args)) => start(&args),
        Some(Command::CheckConfig(args)) => check_config(&args),
        Some(Command::Status(args)) => status::status(&args),
        Some(Command::Version(args)) => version(&args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(AgentError::Output(error)) => ExitCode::from(usage::lost(PROGRAM, &error)),
        Err(error) => {
            answer::remark(PROGRAM, &error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

fn start(args: &RunArgs) -> Result<u8, AgentError> {
    let loaded = AgentSettings::load(&args.flags(), std::env::vars())?;
    let settings = &loaded.settings;
    start_checks::refuse_beside_dispatcher(&settings.dispatcher_marker, settings.run_beside_dispatcher)?;
    if !args.nodetach && !notify::is_wanted() {
        // Opened and closed again, so that it exists and is ours.
        let directory = crate::host::state_dir::StateDir::open(&settings.state_dir)?
            .path()
            .to_owned();
        detach::detach(args.in_foreground(), &directory, READY_WITHIN)?;
        return Ok(0);
    }
    running::run(args, loaded)?;
    Ok(0)
}

fn check_config(args: &PlainArgs) -> Result<u8, AgentError> {
    let loaded = AgentSettings::load(&args.config.flags(), std::env::vars())?;
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    if args.json {
        answer::line(values::as_json(&loaded.values, &warnings).to_string())?;
    } else {
        answer::print(&values::table(&loaded.values))?;
        warnings.iter().for_each(|warning| answer::remark(PROGRAM, warning));
    }
    check(&loaded.settings)?;
    Ok(0)
}

/// What a start would find wrong, and what it would go on trying.
fn check(settings: &AgentSettings) -> Result<(), AgentError> {
    start_checks::refuse_beside_dispatcher(&settings.dispatcher_marker, settings.run_beside_dispatcher)?;
    check_place(&settings.log)?;
    client_tls(&settings.tls.ca, SystemClock.now())?;
    if let Some(error) = unresolvable(settings).into_iter().next() {
        return Err(error.into());
    }
    if settings.check.enabled && !is_executable(&settings.check.command.program) {
        return Err(AgentError::NoCheckCommand(settings.check.command.program.clone()));
    }
    Ok(())
}

/// Those of the servers whose names have no address; or the HTTP proxy, which resolves the servers' names.
fn unresolvable(settings: &AgentSettings) -> Vec<UnresolvableName> {
    let resolve = |key, host: &str, port| start_checks::resolve(key, host, port).err();
    if let Some(proxy) = &settings.proxy.server {
        return resolve("proxy.server", &proxy.host, proxy.port).into_iter().collect();
    }
    let key = if settings.jabber_server.is_some() {
        "jabber_server"
    } else {
        "server_url"
    };
    let servers = settings.servers().into_iter().map(|server| server.jabber);
    servers
        .filter_map(|server| resolve(key, server.host.as_str(), server.port))
        .collect()
}

/// Whether a command with a directory in its name can be started; others are looked for when they are needed.
fn is_executable(program: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    if program.components().count() < 2 {
        return true;
    }
    std::fs::metadata(program).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The same for every configuration, which is accepted as every command's is.
fn version(args: &PlainArgs) -> Result<u8, AgentError> {
    let version = env!("CARGO_PKG_VERSION");
    if args.json {
        answer::line(serde_json::json!({ "version": version }).to_string())?;
    } else {
        answer::line(format!("{PROGRAM} {version}"))?;
    }
    Ok(0)
}
