//! The commands, a file each.

mod archive;
mod arguments;
mod exit;
mod logging;
mod run;
mod signals;

pub use arguments::{command_line, main};
use logging::start_logging;
