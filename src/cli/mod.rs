//! The commands, a file each.

mod admin_call;
mod archive;
mod arguments;
mod check;
mod completions;
mod dead_letters;
pub mod enqueue;
mod exit;
mod lane;
mod logging;
mod manual;
mod output;
mod paint;
mod pause;
mod run;
mod runtime;
mod schema;
mod signals;

pub use arguments::{command_line, main};
use logging::{remark_on_settings, start_logging};
