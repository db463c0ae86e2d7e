//! `osa-swarm`: thousands of real agents in one process, and what a dispatcher costs under them.
//!
//! ```text
//!  Site ── makes directory, CA, database, configuration ──► osa-dispatcher (the process that is measured)
//!                                                             ▲ TLS           ▲ TLS        ▲ control socket
//!  Flock ── N tasks, each an AgentCore on a socket of its own ┘   osad × M ───┘   schedule ┘
//!                                                                   └─ check: osa-swarm stamp ──► Stamps
//!  Satellite ── PostgreSQL with years of history, SQL for what the web interface and checks do, registrations
//! ```
//!
//! The agents are [`AgentCore`](crate::protocol::agent::AgentCore)s, the very thing `osad` runs in two actors; what they
//! lack are its processes and files. For development only; it is in no package.

mod agent;
mod arguments;
mod connect;
mod contacts;
mod control;
mod database;
mod error;
mod flock;
mod jabberd;
mod link;
mod numbers;
mod osads;
mod outage;
mod owner;
mod passage;
mod process;
mod satellite;
mod schedule;
mod site;
mod stamp;
mod transport;
mod until;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use tokio::task::LocalSet;

use arguments::{Arguments, Command};
use error::SwarmError;

/// Runs the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter().peekable();
    // First of all: this is the check whose start is measured.
    if let Some(code) = stamp::run(&mut arguments) {
        return code;
    }
    let arguments = match Arguments::try_parse_from(std::iter::once(OsString::from("osa-swarm")).chain(arguments)) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match measure(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            numbers::complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// One thread: what it does not take is the dispatcher's.
fn measure(arguments: Arguments) -> Result<(), SwarmError> {
    process::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SwarmError::file("start", "runtime"))?;
    LocalSet::new().block_on(&runtime, async move {
        match arguments.command {
            Command::Connect(arguments) => connect::run(&arguments).await,
            Command::Schedule(arguments) => schedule::run(&arguments).await,
            Command::Contacts(arguments) => contacts::run(&arguments).await,
            Command::Outage(arguments) => outage::run(&arguments).await,
            Command::Database(arguments) => database::run(&arguments).await,
        }
    })
}
