//! The agent of a managed host.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: the supervising process of a check has no use for what the agent needs.
    if let Some(code) = osa::host::supervise::run(std::env::args_os().skip(1)) {
        return code;
    }
    osa::compose::agent::run(std::env::args_os())
}
