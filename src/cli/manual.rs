//! `man [DIRECTORY]`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap_mangen::Man;

use super::exit::Failure;
use super::output;

#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Writes a page for each command there; nothing: the main page on stdout
    directory: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  association-archiver man | man --local-file -
  association-archiver man /usr/local/share/man/man1";

/// In roff, as `man` reads it.
pub fn manual(command: clap::Command, arguments: &Arguments) -> Result<ExitCode, Failure> {
    if let Some(directory) = &arguments.directory {
        let mut command = without_help(command);
        command.build();
        return match clap_mangen::generate_to(command, directory) {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) => {
                Err(Failure::Usage(format!("the pages cannot be written to {}: {error}", directory.display())))
            }
        };
    }
    let mut page = Vec::new();
    Man::new(command).render(&mut page).map_err(|error| Failure::Running(format!("no manual page: {error}")))?;
    output::print(&page)
}

/// A page that says no more than that there is help is of no use.
fn without_help(command: clap::Command) -> clap::Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}
