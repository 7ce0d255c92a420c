//! The process: reads its command line, does one command, tells how it went by its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    association_archiver::cli::main()
}
