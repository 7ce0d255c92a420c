//! The worker with an allocator that counts. Never shipped.

use std::alloc::System;
use std::process::ExitCode;

use bench::allocations::COUNTED;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    let code = association_archiver::cli::main();
    let stats = ALLOCATOR.stats();
    eprintln!("{COUNTED}{}", stats.allocations + stats.reallocations);
    code
}
