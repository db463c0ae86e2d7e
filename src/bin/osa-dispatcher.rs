//! The server that wakes the agents.

use std::process::ExitCode;

fn main() -> ExitCode {
    osa::compose::cli::run(std::env::args_os())
}
