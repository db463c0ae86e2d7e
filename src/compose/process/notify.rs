//! What the service manager is told: sd_notify(3).

use std::time::Duration;

use sd_notify::NotifyState;

/// Whether somebody waits to be told.
pub fn is_wanted() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// The program does its work.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The program reloads; [`ready`] follows.
pub fn reloading() {
    // Only `Type=notify-reload` wants the time, and without it goes on waiting for READY.
    match NotifyState::monotonic_usec_now() {
        Ok(time) => tell(&[NotifyState::Reloading, time]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The program is about to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The program is alive.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] must be said at least.
pub fn watchdog() -> Option<Duration> {
    let mut microseconds = 0;
    sd_notify::watchdog_enabled(false, &mut microseconds).then(|| Duration::from_micros(microseconds))
}

fn tell(state: &[NotifyState<'_>]) {
    if !is_wanted() {
        return;
    }
    // A manager that does not listen stops nobody.
    if let Err(error) = sd_notify::notify(false, state) {
        tracing::debug!(event = "notify_failed", error = %error);
    }
}
