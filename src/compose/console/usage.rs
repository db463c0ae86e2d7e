//! A command line that is not understood, said in one line.

use clap::error::{ContextKind, ErrorKind};

use super::answer::{self, OutputError};

/// Exit code of a command line that is not understood (`EX_USAGE`).
const EXIT_USAGE: u8 = 64;

/// Shows help or version if they were asked for, or says what is wrong; the exit code.
pub fn report(program: &str, error: &clap::Error) -> u8 {
    if !error.use_stderr() {
        let shown = answer::print(&error.render().to_string());
        return shown.map_or_else(|error| lost(program, &error), |()| 0);
    }
    answer::remark(program, &in_one_line(program, error));
    EXIT_USAGE
}

/// Says that the answer is lost, unless its reader wanted no more; the exit code.
pub fn lost(program: &str, error: &OutputError) -> u8 {
    if !error.is_unread() {
        answer::remark(program, &error.to_string());
    }
    error.exit_code()
}

fn in_one_line(program: &str, error: &clap::Error) -> String {
    if let Some(misplaced) = misplaced(program, error) {
        return misplaced;
    }
    let text = error.render().to_string();
    let (what, usage) = text.split_once("Usage: ").unwrap_or((text.as_str(), ""));
    let what = match error.kind() {
        // Here it is the help of the command, which says what there is.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "a command or argument is missing".to_owned(),
        // Not our enum.
        _ => what
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
            .collect::<Vec<_>>()
            .join(" "),
    };
    let what = what.trim_start_matches("error: ");
    // The command, without its arguments.
    let command: Vec<&str> = usage
        .lines()
        .next()
        .unwrap_or_default()
        .split(' ')
        .take_while(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()))
        .collect();
    let command = if command.is_empty() {
        program.to_owned()
    } else {
        command.join(" ")
    };
    format!("{what}; see `{command} --help`")
}

/// Options before a command, of which clap says only that they do not go together.
fn misplaced(program: &str, error: &clap::Error) -> Option<String> {
    let command = error.get(ContextKind::InvalidSubcommand)?;
    let options = error.get(ContextKind::PriorArg)?;
    Some(format!(
        "options stand behind the command: put {options} after all words of `{program} {command}`; see `{program} {command} \
         --help`"
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "tool", args_conflicts_with_subcommands = true)]
    struct Tool {
        #[arg(long, value_name = "FILE")]
        config: Option<String>,
        #[arg(long)]
        loud: bool,
        #[command(subcommand)]
        command: Option<Command>,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Command {
        #[command(subcommand)]
        Systems(Systems),
    }

    #[derive(Debug, clap::Subcommand)]
    enum Systems {
        Add {
            name: String,
            #[arg(long, value_parser = clap::value_parser!(u16))]
            count: Option<u16>,
        },
    }

    fn said(line: &str) -> String {
        in_one_line("tool", &Tool::try_parse_from(line.split(' ')).unwrap_err())
    }

    #[test]
    fn every_mistake_is_one_line_with_its_remedy() {
        for (line, wanted) in [
            (
                "tool systems add",
                "the following required arguments were not provided: <NAME>; see `tool systems add --help`",
            ),
            (
                "tool systems add x --coun 1",
                "unexpected argument '--coun' found tip: a similar argument exists: '--count'; see `tool systems add --help`",
            ),
            (
                "tool systems add x --count y",
                "invalid value 'y' for '--count <COUNT>': invalid digit found in string; see `tool --help`",
            ),
            (
                "tool systems",
                "a command or argument is missing; see `tool systems --help`",
            ),
            (
                "tool sistems",
                "unrecognized subcommand 'sistems' tip: a similar subcommand exists: 'systems'; see `tool --help`",
            ),
            (
                "tool --config x systems add y",
                "options stand behind the command: put --config <FILE> after all words of `tool systems`; see `tool systems \
                 --help`",
            ),
        ] {
            assert_eq!(said(line), wanted);
        }
    }
}
