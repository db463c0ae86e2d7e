//! The check whose start is measured: it says what time it is, and ends when it is let go.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::iter::Peekable;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};

use super::error::SwarmError;
use super::numbers::wall_clock;

/// The hidden subcommand: `osa-swarm stamp SOCKET NAME`.
pub(super) const SUBCOMMAND: &str = "stamp";
/// Longest name of an `osad` here. Units: bytes.
const STAMP_BYTES_MAX: usize = 64;

/// Stamps, if that is what is asked for. To be called before anything else.
pub(super) fn run(arguments: &mut Peekable<impl Iterator<Item = OsString>>) -> Option<ExitCode> {
    let now = wall_clock();
    arguments.next_if(|argument| argument == SUBCOMMAND)?;
    let (Some(socket), Some(name)) = (arguments.next(), arguments.next()) else {
        return Some(ExitCode::FAILURE);
    };
    let send = || {
        let mut stream = BlockingStream::connect(PathBuf::from(socket))?;
        writeln!(stream, "{} {}", now.as_nanos(), name.display())?;
        stream.read_to_end(&mut Vec::new())
    };
    Some(if send().is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A start of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// When, by the wall clock.
    pub(super) at: Duration,
    /// Whose.
    pub(super) name: String,
}

/// A check that runs until this is dropped.
pub(super) struct RunningCheck(#[expect(dead_code, reason = "held open")] UnixStream);

/// Takes the stamps.
pub(super) struct Stamps(UnixListener);

impl Stamps {
    pub(super) fn listen(path: &Path) -> Result<Self, SwarmError> {
        UnixListener::bind(path)
            .map(Self)
            .map_err(SwarmError::file("listen on", path))
    }

    /// The next one; what is no stamp is passed over.
    pub(super) async fn next(&self) -> (Stamp, RunningCheck) {
        loop {
            let Ok((mut stream, _)) = self.0.accept().await else {
                continue;
            };
            if let Some(stamp) = read(&mut stream).await {
                return (stamp, RunningCheck(stream));
            }
        }
    }
}

async fn read(stream: &mut UnixStream) -> Option<Stamp> {
    let mut text = Vec::new();
    while !text.ends_with(b"\n") && text.len() < STAMP_BYTES_MAX {
        text.push(stream.read_u8().await.ok()?);
    }
    parse(std::str::from_utf8(&text).ok()?.trim_end())
}

fn parse(text: &str) -> Option<Stamp> {
    let (nanos, name) = text.split_once(' ')?;
    Some(Stamp {
        at: Duration::from_nanos(nanos.parse().ok()?),
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_is_read_and_anything_else_is_not() {
        let stamp = Stamp {
            at: Duration::from_nanos(1_795_336_465_000_000_001),
            name: "osad-7".to_owned(),
        };

        assert_eq!(parse("1795336465000000001 osad-7"), Some(stamp));
        assert_eq!(parse("osad-7"), None);
        assert_eq!(parse("soon osad-7"), None);
    }

    #[test]
    fn other_arguments_are_left_alone() {
        let mut arguments = ["connect", "stamp"].map(OsString::from).into_iter().peekable();

        assert!(run(&mut arguments).is_none());
        assert_eq!(arguments.count(), 2);
    }
}
