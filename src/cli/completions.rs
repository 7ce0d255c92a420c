//! `completions SHELL`.

use std::process::ExitCode;

use clap_complete::Shell;

use super::exit::Failure;
use super::output;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    shell: Shell,
}

/// On stdout, for the place where the shell looks for it.
pub fn completions(mut command: clap::Command, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, env!("CARGO_PKG_NAME"), &mut script);
    output::print(&script)
}
