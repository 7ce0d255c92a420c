//! The process: reads its command line, does one command, tells how it went by its exit code.

use std::process::ExitCode;

/// A fifth less CPU a job than with glibc's, and what is freed goes back to the system within a second; how it is set
/// is in `.cargo/config.toml`. Elsewhere the system's own serves: on arm64 the size of a page, which this allocator
/// fixes when it is built, differs from machine to machine.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    association_archiver::cli::main()
}
