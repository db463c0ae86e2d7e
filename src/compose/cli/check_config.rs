//! `check-config`: what a start would object to, without starting.

use super::arguments::PlainArgs;
use super::error::CliError;
use super::{Done, output};
use crate::compose::console::values;
use crate::compose::dispatcher::{ServeError, all_server_files, exposures, postgres_options, upstream_dialer};
use crate::host::clock::SystemClock;
use crate::net::tls::ServerTls;
use crate::ports::clock::Clock;
use crate::ports::tls::Certificates;
use crate::settings::database::Deployment;
use crate::settings::dispatcher::DispatcherSettings;
use crate::settings::upstream::Transport;
use crate::telemetry::check_place;

pub fn check_config(args: &PlainArgs) -> Done {
    let loaded = DispatcherSettings::load(&args.config.flags(), std::env::vars())?;
    let mut warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let checked = check(&loaded.settings);
    if let Ok(tls) = &checked {
        let found = tls.iter().flat_map(|tls| tls.in_use().warnings);
        warnings.extend(found.map(|warning| warning.to_string()));
        warnings.extend(exposures(&loaded).iter().map(ToString::to_string));
    }
    match args.json {
        true => output::json(&values::as_json(&loaded.values, &warnings))?,
        false => {
            output::print(&values::table(&loaded.values))?;
            warnings.iter().for_each(output::remark);
        }
    }
    checked.map(|_| 0)
}

/// Looks for what a start would read and write. A client of another server has no certificate, but trusts an authority.
fn check(settings: &DispatcherSettings) -> Result<Option<ServerTls>, CliError> {
    check_place(&settings.log).map_err(ServeError::from)?;
    let tls = match settings.transport {
        Transport::Embedded => Some(ServerTls::load_all(all_server_files(settings), SystemClock.now())?),
        Transport::Client | Transport::Component => {
            upstream_dialer(settings)?;
            None
        }
    };
    if settings.deployment == Deployment::Satellite {
        postgres_options(settings)?;
    }
    Ok(tls)
}
