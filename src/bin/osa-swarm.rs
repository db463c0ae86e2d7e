//! Thousands of real agents in one process, for measuring a dispatcher.

use std::process::ExitCode;

fn main() -> ExitCode {
    osa::compose::swarm::run(std::env::args_os().skip(1))
}
