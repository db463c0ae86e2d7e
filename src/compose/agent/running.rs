//! From the settings to running actors, and from a signal to the end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::arguments::RunArgs;
use super::error::AgentError;
use super::{is_executable, unresolvable};
use crate::actors::agent::{AgentActors, AgentParts};
use crate::actors::connector::ReconnectPolicy;
use crate::actors::enroller::AgentServer;
use crate::actors::supervision::{GaveUp, Intensity, StopChildren, Supervisor};
use crate::compose::process::{notify, parent, pid_file::PidFile};
use crate::domain::backoff::Backoff;
use crate::domain::secret::Secret;
use crate::host::auth_file::AuthFile;
use crate::host::check_runs::CheckRuns;
use crate::host::clock::{OsEntropy, SystemClock};
use crate::host::state_dir::StateDir;
use crate::host::status_file::StatusFile;
use crate::host::systemid_file::SystemidFile;
use crate::host::xmlrpc_client::XmlRpcClient;
use crate::net::access::{Access, HttpProxy};
use crate::net::dialer::{Keepalive, TcpDialer};
use crate::net::tls::client_tls;
use crate::ports::clock::Clock;
use crate::settings::Loaded;
use crate::settings::agent::{AgentSettings, ProxySettings};
use crate::telemetry::{FILTER_VARIABLE, Logging};

/// An agent that fails so often has a bug that a fresh process may not have.
const INTENSITY: Intensity = Intensity {
    restarts: 5,
    window: Duration::from_secs(300),
};

/// Runs the agent until it is told to stop.
///
/// # Errors
/// [`AgentError`]: why it did not start, or ended by itself.
pub fn run(args: &RunArgs, loaded: Loaded<AgentSettings>) -> Result<(), AgentError> {
    if let Some(parent) = args.end_with {
        parent::end_with(parent);
    }
    let filter = std::env::var(FILTER_VARIABLE).ok();
    let logging = Logging::start(&loaded.settings.log, filter.as_deref())?;
    for warning in &loaded.warnings {
        tracing::warn!(event = "setting_questioned", warning = %warning);
    }
    let parts = parts(&loaded.settings)?;
    let pid_file = args.pid_file.as_deref().map(PidFile::write).transpose()?;
    let system = actix_rt::System::new();
    let outcome = system.block_on(serve(args, loaded.settings, parts, logging));
    drop(pid_file);
    outcome
}

