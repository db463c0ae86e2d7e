//! The small texts a run leaves in the state directory.
//!
//! `RUN.lock` says what the run covers; its supervising process holds a lock on it while alive. `RUN.exit` says how it
//! ended; until then its draft, `RUN.exit.new`, says which process the command is. All have a fixed length, so that
//! rewriting them in place needs no space on a full disk.

use std::time::Duration;

use super::process_identity::ProcessIdentity;
use crate::domain::ids::RequestNumber;
use crate::domain::push::client::RunEnd;

/// First line of both texts: their kind and version.
const VERSION_LINE: &str = "osad-run 1";
/// Length of these texts, filled up with line ends. Units: bytes.
pub(super) const RECORD_BYTES: usize = 128;
/// Most that is read of a record, whatever its file holds. Units: bytes.
pub(super) const RECORD_BYTES_MAX: u64 = 1_024;

/// What `RUN.exit` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExitRecord {
    /// Exit status, or 128 + the number of the signal.
    pub(super) status: i32,
    /// How long the command ran.
    pub(super) run_time: Duration,
    /// The error number if the command could not be started.
    pub(super) start_errno: Option<i32>,
}

impl ExitRecord {
    pub(super) const fn end(self) -> RunEnd {
        RunEnd::Exited(self.status)
    }

    pub(super) fn format(self) -> String {
        let run_time = self.run_time.as_millis();
        let status = self.status;
        let errno = self.start_errno.map(|errno| format!("errno {errno}\n"));
        padded(format!(
            "{VERSION_LINE}\nexit {status}\nrun_time_ms {run_time}\n{}",
            errno.unwrap_or_default()
        ))
    }

    /// Reads the text; `None` if it is damaged.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(Self {
            status: value(text, "exit")?.parse().ok()?,
            run_time: Duration::from_millis(value(text, "run_time_ms")?.parse().ok()?),
            start_errno: match value(text, "errno") {
                Some(errno) => Some(errno.parse().ok()?),
                None => None,
            },
        })
    }
}

/// The text of `RUN.exit.new` while the command runs.
pub(super) fn format_command(command: &ProcessIdentity) -> String {
    let ProcessIdentity { pid, started, boot } = command;
    padded(format!("{VERSION_LINE}\ncommand {pid} {started} {boot}\n"))
}

/// Reads the text of `RUN.exit.new`; `None` if no command runs yet or any more.
pub(super) fn parse_command(text: &str) -> Option<ProcessIdentity> {
    let mut words = value(text, "command")?.split(' ');
    Some(ProcessIdentity {
        pid: words.next()?.parse().ok()?,
        started: words.next()?.parse().ok()?,
        boot: words.next()?.to_owned(),
    })
}

/// The text of `RUN.lock`.
pub(super) fn format_covers(covers: RequestNumber) -> String {
    padded(format!("{VERSION_LINE}\ncovers {covers}\n"))
}

/// Reads the text of `RUN.lock`; `None` if it is damaged.
pub(super) fn parse_covers(text: &str) -> Option<RequestNumber> {
    value(text, "covers")?.parse().ok().map(RequestNumber)
}

fn padded(mut text: String) -> String {
    let missing = RECORD_BYTES.saturating_sub(text.len());
    text.extend(std::iter::repeat_n('\n', missing));
    text
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let lines = text.strip_prefix(VERSION_LINE)?.strip_prefix('\n')?.lines();
    let mut values = lines.filter_map(|line| line.split_once(' ').filter(|(name, _)| *name == key));
    values.next().map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_survive_their_text_form(status: i32, millis: u64, start_errno: Option<i32>, covers: i64) {
            let record = ExitRecord { status, run_time: Duration::from_millis(millis), start_errno };

            prop_assert_eq!(ExitRecord::parse(&record.format()), Some(record));
            prop_assert_eq!(record.format().len(), RECORD_BYTES);
            prop_assert_eq!(parse_covers(&format_covers(RequestNumber(covers))), Some(RequestNumber(covers)));
            prop_assert_eq!(format_covers(RequestNumber(covers)).len(), RECORD_BYTES);
        }

        #[test]
        fn command_survives_its_text_form(pid: u32, started: u64) {
            let command = ProcessIdentity { pid, started, boot: "0f7c9a2e-4f43-4a3a-9d5c-2b9d8f0e6a11".to_owned() };

            prop_assert_eq!(parse_command(&format_command(&command)), Some(command.clone()));
            prop_assert_eq!(format_command(&command).len(), RECORD_BYTES);
        }

        #[test]
        fn arbitrary_text_is_no_record_and_no_panic(text: String) {
            prop_assert_eq!(ExitRecord::parse(&text), None);
            prop_assert_eq!(parse_covers(&text), None);
            prop_assert_eq!(parse_command(&text), None);
        }
    }

    #[test]
    fn empty_cut_or_newer_text_is_damaged() {
        for text in [
            "",
            "\n\n\n",
            "osad-run 1\nexit 0\n",
            "osad-run 2\nexit 0\nrun_time_ms 1\n",
            "osad-run 1\nexit x\nrun_time_ms 1\n",
        ] {
            assert_eq!(ExitRecord::parse(text), None, "{text:?}");
        }
    }
}
