//! Into the background, with the same command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::ServeError;
use crate::compose::cli::arguments::ServeArgs;
use crate::compose::process::detach;
use crate::settings::dispatcher::DispatcherSettings;

/// How long a start may take: the database is checked, and perhaps upgraded.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Starts the dispatcher in the background; returns when it is ready.
///
/// # Errors
/// [`ServeError`]; the new process has said why, on standard error.
pub fn detach(args: &ServeArgs) -> Result<u8, ServeError> {
    let settings = DispatcherSettings::load(&args.flags(), std::env::vars())?.settings;
    detach::detach(arguments(args), &settings.data_dir, READY_WITHIN)?;
    Ok(0)
}

/// The command line of the new process, which works in another directory.
fn arguments(args: &ServeArgs) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec!["serve".into(), "--nodetach".into()];
    let mut path = |flag: &str, path: &Option<PathBuf>| {
        if let Some(path) = path {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            line.extend([flag.into(), path.into()]);
        }
    };
    path("--config", &args.config.config);
    path("--rhn-conf", &args.config.rhn_conf);
    path("--data-dir", &args.config.data_dir);
    path("--pid-file", &args.pid_file);
    path("--logfile", &args.logfile);
    if let Some(name) = &args.config.hostname {
        line.extend(["--hostname".into(), name.into()]);
    }
    line.extend((0..args.verbose).map(|_| "-v".into()));
    line
}
