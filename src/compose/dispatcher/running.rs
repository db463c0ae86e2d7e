//! From the settings to running actors, and from a signal to the end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

use super::ServeError;
use super::actors::{Addresses, Threads};
use super::database_watch::DatabaseWatch;
use super::exposure::exposures;
use super::ground::{Ground, local_addresses};
use super::reload::Reloading;
use crate::actors::poller::messages::{DescribeSystems, LookForChanges};
use crate::actors::supervision::{GaveUp, StopChildren, Supervisor};
use crate::compose::process::{notify, pid_file::PidFile};
use crate::settings::Loaded;
use crate::settings::dispatcher::{DispatcherFlags, DispatcherSettings};
use crate::telemetry::Logging;

/// On top of the drain timeout, for what is not a session: the poller's last records.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// What a start is given.
pub struct Start {
    /// How the settings are found.
    pub flags: DispatcherFlags,
    /// The settings.
    pub loaded: Loaded<DispatcherSettings>,
    /// The logs.
    pub logging: Logging,
    /// Where the pid file goes, if one is wanted.
    pub pid_file: Option<PathBuf>,
}

/// What the process is told.
enum Event {
    Stop,
    Reload,
    GaveUp(GaveUp),
    DatabaseReplaced,
}

/// Starts, runs until told to stop, and drains.
///
/// # Errors
/// [`ServeError`].
pub async fn run(start: Start) -> Result<(), ServeError> {
    let settings = &start.loaded.settings;
    let mut ground = Ground::prepare(settings).await?;
    let pid_file = start.pid_file.as_deref().map(PidFile::write).transpose()?;
    let (events, mut told) = mpsc::channel(4);
    listen_to_signals(&events)?;

    let (addresses, threads) = (Addresses::vacant(), Threads::start());
    warn_of_short_descriptors(settings, ground.limits.connections);
    for exposure in exposures(&start.loaded) {
        tracing::warn!(event = "secret_exposed", exposure = %exposure);
    }
    let (xmpp, certificates) = (local_addresses(&ground.xmpp), ground.tls.clone());
    threads.beside_poller(look_after_changes(ground.changes(), addresses.clone()));
    if let Some(watch) = ground.take_watch() {
        actix_rt::spawn(tell_replaced(watch, events.clone()));
    }
    let (supervisor, gave_up) = ground.start_actors(settings, &addresses, &threads);
    actix_rt::spawn(tell_gave_up(gave_up, events));
    if let Some(interval) = notify::watchdog() {
        actix_rt::spawn(watch(addresses.clone(), interval));
    }
    tracing::info!(event = "dispatcher_started", hostname = %settings.hostname, xmpp = ?xmpp, version = env!("CARGO_PKG_VERSION"));
    notify::ready();

    let (within, database) = (settings.drain_timeout, settings.database.clone());
    let mut reloading = Reloading {
        flags: start.flags,
        loaded: start.loaded,
        logging: start.logging,
        certificates,
        tls: addresses.tls.clone(),
    };
    let ended = until_told(&mut told, &mut reloading, database).await;
    notify::stopping();
    tracing::info!(event = "dispatcher_stopping", drain_timeout = ?within);
    stop(&supervisor, within).await;
    drop((supervisor, pid_file));
    threads.stop();
    tracing::info!(event = "dispatcher_stopped");
    ended
}

/// Returns when the program is to end, and why.
async fn until_told(
    told: &mut mpsc::Receiver<Event>,
    reloading: &mut Reloading,
    database: PathBuf,
) -> Result<(), ServeError> {
    loop {
        match told.recv().await {
            Some(Event::Reload) => reloading.reload().await,
            Some(Event::Stop) | None => return Ok(()),
            Some(Event::GaveUp(gave_up)) => return Err(ServeError::GaveUp { child: gave_up.child }),
            Some(Event::DatabaseReplaced) => return Err(ServeError::DatabaseReplaced(database)),
        }
    }
}

/// Sessions end, the poller records what they said; bounded, since what is left is found out at the next start.
async fn stop(supervisor: &Addr<Supervisor>, within: Duration) {
    let stopped = supervisor.send(StopChildren { within });
    if timeout(within + STOP_MARGIN, stopped).await.is_err() {
        tracing::warn!(event = "drain_timed_out");
    }
}

/// Said once everything else is known to be right, so that an error of the start stands alone.
fn warn_of_short_descriptors(settings: &DispatcherSettings, possible: usize) {
    let wanted = settings.limits.connections.get() as usize;
    if possible < wanted {
        tracing::warn!(
            event = "descriptors_short",
            wanted,
            possible,
            "raise LimitNOFILE= of the service, or lower limits.connections"
        );
    }
}

fn listen_to_signals(events: &mpsc::Sender<Event>) -> Result<(), ServeError> {
    let kinds: [(SignalKind, fn() -> Event); 3] = [
        (SignalKind::terminate(), || Event::Stop),
        (SignalKind::interrupt(), || Event::Stop),
        (SignalKind::hangup(), || Event::Reload),
    ];
    for (kind, event) in kinds {
        let mut signals = signal(kind).map_err(|source| ServeError::System {
            doing: "listen to signals",
            source,
        })?;
        let events = events.clone();
        actix_rt::spawn(async move {
            while signals.recv().await.is_some() {
                // A signal that does not fit is one of many of its kind.
                events.try_send(event()).ok();
            }
        });
    }
    Ok(())
}

async fn tell_replaced(watch: DatabaseWatch, events: mpsc::Sender<Event>) {
    watch.replaced().await;
    // Nobody listens only while the program is ending anyway.
    events.send(Event::DatabaseReplaced).await.ok();
}

async fn tell_gave_up(gave_up: oneshot::Receiver<GaveUp>, events: mpsc::Sender<Event>) {
    if let Ok(gave_up) = gave_up.await {
        // Nobody listens only while the program is ending anyway.
        events.send(Event::GaveUp(gave_up)).await.ok();
    }
}

/// Sends the poller looking as soon as this process has committed something: who scheduled it hears of it only when the
/// disk has it, milliseconds later.
async fn look_after_changes(changes: Arc<Notify>, addresses: Addresses) {
    loop {
        changes.notified().await;
        // A poller that is full or gone looks by itself within `poll_interval`.
        addresses.poller.try_send(LookForChanges).ok();
    }
}

/// Says that the dispatcher works, for as long as the poller answers.
async fn watch(addresses: Addresses, interval: Duration) {
    let pause = interval / 3;
    loop {
        let asked = addresses.poller.send(DescribeSystems(Some(Vec::new())));
        if let Ok(Ok(_)) = timeout(pause, asked).await {
            notify::alive();
        }
        tokio::time::sleep(pause).await;
    }
}
