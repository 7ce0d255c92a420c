//! The commands, a file each.

mod archive;
mod arguments;
mod exit;
mod logging;
mod run;
mod signals;

pub use arguments::main;
use logging::start_logging;
