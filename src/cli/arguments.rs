//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use super::exit::Failure;
use super::{archive, check, completions, dead_letters, enqueue, manual, outcomes, pause, run, schema};

/// Archives HubSpot CRM associations in bulk.
#[derive(Parser, Debug)]
#[command(name = "association-archiver", version = VERSION, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Settings file (TOML), over the defaults and config/default.toml, under ARCHIVER__SECTION__KEY variables
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// With the commit it was built from, where that is known.
const VERSION: &str = env!("ARCHIVER_VERSION");

#[derive(Subcommand, Debug)]
enum Command {
    /// The service: takes jobs from RabbitMQ, archives, answers each; until a signal stops it
    Run,
    /// Says what is right and wrong with settings, broker and accounts; changes nothing
    Check(check::Arguments),
    /// Archives the pairs of a CSV, or jobs as NDJSON, without a broker; outcomes as NDJSON on stdout
    Archive(archive::Arguments),
    /// Publishes jobs from CSV or NDJSON to the jobs queue
    Enqueue(enqueue::Arguments),
    /// Shows what became of jobs, by the outcomes in the results queue; they stay where they are
    Outcomes(outcomes::Arguments),
    /// Looks into the dead-letter queue, writes it out, puts messages back on the jobs queue
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Pauses an account, or one of its lanes, in the running service
    Pause(pause::Arguments),
    /// Ends a pause
    Resume(pause::Arguments),
    /// Prints the contract: JSON Schema of jobs and outcomes, AsyncAPI 3
    Schema(schema::Arguments),
    /// Prints the completions for a shell
    Completions(completions::Arguments),
    /// Prints the manual page, or writes the pages of all commands
    Man(manual::Arguments),
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    match Arguments::try_parse() {
        Ok(arguments) => arguments.obey().unwrap_or_else(Failure::report),
        Err(error) => misunderstood(&error),
    }
}

/// What the command line understands, as clap models it.
pub fn command_line() -> clap::Command {
    Arguments::command()
}

impl Arguments {
    fn obey(self) -> Result<ExitCode, Failure> {
        let Self { command, config } = self;
        let config = config.as_deref();
        match command {
            Command::Run => run::run(config),
            Command::Check(arguments) => check::check(config, &arguments),
            Command::Archive(arguments) => archive::archive(config, &arguments),
            Command::Enqueue(arguments) => enqueue::enqueue(config, &arguments),
            Command::Outcomes(arguments) => outcomes::outcomes(config, &arguments),
            Command::DeadLetters(command) => dead_letters::dead_letters(config, &command),
            Command::Pause(arguments) => pause::pause(config, &arguments),
            Command::Resume(arguments) => pause::resume(config, &arguments),
            Command::Schema(arguments) => schema::schema(&arguments),
            Command::Completions(arguments) => completions::completions(Self::command(), &arguments),
            Command::Man(arguments) => manual::manual(Self::command(), &arguments),
        }
    }
}

/// Help and version as clap has them; a usage error in one line, as every other error.
fn misunderstood(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        // A reader who has gone needs no help any more.
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    }
    let text = error.to_string();
    let cause = text.split("\n\nUsage:").next().unwrap_or_default();
    let cause = cause.split("\n\nFor more information").next().unwrap_or_default();
    let cause = cause.strip_prefix("error: ").unwrap_or(cause).trim();
    Failure::Usage(format!("{cause}; --help lists what is understood")).report()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
