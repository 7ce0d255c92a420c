//! `man [DIRECTORY]`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap_mangen::Man;

use super::exit::Failure;
use super::output;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Writes a page for each command there; nothing: the main page on stdout
    directory: Option<PathBuf>,
}

/// In roff, as `man` reads it.
pub fn manual(mut command: clap::Command, arguments: &Arguments) -> Result<ExitCode, Failure> {
    if let Some(directory) = &arguments.directory {
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
