//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use super::{archive, run};

/// Archives HubSpot CRM associations in bulk.
#[derive(Parser, Debug)]
#[command(name = "association-archiver", version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Settings file (TOML), over the defaults and config/default.toml, under ARCHIVER__SECTION__KEY variables
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// The service: takes jobs from RabbitMQ, archives, answers each; until SIGTERM or SIGINT
    Run,
    /// Archives jobs given as NDJSON, without a broker; outcomes as NDJSON on stdout
    Archive {
        /// One job a line; - or nothing: stdin
        file: Option<PathBuf>,
    },
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    // clap prints usage errors itself and ends with 2, as it does with 0 for --help and --version.
    let Arguments { command, config } = Arguments::parse();
    let done = match command {
        Command::Run => run::run(config.as_deref()),
        Command::Archive { file } => archive::archive(config.as_deref(), file.as_deref()),
    };
    done.unwrap_or_else(super::exit::Failure::report)
}

/// What the command line understands, as clap models it.
pub fn command_line() -> clap::Command {
    Arguments::command()
}
