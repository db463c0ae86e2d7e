//! `check-config`: what a start would object to, without starting.

use super::arguments::PlainArgs;
use super::error::CliError;
use super::{Done, output};
use crate::compose::dispatcher::server_files;
use crate::host::clock::SystemClock;
use crate::net::tls::ServerTls;
use crate::ports::clock::Clock;
use crate::ports::tls::Certificates;
use crate::settings::dispatcher::DispatcherSettings;

pub fn check_config(args: &PlainArgs) -> Done {
    let loaded = DispatcherSettings::load(&args.config.flags(), std::env::vars())?;
    let mut warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let tls = ServerTls::load(server_files(&loaded.settings), SystemClock.now()).map_err(CliError::Tls);
    if let Ok(tls) = &tls {
        warnings.extend(tls.in_use().warnings.iter().map(ToString::to_string));
    }
    let values = loaded.values.shown();
    if args.json {
        let values =
            values.map(|(key, value, origin)| serde_json::json!({ "key": key, "value": value, "origin": origin }));
        let values: Vec<_> = values.collect();
        output::json(&serde_json::json!({ "values": values, "warnings": warnings }));
    } else {
        let rows = values.map(|(key, value, origin)| [key.to_owned(), value, origin.to_owned()]);
        output::print(&output::table(["KEY", "VALUE", "FROM"], rows));
        warnings.iter().for_each(output::remark);
    }
    tls.map(|_| 0)
}
