//! `completions SHELL`.

use std::process::ExitCode;

use clap_complete::Shell;

use super::exit::Failure;
use super::output;

const EXAMPLES: &str = "\
Examples:
  association-archiver completions bash > /etc/bash_completion.d/association-archiver
  association-archiver completions fish > ~/.config/fish/completions/association-archiver.fish";

#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    shell: Shell,
}

/// On stdout, for the place where the shell looks for it.
pub fn completions(mut command: clap::Command, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, env!("CARGO_PKG_NAME"), &mut script);
    output::print(&script)
}
