//! SIGHUP: certificates, log level and log file; what else changed needs a restart, and is named.

use std::time::Duration;

use tokio::time::timeout;

use crate::actors::supervision::LiveAddr;
use crate::actors::tls_supervisor::{ReloadTls, TlsSupervisor};
use crate::compose::process::notify;
use crate::net::tls::ServerTls;
use crate::settings::Loaded;
use crate::settings::dispatcher::{DispatcherFlags, DispatcherSettings};
use crate::settings::schema::Apply;
use crate::telemetry::Logging;

/// How long the owner of TLS may take.
const TLS_WITHIN: Duration = Duration::from_secs(10);

/// What is reloaded.
pub struct Reloading {
    /// How the settings are found.
    pub flags: DispatcherFlags,
    /// The settings in force.
    pub loaded: Loaded<DispatcherSettings>,
    /// The logs.
    pub logging: Logging,
    /// The certificates in use, if there are any.
    pub certificates: Option<std::sync::Arc<ServerTls>>,
    /// Who owns TLS.
    pub tls: LiveAddr<TlsSupervisor>,
}

impl Reloading {
    /// Reloads what can be; what is wrong is logged, and the old stays in force.
    pub async fn reload(&mut self) {
        notify::reloading();
        let reopened = self.logging.reopen();
        if let Err(error) = &reopened {
            tracing::error!(event = "log_reopen_failed", error = %error);
        }
        let loaded = DispatcherSettings::load(&self.flags, std::env::vars()).map(|newer| self.adopt(newer));
        if let Err(error) = &loaded {
            tracing::error!(event = "settings_reload_failed", error = %error, "the old settings stay in force");
        }
        // What is wrong with the files is logged by their owner, or by the next generation of it.
        let certified = timeout(TLS_WITHIN, self.tls.send(ReloadTls)).await;
        if reopened.is_ok() && loaded.is_ok() && matches!(certified, Ok(Ok(Ok(_)))) {
            tracing::info!(event = "reloaded");
        } else {
            tracing::warn!(
                event = "reload_incomplete",
                "mend what was said before this, and reload again"
            );
        }
        notify::ready();
    }

    fn adopt(&mut self, newer: Loaded<DispatcherSettings>) {
        for key in self.loaded.changed_to(&newer) {
            match key.apply {
                Apply::Reload => tracing::info!(event = "setting_changed", key = key.path),
                Apply::Restart => {
                    tracing::warn!(
                        event = "restart_needed",
                        key = key.path,
                        "this setting changes at the next start"
                    );
                }
            }
        }
        for warning in &newer.warnings {
            tracing::warn!(event = "setting_questioned", warning = %warning);
        }
        self.logging.set_level(newer.settings.log.level);
        if let Some(certificates) = &self.certificates {
            let files = newer.settings.tls;
            certificates.use_files(files.certificate, files.key);
        }
    }
}
