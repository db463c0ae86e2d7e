//! Puts a request to the running dispatcher, or carries it out if none runs.

use std::sync::Arc;

use super::arguments::ConfigArgs;
use super::error::CliError;
use super::output;
use crate::compose::control::answers::Answer;
use crate::compose::control::desk::{Desk, Site};
use crate::compose::control::envelope::{read_answer, write_request};
use crate::compose::control::requests::Request;
use crate::compose::dispatcher::postgres_options;
use crate::host::clock::{OsEntropy, SystemClock};
use crate::net::control::{self, ControlError};
use crate::ports::clock::Clock;
use crate::ports::store::{Store, StoreError};
use crate::settings::database::Deployment;
use crate::settings::dispatcher::DispatcherSettings;
use crate::settings::names::ListenAddresses;
use crate::settings::upstream::Transport;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::{SqliteOptions, SqliteStore};

/// The settings of the dispatcher that a command is about.
///
/// # Errors
/// [`CliError::Settings`].
pub fn settings(config: &ConfigArgs) -> Result<DispatcherSettings, CliError> {
    let loaded = DispatcherSettings::load(&config.flags(), std::env::vars())?;
    for warning in &loaded.warnings {
        output::remark(warning.to_string());
    }
    Ok(loaded.settings)
}

/// Refuses what is a Satellite's business before anything is asked: whatever else is wrong, that is no remedy.
///
/// # Errors
/// [`StoreError::Satellites`].
pub fn refuse_beside_satellite(settings: &DispatcherSettings, what: &'static str) -> Result<(), CliError> {
    match settings.deployment {
        Deployment::Satellite => Err(StoreError::Satellites(what).into()),
        Deployment::Standalone => Ok(()),
    }
}

/// Refuses what is about accounts of the embedded server, where agents have theirs on the site's own one.
///
/// # Errors
/// [`CliError::AccountsElsewhere`].
pub fn refuse_beside_server(settings: &DispatcherSettings) -> Result<(), CliError> {
    match settings.transport {
        Transport::Embedded => Ok(()),
        Transport::Client | Transport::Component => Err(CliError::AccountsElsewhere(settings.hostname.to_string())),
    }
}

/// Asks.
///
/// # Errors
/// [`CliError`].
pub fn ask(settings: &DispatcherSettings, request: Request) -> Result<Answer, CliError> {
    block_on(async {
        match ask_running(settings, request.clone()).await {
            Err(CliError::Control(ControlError::NoDispatcher(_))) => match carry_out(settings, request).await {
                // Somebody serves it, only not at this socket.
                Err(CliError::Store(StoreError::InUse(_))) => {
                    Err(CliError::SocketGone(settings.control_socket.clone()))
                }
                carried_out => carried_out,
            },
            asked => asked,
        }
    })?
}

/// Waits for what a command does.
///
/// # Errors
/// [`CliError::Runtime`].
pub fn block_on<T>(work: impl Future<Output = T>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    Ok(runtime.block_on(work))
}

/// Asks the running dispatcher.
///
/// # Errors
/// [`ControlError::NoDispatcher`] if none runs.
pub async fn ask_running(settings: &DispatcherSettings, request: Request) -> Result<Answer, CliError> {
    let line = control::ask(&settings.control_socket, &write_request(request)).await?;
    Ok(read_answer(&line)?)
}

async fn carry_out(settings: &DispatcherSettings, request: Request) -> Result<Answer, CliError> {
    let (store, clock) = store(settings).await?;
    let desk = Desk {
        store,
        clock,
        entropy: Arc::new(OsEntropy),
        site: Site {
            hostname: settings.hostname.to_string(),
            xmpp_port: first_port(&settings.xmpp.listen),
            registration_port: first_port(&settings.registration.listen),
        },
        running: None,
    };
    Ok(desk.handle(request).await?)
}

/// The database, and the clock that its times are taken from.
async fn store(settings: &DispatcherSettings) -> Result<(Arc<dyn Store>, Arc<dyn Clock>), CliError> {
    if settings.deployment == Deployment::Satellite {
        let store = PostgresStore::open(&postgres_options(settings)?).await?;
        let clock = store.clock();
        return Ok((Arc::new(store), clock));
    }
    if !settings.database.exists() {
        return Err(CliError::NoDatabase(settings.database.clone()));
    }
    let options = SqliteOptions {
        max_tries: settings.push.max_tries,
        ..SqliteOptions::at(&settings.database)
    };
    Ok((
        Arc::new(SqliteStore::open_for_command(&options)?),
        Arc::new(SystemClock),
    ))
}

/// The port that clients are told; the list is never empty.
fn first_port(listen: &ListenAddresses) -> u16 {
    listen.0.first().map_or(0, |address| address.port())
}
