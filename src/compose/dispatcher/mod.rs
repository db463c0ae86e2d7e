//! `osa-dispatcher serve`: start checks, actors, signals, the end.
//!
//! ```text
//! settings ─► logs ─► certificates ─► database (lock) ─► sockets ─► actors ─► READY
//!    SIGHUP: certificates, log level and file      SIGTERM: drain, exit 0      an actor fails too often: exit 70
//! ```
//!
//! Everything that can be wrong with the configuration is found out before the first socket is open and before anything
//! is written.

mod actors;
mod database;
mod database_watch;
mod decoy;
mod detach;
mod dispatcher_row;
mod error;
mod exposure;
mod ground;
mod housekeeping;
mod live;
mod passwords;
mod port_holder;
mod reload;
mod running;
mod sockets;

use std::path::{Path, PathBuf};

use crate::compose::cli::arguments::ServeArgs;
use crate::compose::process::{notify, parent};
use crate::net::ca::AuthorityFiles;
use crate::net::tls::ServerFiles;
use crate::net::upstream::UpstreamDialer;
use crate::settings::dispatcher::DispatcherSettings;
use crate::telemetry::{FILTER_VARIABLE, Logging};

pub use database::postgres_options;
pub use error::ServeError;
pub use exposure::exposures;

/// Runs the dispatcher until it is told to stop; without `-N`, and unless a service manager started it, in the
/// background.
///
/// # Errors
/// [`ServeError`]: why it did not start, or ended by itself.
pub fn serve(args: &ServeArgs) -> Result<u8, ServeError> {
    if !args.nodetach && !notify::is_wanted() {
        return detach::detach(args);
    }
    if let Some(parent) = args.end_with {
        parent::end_with(parent);
    }
    let flags = args.flags();
    let loaded = DispatcherSettings::load(&flags, std::env::vars())?;
    let filter = std::env::var(FILTER_VARIABLE).ok();
    let logging = Logging::start(&loaded.settings.log, filter.as_deref())?;
    for warning in &loaded.warnings {
        tracing::warn!(event = "setting_questioned", warning = %warning);
    }
    let system = actix_rt::System::new();
    let start = running::Start {
        flags,
        loaded,
        logging,
        pid_file: args.pid_file.clone(),
    };
    system.block_on(running::run(start)).map(|()| 0)
}

/// Where the server's own certificate is, and for whom.
fn server_files(settings: &DispatcherSettings) -> ServerFiles {
    ServerFiles {
        certificate: settings.tls.certificate.clone(),
        key: settings.tls.key.clone(),
        hostname: settings.hostname.to_string(),
        authority: Some(settings.tls.ca.clone()),
    }
}

/// Where the certificates of all names are; the server's own comes first.
pub fn all_server_files(settings: &DispatcherSettings) -> Vec<ServerFiles> {
    let directory = &settings.tls.names;
    let named = settings.xmpp.names.iter().flatten().map(|name| ServerFiles {
        certificate: directory.join(format!("{name}.crt")),
        key: directory.join(format!("{name}.key")),
        hostname: name.to_string(),
        authority: Some(settings.tls.ca.clone()),
    });
    std::iter::once(server_files(settings)).chain(named).collect()
}

/// How to get to the site's own XMPP server; the settings are known to name whom to trust there.
///
/// # Errors
/// [`ServeError::Tls`]: the certificate of its authority cannot be used. `init` makes none.
pub fn upstream_dialer(settings: &DispatcherSettings) -> Result<UpstreamDialer, ServeError> {
    let authority = settings.upstream_authority().map(Path::to_owned);
    let (hostname, common_name) = (settings.hostname.clone(), settings.upstream.common_name);
    let dialer = UpstreamDialer::new(settings.upstream_servers(), hostname, authority, common_name);
    dialer.map_err(ServeError::Tls)
}

/// Where the own authority is; its key lies beside its certificate.
pub fn authority_files(settings: &DispatcherSettings) -> AuthorityFiles {
    let certificate = settings.tls.ca.clone();
    let key: PathBuf = certificate.with_extension("key");
    AuthorityFiles { certificate, key }
}
