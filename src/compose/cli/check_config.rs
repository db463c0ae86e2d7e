//! `check-config`: what a start would object to, without starting.

use super::arguments::PlainArgs;
use super::error::CliError;
use super::{Done, output};
use crate::compose::console::values;
use crate::compose::dispatcher::all_server_files;
use crate::host::clock::SystemClock;
use crate::net::tls::ServerTls;
use crate::ports::clock::Clock;
use crate::ports::tls::Certificates;
use crate::settings::dispatcher::DispatcherSettings;

pub fn check_config(args: &PlainArgs) -> Done {
    let loaded = DispatcherSettings::load(&args.config.flags(), std::env::vars())?;
    let mut warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let tls = ServerTls::load_all(all_server_files(&loaded.settings), SystemClock.now()).map_err(CliError::Tls);
    if let Ok(tls) = &tls {
        warnings.extend(tls.in_use().warnings.iter().map(ToString::to_string));
    }
    match args.json {
        true => output::json(&values::as_json(&loaded.values, &warnings))?,
        false => {
            output::print(&values::table(&loaded.values))?;
            warnings.iter().for_each(output::remark);
        }
    }
    tls.map(|_| 0)
}
