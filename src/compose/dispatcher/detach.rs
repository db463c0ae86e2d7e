//! Into the background, as init scripts expect it: the caller waits until the dispatcher is ready, or has said why not.
//!
//! The program starts itself anew with `-N` instead of forking: after a fork only the calling thread would live. How the
//! new process says that it is ready is how it would tell systemd.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::ServeError;
use super::readiness::Readiness;
use crate::compose::cli::arguments::ServeArgs;
use crate::ports::file_error::FileError;
use crate::settings::dispatcher::DispatcherSettings;

/// How long a start may take: the database is checked, and perhaps upgraded.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Starts the dispatcher in the background; returns when it is ready.
///
/// # Errors
/// [`ServeError`]; the new process has said why, on standard error.
pub fn detach(args: &ServeArgs) -> Result<u8, ServeError> {
    let settings = DispatcherSettings::load(&args.flags(), std::env::vars())?.settings;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(system("start the runtime"))?;
    runtime.block_on(start(&settings.data_dir, arguments(args)))
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
    path("--data-dir", &args.config.data_dir);
    path("--pid-file", &args.pid_file);
    path("--logfile", &args.logfile);
    if let Some(name) = &args.config.hostname {
        line.extend(["--hostname".into(), name.into()]);
    }
    line.extend((0..args.verbose).map(|_| "-v".into()));
    line
}

async fn start(data_dir: &Path, arguments: Vec<OsString>) -> Result<u8, ServeError> {
    std::fs::metadata(data_dir).map_err(FileError::new("open data directory", data_dir))?;
    let readiness = Readiness::bind(data_dir)?;
    let program = std::env::current_exe().map_err(system("find this program"))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("NOTIFY_SOCKET", readiness.path())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = tokio::process::Command::from(command)
        .spawn()
        .map_err(system("start a process"))?;
    let words = child.stderr.take();
    let ended = async {
        let status = child.wait().await;
        let mut text = String::new();
        if let Some(mut words) = words {
            words.read_to_string(&mut text).await.ok();
        }
        (status, text)
    };
    let outcome = futures_util::future::select(Box::pin(readiness.wait()), Box::pin(ended));
    match tokio::time::timeout(READY_WITHIN, outcome).await {
        Ok(futures_util::future::Either::Left((_, _))) => Ok(0),
        Ok(futures_util::future::Either::Right(((status, text), _))) => {
            eprint_words(&text);
            let code = status.ok().and_then(|status| status.code());
            let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(70);
            Err(ServeError::NotReady { code })
        }
        Err(_) => Err(ServeError::Slow {
            seconds: READY_WITHIN.as_secs(),
        }),
    }
}

fn eprint_words(text: &str) {
    io::Write::write_all(&mut io::stderr().lock(), text.as_bytes()).ok();
}

fn system(doing: &'static str) -> impl Fn(io::Error) -> ServeError {
    move |source| ServeError::System { doing, source }
}