/// What the process is told.
enum Event {
    Stop,
    Reload,
    GaveUp(&'static str),
}

async fn serve(args: &RunArgs, settings: AgentSettings, parts: AgentParts, logging: Logging) -> Result<(), AgentError> {
    let (events, mut told) = mpsc::channel(4);
    forward(SignalKind::terminate(), &events, || Event::Stop)?;
    forward(SignalKind::interrupt(), &events, || Event::Stop)?;
    forward(SignalKind::hangup(), &events, || Event::Reload)?;
    let (give_up, gave_up) = oneshot::channel();
    let actors = AgentActors::vacant();
    let children = actors.children(&parts, &Arbiter::current());
    let supervisor = Supervisor::new(children, INTENSITY, give_up).start();
    actix_rt::spawn(async move {
        let child = gave_up.await.map_or("the supervisor", |GaveUp { child, .. }| child);
        // Nobody listens any more once the process ends anyway.
        events.send(Event::GaveUp(child)).await.ok();
    });
    if let Some(interval) = notify::watchdog() {
        actix_rt::spawn(say_alive(interval));
    }
    tracing::info!(event = "agent_started", version = env!("CARGO_PKG_VERSION"));
    notify::ready();
    let outcome = loop {
        match told.recv().await {
            Some(Event::Reload) => reload(args, &logging),
            Some(Event::Stop) | None => break Ok(()),
            Some(Event::GaveUp(child)) => break Err(AgentError::GaveUp { child }),
        }
    };
    notify::stopping();
    stop(&supervisor, settings.drain_timeout).await;
    tracing::info!(event = "agent_stopped");
    outcome
}

/// Makes an event of each signal of a kind.
fn forward(kind: SignalKind, events: &mpsc::Sender<Event>, event: fn() -> Event) -> Result<(), AgentError> {
    let listen = |source: io::Error| AgentError::System {
        doing: "listen to signals",
        source,
    };
    let (mut signals, events) = (signal(kind).map_err(listen)?, events.clone());
    actix_rt::spawn(async move {
        while signals.recv().await.is_some() {
            if events.send(event()).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Says so for as long as the arbiter, which all actors share, has its turns.
async fn say_alive(interval: Duration) {
    loop {
        notify::alive();
        tokio::time::sleep(interval / 2).await;
    }
}

/// A check that runs is left to its supervising process.
async fn stop(supervisor: &Addr<Supervisor>, within: Duration) {
    if tokio::time::timeout(within, supervisor.send(StopChildren { within }))
        .await
        .is_err()
    {
        tracing::warn!(event = "drain_timed_out");
    }
}

/// SIGHUP: logs. What else changed takes a restart.
fn reload(args: &RunArgs, logging: &Logging) {
    notify::reloading();
    match AgentSettings::load(&args.flags(), std::env::vars()) {
        Ok(loaded) => logging.set_level(loaded.settings.log.level),
        Err(error) => tracing::error!(event = "settings_reload_failed", error = %error, "the old ones stay in use"),
    }
    if let Err(error) = logging.reopen() {
        tracing::error!(event = "log_reopen_failed", error = %error);
    }
    notify::ready();
}

/// The adapters that the settings ask for.
fn parts(settings: &AgentSettings) -> Result<AgentParts, AgentError> {
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(OsEntropy));
    let servers = servers(settings, &clock)?;
    warn_of_what_may_heal(settings);
    let command = &settings.check.command;
    let program = command.program.to_string_lossy().into_owned();
    let command = [program].into_iter().chain(command.arguments.clone()).collect();
    let state = StateDir::open(&settings.state_dir)?;
    let status = StatusFile::new(&state, Arc::clone(&clock) as _);
    let (auth_file, machine_id) = (settings.auth_file.clone(), settings.machine_id_path.clone());
    Ok(AgentParts {
        servers,
        systemid: Arc::new(SystemidFile::new(settings.systemid.clone())),
        account: Arc::new(AuthFile::new(auth_file, machine_id, Arc::clone(&entropy) as _)),
        launcher: Arc::new(CheckRuns::new(state, command)),
        clock,
        entropy,
        checks_enabled: settings.check.enabled,
        reconnect: ReconnectPolicy {
            backoff: Backoff {
                first: settings.reconnect.min,
                limit: settings.reconnect.max,
            },
            stable_after: settings.reconnect.stable_after,
        },
        silence_timeout: settings.silence_timeout,
        status: Arc::new(status),
    })
}

/// The servers that the settings name, and the way to them.
fn servers(settings: &AgentSettings, clock: &Arc<SystemClock>) -> Result<Arc<[AgentServer]>, AgentError> {
    let access = Arc::new(Access {
        tls: client_tls(&settings.tls.ca, clock.now())?,
        proxy: http_proxy(&settings.proxy),
    });
    let keepalive = Keepalive {
        idle: settings.keepalive.timeout,
        count: settings.keepalive.count.get(),
    };
    let servers = settings.servers().into_iter().map(|server| AgentServer {
        registrar: Arc::new(XmlRpcClient::new(
            Arc::clone(&access),
            server.url,
            Arc::clone(clock) as _,
        )),
        dialer: Arc::new(TcpDialer::new(server.jabber, Arc::clone(&access), keepalive)),
    });
    Ok(servers.collect())
}

/// A proxy without user name is not told a password either.
fn http_proxy(settings: &ProxySettings) -> Option<HttpProxy> {
    let password = settings.password.clone().unwrap_or_else(|| Secret::new(""));
    settings.server.clone().map(|address| HttpProxy {
        address,
        login: settings.user.clone().map(|user| (user, password)),
    })
}

/// Names may resolve later and commands may be installed later, so the agent goes on and says once what is wrong.
fn warn_of_what_may_heal(settings: &AgentSettings) {
    for error in unresolvable(settings) {
        tracing::error!(event = "server_unresolvable", error = %error, "tried again");
    }
    let program = &settings.check.command.program;
    if settings.check.enabled && !is_executable(program) {
        let error = AgentError::NoCheckCommand(program.clone());
        tracing::error!(event = "check_command_missing", error = %error, "tried again");
    }
}
