//! `check-config`: what a start would object to, without starting.

use super::arguments::PlainArgs;
use super::{Done, output};
use crate::compose::console::values;
use crate::compose::dispatcher::{all_server_files, exposures, postgres_options};
use crate::host::clock::SystemClock;
use crate::net::tls::ServerTls;
use crate::ports::clock::Clock;
use crate::ports::tls::{Certificates, TlsError};
use crate::settings::database::Deployment;
use crate::settings::dispatcher::DispatcherSettings;

pub fn check_config(args: &PlainArgs) -> Done {
    let loaded = DispatcherSettings::load(&args.config.flags(), std::env::vars())?;
    let mut warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let checked = check(&loaded.settings);
    if let Ok(tls) = &checked {
        warnings.extend(tls.in_use().warnings.iter().map(ToString::to_string));
        warnings.extend(exposures(&loaded).iter().map(ToString::to_string));
    }
    match args.json {
        true => output::json(&values::as_json(&loaded.values, &warnings))?,
        false => {
            output::print(&values::table(&loaded.values))?;
            warnings.iter().for_each(output::remark);
        }
    }
    Ok(checked.map(|_| 0)?)
}

/// Reads the certificates that a start would read.
fn check(settings: &DispatcherSettings) -> Result<ServerTls, TlsError> {
    let tls = ServerTls::load_all(all_server_files(settings), SystemClock.now())?;
    if settings.deployment == Deployment::Satellite {
        postgres_options(settings)?;
    }
    Ok(tls)
}
